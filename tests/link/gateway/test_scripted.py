"""A gateway in this process, before a device and peers that behave as a test scripts it."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zmq

from rtloop.errors import LinkError
from rtloop.link import DeviceState, Link
from rtloop.link.gateway import Gateway
from tests.firmware import reference as ref
from tests.link.scripted_device import Answers, ScriptedDevice
from tests.running import firmware

FREE = "tcp://127.0.0.1:0"
HELLO = ref.encode_packet(
    ref.MESSAGES["hello"][0],
    7,
    0,
    0,
    0,
    ref.encode_message("hello", {"min_version": 1, "max_version": 1}),
)
STOP = ref.encode_packet(
    ref.MESSAGES["stop"][0], 8, 0, 0, 0, ref.encode_message("stop", {"reason_bits": 0})
)


@contextmanager
def serving(opened: Gateway) -> Iterator[list[str]]:
    """What it tells."""
    ended = threading.Event()
    told: list[str] = []

    def stopped() -> str:
        return "the test" if ended.is_set() else ""

    thread = threading.Thread(target=opened.serve, args=(stopped, told.append))
    thread.start()
    try:
        yield told
    finally:
        ended.set()
        thread.join()
        opened.close()


@contextmanager
def served(device: ScriptedDevice) -> Iterator[tuple[Gateway, list[str]]]:
    opened = Gateway(device.path, 1_000_000, FREE, FREE)
    with serving(opened) as told:
        yield opened, told


@contextmanager
def peer_of(opened: Gateway) -> Iterator[Any]:
    """A host that is no more than a socket; what it has said still leaves."""
    context: zmq.Context[Any] = zmq.Context()
    peer = context.socket(zmq.DEALER)
    peer.connect(opened.command)
    yield peer
    peer.close(linger=2000)
    context.term()


def wait_for(condition: Any, what: str) -> None:
    end_s = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end_s, what
        time.sleep(0.01)


def test_a_packet_that_is_not_understood_is_damage_and_the_line_stays() -> None:
    with ScriptedDevice() as device, served(device) as (opened, told):
        link = Link.open("rig", f"zmq+{opened.command}", 1_000_000)
        values = {"sample_time_us": 0, "reasons": 0, "command_seq": 0, "late_commands": 0}
        device.send([("sensor", {**values, "state": 99, "values": [0.0, 0.0]})], 0)
        assert link.status().state == DeviceState.IDLE
        link.close()
    assert not any("lost" in text for text in told), told


def test_another_firmware_is_agreed_with_anew() -> None:
    with ScriptedDevice() as device, served(device) as (opened, told):
        device.schema = device.schema.replace("name scripted", "name flashed")
        device.schema_id = ref.schema_id(device.schema)
        device.send([("device_status", device.status())], 0)
        end_s = time.monotonic() + 10
        while not told:
            assert time.monotonic() < end_s
            time.sleep(0.01)
        assert opened.info.schema.name == "flashed"
    assert "another firmware runs now" in told[0]


def replugged(path: Path, first: ScriptedDevice, second: ScriptedDevice) -> None:
    """The name is that of another line by now."""
    path.unlink()
    path.symlink_to(second.path)
    first.__exit__()


def silent(_: ref.Packet) -> Answers:
    return []


def test_a_stop_is_passed_on_to_a_device_that_has_not_said_that_it_is_back(tmp_path: Path) -> None:
    """Its line is open, and it may move."""
    path = tmp_path / "tty"
    first = ScriptedDevice().__enter__()
    path.symlink_to(first.path)
    opened = Gateway(str(path), 1_000_000, FREE, FREE)
    with ScriptedDevice(silent) as second, serving(opened), peer_of(opened) as peer:
        replugged(path, first, second)
        wait_for(lambda: "hello" in second.names(), "a line that is open again")
        peer.send(STOP)
        wait_for(lambda: "stop" in second.names(), "the STOP")


def test_what_was_damaged_stays_counted_when_the_line_is_opened_anew(tmp_path: Path) -> None:
    path = tmp_path / "tty"
    first = ScriptedDevice().__enter__()
    path.symlink_to(first.path)
    opened = Gateway(str(path), 1_000_000, FREE, FREE)
    damaged: list[int] = []
    context: zmq.Context[Any] = zmq.Context()
    news = context.socket(zmq.SUB)
    news.subscribe("status")
    news.connect(opened.pub)

    def is_told(n: int) -> bool:
        while news.poll(0):
            damaged.append(json.loads(news.recv_multipart()[1])["counts"]["damaged"])
        return bool(damaged) and damaged[-1] >= n

    with ScriptedDevice() as second, serving(opened) as told:
        first.garbage = b"\x09\x01\0"  # no frame: its first code is beyond its end
        first.send([("device_status", first.status())], 0)
        wait_for(lambda: is_told(1), "damage")
        replugged(path, first, second)
        wait_for(lambda: any("is back" in text for text in told), "the second device")
        seen = len(damaged)
        wait_for(lambda: is_told(0) and len(damaged) > seen, "another status")
    context.destroy(linger=0)
    assert damaged == sorted(damaged)


def test_a_host_that_has_left_before_it_was_heard_commands_nothing() -> None:
    """Its HELLO is lost on a wire that says nothing else: whoever comes then must be heard."""
    unheard = [1]

    def loses_one_hello(request: ref.Packet) -> Answers:
        if request.name == "hello" and unheard:
            unheard.pop()
            return []
        return None

    with ScriptedDevice() as device:
        opened = Gateway(device.path, 1_000_000, FREE, FREE)
        device.script = loses_one_hello
        with peer_of(opened) as peer:
            peer.send(HELLO)
        time.sleep(0.3)  # nobody has listened so far
        with serving(opened):
            end_s = time.monotonic() + 10
            while True:
                try:
                    Link.open("rig", f"zmq+{opened.command}", 1_000_000).close()
                    break
                except LinkError:
                    assert time.monotonic() < end_s, "a host that is gone commands for ever"


def test_a_reader_that_stalls_keeps_nobody_from_the_device(tmp_path: Path) -> None:
    with firmware(tmp_path) as device:
        command = [sys.executable, "-m", "rtloop.cli", "gateway", str(device.link)]
        process = subprocess.Popen(
            [*command, "--pub", FREE, "--command", FREE],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        assert process.stdout is not None
        ready = process.stdout.readline().decode()
        fcntl.fcntl(process.stdout, fcntl.F_SETPIPE_SZ, os.sysconf("SC_PAGESIZE"))
        address = ready.partition("(device: zmq+")[2].rstrip(")\n")
        context: zmq.Context[Any] = zmq.Context()
        for _ in range(100):  # each a line about it
            stranger = context.socket(zmq.DEALER)
            stranger.connect(address)
            stranger.send(b"no packet")
            stranger.poll(200)
            stranger.close(linger=0)
        context.term()
        try:
            with Link.open("rig", f"zmq+{address}", 1_000_000) as link:
                assert link.info.device_state == DeviceState.IDLE
        finally:
            process.terminate()
            process.communicate(timeout=20)
    assert process.returncode == 0
