"""Whole runs over UDP: the real firmware program, which dies and is started again, and a lossy network."""

from __future__ import annotations

import io
import os
import random
import select
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from rtloop import core
from rtloop.cli.console import Console
from rtloop.config import Config, load
from rtloop.demos.firmware import TRANSPORTS, FirmwareProcess
from rtloop.run import Run, exit_code
from rtloop.telemetry.mcap.reader import read_recording
from tests.running import (
    UNDISTURBED,
    counter,
    firmware,
    rtloop,
    wait_for,
    wait_for_commands,
    write_config,
    write_config_again,
)

ANY = TRANSPORTS["udp"][1]


@contextmanager
def device_at(folder: Path, address: str = ANY) -> Iterator[FirmwareProcess]:
    with firmware(folder, *UNDISTURBED, "--rate-hz", "200", "--udp", address) as device:
        yield device


def configured(folder: Path, device: str, *, again: bool = False) -> Config:
    return load((write_config_again if again else write_config)(folder, device))


def test_a_run_commands_a_device_and_records_it(tmp_path: Path) -> None:
    with device_at(tmp_path) as device:
        checked = rtloop("check", write_config(tmp_path, device.device), "--device")
        run = Run(configured(tmp_path, device.device), "test")
        run.start()
        wait_for_commands(run)
        wait_for(lambda: counter(run, "tx_packets") > 200, "commands")
        lost = {name: counter(run, name) for name in ("tx_dropped", "rx_errors", "rx_lost")}
        summary = run.stop()
        told = device.stop()
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert exit_code(summary) == 0, summary.problems
    assert lost == {"tx_dropped": 0, "rx_errors": 0, "rx_lost": 0}
    assert told["counters"]["seq_gaps"] == 0
    assert (told["state"], told["reasons"], told["fell"]) == ("SAFE", ["HOST_STOP"], False)
    (loop,) = read_recording(run.recording).loops.values()
    assert len(loop.records) > 100


def test_a_device_that_dies_is_a_fault_that_says_how(tmp_path: Path) -> None:
    with device_at(tmp_path) as device:
        run = Run(configured(tmp_path, device.device), "test", record=False)
        run.start()
        wait_for_commands(run)
        os.kill(device.pid, signal.SIGKILL)
        run.wait(20)
        summary = run.stop()
    assert exit_code(summary) != 0
    (cause,) = [text for text in summary.problems if "was lost" in text]
    assert f"the link 'cart' ({device.device}) was lost: Connection refused" in cause


def test_a_device_that_died_and_was_started_again_is_armed_again(tmp_path: Path) -> None:
    (tmp_path / "second").mkdir()
    with device_at(tmp_path) as first:
        run = Run(configured(tmp_path, first.device, again=True), "test")
        run.start()
        # More than what is far back: by the host's numbers it would be a gap.
        wait_for(lambda: counter(run, "tx_packets") > 150, "commands")
        wait_for_commands(run)
        os.kill(first.pid, signal.SIGKILL)
        wait_for(lambda: counter(run, "losses") >= 1, "a loss")
        with device_at(tmp_path / "second", first.device) as second:
            wait_for(lambda: counter(run, "reconnections") >= 1, "a reconnection")
            wait_for_commands(run)
            summary = run.stop()
            told = second.stop()
    assert exit_code(summary) == 0, summary.problems
    assert (told["state"], told["reasons"]) == ("SAFE", ["HOST_STOP"])
    (losses,) = summary.losses
    assert (losses.losses, losses.reconnections) == (1, 1)
    assert told["counters"]["seq_gaps"] == 0  # what the first one got is no loss of the second
    (loop,) = read_recording(run.recording).loops.values()
    (lost,) = [e for e in loop.events if e["kind"] == core.PORT_EVENTS["lost"]]
    assert os.strerror(int(lost["error"])) == "Connection refused"


class Network:
    """Between a host and the device: loses, doubles and swaps what comes from the device, while told to."""

    def __init__(self, device: str) -> None:
        host, _, port = device.removeprefix("udp://").rpartition(":")
        self._here = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._here.bind(("127.0.0.1", 0))
        self._there = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._there.connect((host, int(port)))
        self.device = f"udp://127.0.0.1:{self._here.getsockname()[1]}"
        self.is_bad = self._ended = False
        self.lost = self.doubled = self.swapped = 0
        self._host: tuple[str, int] | None = None
        self._thread = threading.Thread(target=self._carry)

    def __enter__(self) -> Network:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended = True
        self._thread.join()
        self._here.close()
        self._there.close()

    def _carry(self) -> None:
        draw = random.Random(3)
        held = b""
        while not self._ended:
            ready, _, _ = select.select([self._here, self._there], [], [], 0.02)
            if self._here in ready:
                data, self._host = self._here.recvfrom(2048)
                self._there.send(data)
            if self._there not in ready:
                continue
            data = self._there.recv(2048)
            assert self._host is not None
            what = draw.random() if self.is_bad and not held else 1.0
            if what < 0.1:
                self.lost += 1
            elif what < 0.2:
                held = data
            else:
                self._here.sendto(data, self._host)
                if what < 0.3:
                    self.doubled += 1
                    self._here.sendto(data, self._host)
                if held:
                    self.swapped += 1
                    self._here.sendto(held, self._host)
                    held = b""


def test_what_a_bad_network_does_is_counted_as_it_was(tmp_path: Path) -> None:
    with device_at(tmp_path) as device, Network(device.device) as network:
        run = Run(configured(tmp_path, network.device), "test", record=False)
        run.start()
        wait_for_commands(run)
        network.is_bad = True
        wait_for(lambda: network.lost > 20 and network.swapped > 20, "a bad network")
        network.is_bad = False
        packets = counter(run, "rx_packets")
        wait_for(lambda: counter(run, "rx_packets") > packets + 20, "samples")
        time.sleep(0.05)
        names = ("rx_lost", "rx_reordered", "rx_repeated", "rx_errors")
        found = [counter(run, name) for name in names]
        summary = run.stop()
    assert found == [network.lost, network.swapped, network.doubled, 0]
    (link,) = summary.packets
    assert [getattr(link, name) for name in names] == found
    assert summary.as_dict()["packets"][0]["rx_lost"] == network.lost
    shown = io.StringIO()
    Console(shown).summarise(summary)
    told = shown.getvalue()
    sent = link.rx_packets + network.lost
    assert (
        f"packets of the device of 'cart' ({network.device}): {network.lost} of {sent} lost" in told
    )
    assert f"{network.swapped} overtaken, {network.doubled} doubled" in told
    assert exit_code(summary) == 0, summary.problems
