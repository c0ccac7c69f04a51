"""`rtloop gateway` before the firmware program on a pty, with real ZeroMQ peers, and each part killed."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.auth

from rtloop.demos.firmware import FirmwareProcess
from rtloop.errors import LinkError
from rtloop.link import DeviceState, Link, Reason
from tests.firmware import reference as ref
from tests.link.scripted_device import ScriptedDevice
from tests.running import background, edited, firmware, rtloop, summary_of, wait_for, write_config


class Running:
    """A gateway as a process. ``process.kill`` is kill -9."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, process.communicate()[1]
        told = json.loads(line)
        self.pub, self.command = str(told["pub"]), str(told["command"])

    def open(self) -> Link:
        return Link.open("rig", f"zmq+{self.command}", 1_000_000)

    def end(self) -> tuple[int, str]:
        self.process.send_signal(signal.SIGTERM)
        _, err = self.process.communicate(timeout=20)
        return self.process.returncode, err


@contextmanager
def gateway(
    device: Path, *arguments: object, pub: str = "", command: str = ""
) -> Iterator[Running]:
    free = "tcp://127.0.0.1:0"
    addresses = ["--pub", pub or free, "--command", command or free]
    with background(["gateway", device, *addresses, "--json", *arguments]) as process:
        yield Running(process)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[FirmwareProcess]:
    with firmware(tmp_path) as device:
        yield device


@pytest.fixture
def context() -> Iterator[zmq.Context[Any]]:
    context: zmq.Context[Any] = zmq.Context()
    yield context
    context.destroy(linger=0)


def subscribed(context: zmq.Context[Any], address: str, *topics: str) -> Callable[[], Any]:
    """The next of what is published: its topic, and what it says."""
    socket = context.socket(zmq.SUB)
    for topic in topics or ("",):
        socket.subscribe(topic)
    socket.connect(address)

    def next_one() -> tuple[str, dict[str, Any]]:
        assert socket.poll(10_000), "nothing is published"
        topic, text = socket.recv_multipart()
        return topic.decode(), json.loads(text)

    return next_one


def until(next_one: Callable[[], Any], where: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    end_s = time.monotonic() + 15
    while time.monotonic() < end_s:
        _, told = next_one()
        if where(told):
            return dict(told)
    raise AssertionError("it was not published")


# --- what is published ---


def test_samples_are_published_with_names_and_device_time(
    device: FirmwareProcess, context: zmq.Context[Any]
) -> None:
    with gateway(device.link) as running:
        next_one = subscribed(context, running.pub, "sample")
        samples = [next_one()[1] for _ in range(20)]
        assert list(samples[0]["values"]) == [
            "cart_position",
            "cart_velocity",
            "pole_angle",
            "pole_rate",
        ]
        assert (samples[0]["device"], samples[0]["state"]) == ("cartpole", "IDLE")
        times = [sample["sample_time_us"] for sample in samples]
        assert times == sorted(set(times))
        status = subscribed(context, running.pub, "status")()[1]
        assert status["commander"] is None
        assert [field["name"] for field in status["commands"]] == ["force"]
        assert status["counts"]["samples"] > 0


def test_what_happens_is_published_with_who_commands(
    device: FirmwareProcess, context: zmq.Context[Any]
) -> None:
    with gateway(device.link) as running:
        next_one = subscribed(context, running.pub, "event", "gateway", "status")
        until(next_one, lambda told: "counts" in told)  # the subscription stands
        link = running.open()
        assert "127.0.0.1" in until(next_one, lambda t: t.get("what") == "commanded")["text"]
        link.arm(loop_class=2)
        event = until(next_one, lambda told: told.get("event") == "state_change")
        assert event["state"] == "ARMED"
        link.close()
        left = until(next_one, lambda told: told.get("what") == "left")["text"]
        assert "the device is ARMED still, which no timeout ends" in left


# --- who commands ---


def test_a_loop_runs_through_it(tmp_path: Path, device: FirmwareProcess) -> None:
    with gateway(device.link) as running:
        # A machine that stalls drops what waited, and that is right.
        path = running_loop(tmp_path, device, running, {"refused: 1": "refused: 1, dropped: 1"})
        done = rtloop("run", path, "--duration", 1.5, "--json", "--no-report")
        loop = summary_of(done)["loops"]["balance"]
        assert done.returncode == 0, (done.stderr, loop["failures"], summary_of(done)["problems"])
        assert loop["outcomes"]["written"] > 0
        assert running.end() == (0, "")


def test_a_second_host_is_refused_in_words_and_may_when_the_first_has_left(
    device: FirmwareProcess,
) -> None:
    with gateway(device.link) as running:
        first = running.open()
        with pytest.raises(LinkError, match=r"refused: .* is commanded by another host, at 127\.0"):
            running.open()
        first.arm(loop_class=2)  # the first has not noticed
        first.close()
        second = reopened(running)
        assert second.info.device_state == DeviceState.ARMED, "nobody has stopped it"
        second.close()


def reopened(running: Running) -> Link:
    """That the first has left is known a moment later."""
    end_s = time.monotonic() + 10
    while True:
        try:
            return running.open()
        except LinkError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.05)


def test_packets_pass_unchanged_in_both_directions(
    device: FirmwareProcess, context: zmq.Context[Any]
) -> None:
    with gateway(device.link) as running:
        peer = context.socket(zmq.DEALER)
        peer.connect(running.command)
        payload = ref.encode_message("hello", {"min_version": 1, "max_version": 1})
        peer.send(ref.encode_packet(ref.MESSAGES["hello"][0], 4711, 0, 0, 5, payload))
        while (packet := received(peer)).name != "hello_reply":
            pass
        assert packet.ack == 4711, "the device's own answer, to the host's own number"
        first, second = received(peer), received(peer)
        assert (second.seq - first.seq & 0xFFFF) == 1


def received(peer: zmq.Socket[Any]) -> ref.Packet:
    assert peer.poll(10_000)
    return ref.decode_packet(peer.recv())


def test_a_stop_is_obeyed_from_whoever_says_it(device: FirmwareProcess) -> None:
    with gateway(device.link) as running:
        first = running.open()
        first.arm(loop_class=2)
        done = rtloop("link", "safe", f"zmq+{running.command}", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["state"] == "SAFE"
        assert first.status().state == DeviceState.SAFE
        first.close()


@pytest.mark.parametrize("said", [b"", b"x", b"x" * 600, b"\0" * 540])
def test_what_is_no_packet_never_reaches_the_device(
    device: FirmwareProcess, context: zmq.Context[Any], said: bytes
) -> None:
    with gateway(device.link) as running:
        peer = context.socket(zmq.DEALER)
        peer.connect(running.command)
        peer.send(said)
        peer.send_multipart([b"", said])
        link = reopened(running)
        status = link.status()
        assert (status.crc_errors, status.frame_errors) == (0, 0)
        link.close()


# --- its end, and that of the others ---


def test_when_it_ends_the_device_gets_a_stop(device: FirmwareProcess) -> None:
    with gateway(device.link) as running:
        link = running.open()
        link.arm(loop_class=2)
        link.close()
        assert running.end() == (0, "")
    link = Link.open("x", str(device.link), 1_000_000)
    assert (link.info.device_state, link.info.reasons) == (DeviceState.SAFE, Reason.HOST_STOP)
    link.close()


def activate(link: Link) -> None:
    """The first command, which the core would send: the device is ACTIVE from then on."""
    link.arm(loop_class=2)
    stream: Any = link._stream
    valid_us = (time.monotonic_ns() + link.info.clock_offset_ns) // 1000 + 400_000 & 0xFFFFFFFF
    payload = ref.encode_message("command", {"valid_until_us": valid_us, "values": [0.0]})
    stream.send(ref.MESSAGES["command"][0], payload)
    end_s = time.monotonic() + 10
    while link.status().state != DeviceState.ACTIVE:
        assert time.monotonic() < end_s


@pytest.fixture
def terminal() -> Iterator[tuple[int, int]]:
    """Both ends of a terminal."""
    master, slave = pty.openpty()
    yield master, slave
    os.close(master)
    os.close(slave)


def test_a_terminal_that_takes_nothing_holds_up_neither_a_host_nor_the_stop(
    terminal: tuple[int, int],
) -> None:
    master, slave = terminal
    command = [sys.executable, "-m", "rtloop.cli", "gateway"]
    addresses = ["--pub", "tcp://127.0.0.1:0", "--command", "tcp://127.0.0.1:0"]
    with ScriptedDevice() as device:
        process = subprocess.Popen(
            [*command, device.path, *addresses], stdout=slave, stderr=subprocess.DEVNULL
        )
        try:
            told = b""
            while b")" not in told:
                told += os.read(master, 4096)
            termios.tcflow(slave, termios.TCOOFF)  # as Ctrl-S does
            at = told.decode().split("(device: ")[1].split(")")[0]
            link = Link.open("rig", at, 1_000_000)  # whose coming is told
            link.arm(loop_class=2)
            link.close()
            process.send_signal(signal.SIGTERM)
            wait_for(lambda: "stop" in device.names(), "STOP")
        finally:
            termios.tcflow(slave, termios.TCOON)
            process.kill()
            process.wait()


def test_a_host_that_falls_silent_is_the_command_timeouts_affair(device: FirmwareProcess) -> None:
    with gateway(device.link) as running:
        link = running.open()
        activate(link)
        link.close()  # as kill -9 does: the connection ends, and no STOP was said
        second = reopened(running)
        end_s = time.monotonic() + 10
        while (status := second.status()).state != DeviceState.SAFE:
            assert time.monotonic() < end_s
        assert status.reasons == Reason.COMMAND_TIMEOUT
        second.close()


def test_a_gateway_that_is_killed_leaves_it_to_the_command_timeout_and_may_come_back(
    device: FirmwareProcess,
) -> None:
    with gateway(device.link) as running:
        pub, command = running.pub, running.command
        activate(running.open())
        running.process.kill()
        running.process.communicate()
    with gateway(device.link, pub=pub, command=command) as again:
        link = again.open()
        end_s = time.monotonic() + 10
        while (status := link.status()).state != DeviceState.SAFE:
            assert time.monotonic() < end_s
        assert status.reasons == Reason.COMMAND_TIMEOUT
        link.close()


def test_a_device_that_is_killed_is_found_again_when_it_is_back(
    tmp_path: Path, context: zmq.Context[Any]
) -> None:
    with firmware(tmp_path) as device, gateway(device.link) as running:
        next_one = subscribed(context, running.pub, "gateway", "status")
        until(next_one, lambda told: "counts" in told)
        os.kill(device.pid, signal.SIGKILL)
        assert "was lost" in until(next_one, lambda told: told.get("what") == "lost")["text"]
        with pytest.raises(LinkError, match="is lost, and is being looked for"):
            running.open()
        device.stop()
        Path(device.link).unlink(missing_ok=True)
        with firmware(tmp_path):
            until(next_one, lambda told: told.get("what") == "back")
            link = reopened(running)
            assert link.status().state == DeviceState.IDLE
            link.close()
            assert running.end() == (0, "")


def test_a_stop_that_the_device_does_not_confirm_is_a_1(tmp_path: Path) -> None:
    with firmware(tmp_path) as device, gateway(device.link) as running:
        os.kill(device.pid, signal.SIGSTOP)
        code, err = running.end()
        os.kill(device.pid, signal.SIGCONT)
    assert code == 1
    assert "did not confirm STOP" in err


def test_an_address_that_is_taken_is_told_and_the_device_is_let_go(
    device: FirmwareProcess,
) -> None:
    with gateway(device.link) as running:
        done = rtloop("gateway", "/dev/nothere", "--pub", running.pub)
        assert done.returncode == 1
        assert f"cannot listen at {running.pub}: Address already in use" in done.stderr
        assert "another gateway may run there" in done.stderr
        both = ["--pub", "tcp://127.0.0.1:0", "--command", running.command]
        assert "another gateway may run there" in rtloop("gateway", "/dev/nothere", *both).stderr
    same = ["--pub", "tcp://127.0.0.1:5599", "--command", "tcp://127.0.0.1:5599"]
    done = rtloop("gateway", "/dev/nothere", *same)
    assert "samples and events are to have that port: give --pub another one" in done.stderr
    done = rtloop("gateway", "/dev/nothere", "--command", "tcp://0.0.0.0:0")
    assert done.returncode == 2
    assert "could move the machine" in done.stderr


# --- keys ---


def test_with_keys_only_who_has_one_is_heard(
    tmp_path: Path, device: FirmwareProcess, context: zmq.Context[Any]
) -> None:
    keys = tmp_path / "keys"
    (keys / "clients").mkdir(parents=True)
    public, secret = zmq.auth.load_certificate(zmq.auth.create_certificates(tmp_path, "rig")[1])
    (tmp_path / "rig.key").rename(keys / "clients" / "rig.key")
    with gateway(device.link, "--keys", keys) as running:
        server, _ = zmq.auth.load_certificate(keys / "gateway.key")

        def subscriber(own: tuple[bytes, bytes] | None) -> Any:
            socket = context.socket(zmq.SUB)
            socket.subscribe("")
            if own is not None:
                socket.curve_serverkey = server
                socket.curve_publickey, socket.curve_secretkey = own
            socket.connect(running.pub)
            return socket

        assert secret is not None
        known = subscriber((public, secret))
        strange, plain = subscriber(zmq.curve_keypair()), subscriber(None)
        assert known.poll(10_000)
        assert strange.poll(300) == 0
        assert plain.poll(300) == 0
        assert running.end() == (0, "")


# --- real loops through it ---


def running_loop(
    folder: Path, device: FirmwareProcess, running: Running, changes: dict[str, str] | None = None
) -> Path:
    path = write_config(folder, Path("/the-device"))
    return edited(path, {"/the-device": f"zmq+{running.command}", **(changes or {})})


def test_a_loop_that_is_killed_leaves_its_device_safe_and_free_for_the_next(
    tmp_path: Path, device: FirmwareProcess
) -> None:
    with gateway(device.link) as running:
        path = running_loop(tmp_path, device, running)
        with background(["run", path, "--json", "--no-record"]) as run:
            watch = until_commanded(running)
            run.kill()
            run.communicate()
        link = reopened(running)
        end_s = time.monotonic() + 10
        while (status := link.status()).state != DeviceState.SAFE:
            assert time.monotonic() < end_s
        assert status.reasons == Reason.COMMAND_TIMEOUT
        link.close()
        assert watch


def until_commanded(running: Running, run: subprocess.Popen[str] | None = None) -> bool:
    """Until samples say that commands are applied, or ``run`` has ended: whether they do."""
    context: zmq.Context[Any] = zmq.Context()

    def has_ended() -> bool:
        return run is not None and run.poll() is not None

    try:  # the device may be ACTIVE by the commands of before
        next_one = subscribed(context, running.pub, "status")
        until(next_one, lambda told: told["commander"] is not None or has_ended())
        next_one = subscribed(context, running.pub, "sample")
        told = until(next_one, lambda told: told["state"] == "ACTIVE" or has_ended())
        return bool(told["state"] == "ACTIVE")
    finally:
        context.destroy(linger=0)


def test_a_loop_that_reconnects_goes_on_when_a_killed_gateway_is_back(
    tmp_path: Path, device: FirmwareProcess
) -> None:
    reconnect = (
        "command_timeout_ms: 500, on_lost: reconnect, "
        "reconnect: {rearm: automatic, first_ms: 50, max_ms: 500}"
    )
    with gateway(device.link) as running:
        pub, command = running.pub, running.command
        path = running_loop(tmp_path, device, running, {"command_timeout_ms: 500": reconnect})
        with background(["run", path, "--json", "--no-report"]) as run:
            until_commanded(running)
            running.process.kill()
            running.process.communicate()
            with gateway(device.link, pub=pub, command=command) as again:
                if not until_commanded(again, run):
                    # It came back too late for the pole: the end of the track is no loss of a link.
                    assert "LIMIT" in run.communicate(timeout=30)[0]
                    return
                run.send_signal(signal.SIGINT)
                out, err = run.communicate(timeout=30)
                summary = json.loads(out)
                assert summary["losses"], (err, summary["problems"])
                assert summary["losses"][0]["reconnections"] == 1
                assert summary["loops"]["balance"]["fault_reason"] == "none"
