"""The firmware link in the cycle, against a device on each kind of wire."""

from __future__ import annotations

import errno
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from rtloop import core
from tests.core.conftest import MS, identity_graph
from tests.core.fake_device import (
    ACTIVE,
    ARMED,
    COMMAND,
    SAFE,
    STATS,
    STATS_REQUEST,
    STOP,
    TIME_REPLY,
    TIME_REQUEST,
    FakeDevice,
)
from tests.core.linked_loop import LinkedLoop


@pytest.fixture(params=["pty", "udp", "seqpacket"])
def device(request: pytest.FixtureRequest) -> Iterator[FakeDevice]:
    device = FakeDevice(offset_ns=-77_000_000_000, wire=request.param)
    yield device
    device.unplug()


def test_the_newest_sensor_becomes_a_command_valid_until_the_next_deadline(
    device: FakeDevice, tmp_path: Path
) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    device.send_sensor([0.25, 1.0])
    device.send_sensor([0.5, 2.0], age_us=1500)
    linked.loop.step()
    record, values = linked.last()
    assert values == [0.5, 2.0, 0.5]
    assert record["device_state"] == ACTIVE
    assert record["input_age_ns"] >= 1_400_000
    commands = [payload for kind, payload in device.received() if kind == COMMAND]
    valid_until_us, count, value = struct.unpack("<IB3xf", commands[-1])
    assert (count, value) == (1, 0.5)
    expected_us = (record["deadline_ns"] + 500 * MS + device.offset_ns) // 1000
    assert abs((expected_us & 0xFFFFFFFF) - valid_until_us) < 50


def test_a_command_acknowledges_the_sample_that_its_cycle_used(
    device: FakeDevice, tmp_path: Path
) -> None:
    stalls = [core.Stall(core.Stage.infer, 1, 0, 200 * MS)]
    linked = LinkedLoop(device, tmp_path / "r", stalls=stalls, max_age_ns=1000 * MS)
    linked.loop.begin()
    device.send_sensor([0.25, 1.0])
    device.send_sensor([0.5, 1.0])
    linked.loop.step()
    assert device.command_acks() == [device.newest_seq]
    device.send_sensor([0.75, 1.0])
    used = device.newest_seq
    comes = threading.Timer(0.1, device.send_sensor, ([1.0, 1.0],))
    comes.start()
    linked.loop.step()  # while it infers, the next sample comes
    comes.join()
    assert linked.last()[1] == [0.75, 1.0, 0.75]
    assert device.command_acks() == [used]
    linked.loop.step()
    assert linked.last()[1] == [1.0, 1.0, 1.0]
    assert device.command_acks() == [device.newest_seq] == [used + 1]


def test_a_command_acknowledges_no_sample_that_was_lost(device: FakeDevice, tmp_path: Path) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    device.send_sensor([0.25, 1.0])
    used = device.newest_seq
    device.lose(1)  # the next one
    device.send(14, bytes(40))  # a STATUS, after it
    linked.loop.step()
    assert device.command_acks() == [used]


def test_the_age_does_not_depend_on_the_two_clocks_agreeing(
    device: FakeDevice, tmp_path: Path
) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    device.send_sensor([0.0, 0.0], age_us=30_000)
    linked.loop.step()
    record, _ = linked.last()
    assert record["events"] & core.EVENTS["stale_input"]
    assert not [kind for kind, _ in device.received() if kind == COMMAND]


def test_the_error_of_the_clock_counts_as_age(device: FakeDevice, tmp_path: Path) -> None:
    linked = LinkedLoop(device, tmp_path / "r", clock_error_ns=60 * MS)
    linked.loop.begin()
    device.send_sensor([0.5, 0.0])
    linked.loop.step()
    record, _ = linked.last()
    assert record["input_age_ns"] > 50 * MS
    assert record["events"] & core.EVENTS["stale_input"]


def test_a_sample_from_the_future_is_stale_and_its_age_is_not_hidden(
    device: FakeDevice, tmp_path: Path
) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    device.send_sensor([0.5, 0.0], age_us=-200_000)
    linked.loop.step()
    record, _ = linked.last()
    assert record["input_age_ns"] < -1
    assert record["events"] & core.EVENTS["stale_input"]


def test_the_stop_packet_is_the_last_thing_on_the_line(device: FakeDevice, tmp_path: Path) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    device.send_sensor([0.5, 0.0])
    linked.loop.step()
    linked.loop.end()
    kinds = [kind for kind, _ in device.received()]
    assert COMMAND in kinds
    assert kinds[-1] == STOP


def test_nothing_but_stop_leaves_once_the_safe_command_was_sent(
    device: FakeDevice, tmp_path: Path
) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    linked.port.write_safe()  # as the guard does, beside the cycle
    device.send_sensor([0.5, 0.0])
    linked.loop.step()
    assert {kind for kind, _ in device.received()} == {STOP}


def test_an_unplugged_device_is_a_fault_with_its_errno(device: FakeDevice, tmp_path: Path) -> None:
    linked = LinkedLoop(device, tmp_path / "r", silence_timeout_ns=50 * MS)
    linked.loop.begin()
    device.send_sensor([0.5, 0.0])
    assert linked.loop.step()
    device.unplug()
    while linked.loop.step():  # at once but over UDP, where a loss shows by silence
        pass
    status = linked.loop.status()
    assert status["state"] == "fault"
    assert status["fault_reason"] == core.FAULT_REASONS["port_error"]
    assert status["fault_errno"] != 0
    assert linked.last()[0]["events"] & core.EVENTS["port_error"]


def test_a_silent_device_is_a_fault(device: FakeDevice, tmp_path: Path) -> None:
    linked = LinkedLoop(device, tmp_path / "r", silence_timeout_ns=5 * MS)
    linked.loop.begin()
    device.send_sensor([0.5, 0.0])
    while linked.loop.step():
        pass
    assert linked.loop.status()["fault_errno"] == errno.ETIMEDOUT


def test_a_device_that_answers_but_sends_no_samples_is_silent(
    device: FakeDevice, tmp_path: Path
) -> None:
    linked = LinkedLoop(device, tmp_path / "r", silence_timeout_ns=20 * MS)
    linked.loop.begin()
    device.send_sensor([0.5, 0.0])
    end = time.monotonic() + 10
    while linked.loop.step():
        now_us = device.now_us()
        device.send(TIME_REPLY, struct.pack("<Qqq", 0, now_us, now_us))
        assert time.monotonic() < end
    assert linked.loop.status()["fault_errno"] == errno.ETIMEDOUT


def test_no_command_is_valid_for_longer_than_the_devices_timeout(
    device: FakeDevice, tmp_path: Path
) -> None:
    """Not even by a device clock that has lost an eighth of the timeout since it was estimated."""
    linked = LinkedLoop(
        device, tmp_path / "r", command_validity_ns=500 * MS, command_timeout_ns=40 * MS
    )
    linked.loop.begin()
    device.send_sensor([0.5, 0.0])
    linked.loop.step()
    (command,) = [payload for kind, payload in device.received() if kind == COMMAND]
    (valid_until_us,) = struct.unpack("<I", command[:4])
    ahead_us = (valid_until_us - device.now_us() + (1 << 31)) % (1 << 32) - (1 << 31)
    assert ahead_us <= 35_000


def test_a_device_that_goes_safe_by_itself_is_a_fault(device: FakeDevice, tmp_path: Path) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    device.send_sensor([0.5, 0.0], state=ACTIVE)
    assert linked.loop.step()
    device.send_sensor([0.5, 0.0], state=SAFE)
    assert not linked.loop.step()
    assert linked.loop.status()["fault_reason"] == core.FAULT_REASONS["device_safe"]


def test_what_a_stopped_device_puts_out_is_not_claimed_to_be_known(
    device: FakeDevice, tmp_path: Path
) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    linked.port.write_safe()  # as the guard does: the command of the cycle does not leave
    device.send_sensor([0.5, 0.0], state=SAFE)
    assert not linked.loop.step()
    record, values = linked.last()
    assert record["outcome"] == core.OUTCOMES["safe"]
    assert np.isnan(values[2])


def step_until_read(linked: LinkedLoop, first_value: float) -> None:
    """The kernel may take its time with a pty: bounded, but not in time."""
    for _ in range(20):
        assert linked.loop.step()
        if linked.last()[1][0] == first_value:
            return
    raise AssertionError(f"{first_value} never arrived")


class Obedience:
    """A device that answers each command as the test says."""

    def __init__(self, device: FakeDevice, path: Path) -> None:
        self.device = device
        self.linked = LinkedLoop(
            device, path, obey_timeout_ns=60 * MS, silence_timeout_ns=5000 * MS
        )
        self.linked.loop.begin()
        self.seqs: list[int] = []

    def run(self, seconds: float, state: int = ACTIVE, confirmed: int | None = None) -> str:
        """Confirms the newest command, or always ``confirmed``; why the loop is in FAULT."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            seq = confirmed if confirmed is not None else self.seqs[-1] if self.seqs else 0
            self.device.send_sensor([0.5, 0.0], state=state, command_seq=seq)
            if not self.linked.loop.step():
                reason = self.linked.loop.status()["fault_reason"]
                return next(name for name, n in core.FAULT_REASONS.items() if n == reason)
            self.seqs += self.device.command_seqs()
        return "none"


def test_a_device_that_confirms_its_commands_is_obedient(
    device: FakeDevice, tmp_path: Path
) -> None:
    assert Obedience(device, tmp_path / "r").run(0.5) == "none"


def test_a_device_that_never_gets_active_is_a_fault(device: FakeDevice, tmp_path: Path) -> None:
    assert Obedience(device, tmp_path / "r").run(10, state=ARMED) == "not_obeyed"


@pytest.mark.parametrize("confirmed", [0, 0x8000, 0xFFFF])
def test_a_device_that_is_active_and_applies_nothing_of_ours_is_a_fault(
    device: FakeDevice, tmp_path: Path, confirmed: int
) -> None:
    assert Obedience(device, tmp_path / "r").run(10, confirmed=confirmed) == "not_obeyed"


def test_a_device_that_stops_to_apply_commands_is_a_fault(
    device: FakeDevice, tmp_path: Path
) -> None:
    obedience = Obedience(device, tmp_path / "r")
    assert obedience.run(0.3) == "none"
    assert obedience.run(10, confirmed=obedience.seqs[-1]) == "not_obeyed"


def test_noise_and_foreign_packets_are_counted_and_survived(
    device: FakeDevice, tmp_path: Path
) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    device.send_raw(b"\x07garbage\x00\x00\xff\x01\x00")
    device.send(7, b"\x00" * 20, schema_id=0x999)
    device.send(7, b"short")
    device.send_sensor([0.5, 0.0])
    step_until_read(linked, 0.5)
    assert linked.last()[1] == [0.5, 0.0, 0.5]
    assert linked.port.counters()["rx_errors"] >= 2
    assert linked.port.counters()["rx_packets"] >= 1


@pytest.mark.parametrize("holds", [False, True], ids=["with commands", "while the loop holds"])
def test_time_requests_leave_now_and_then_and_tighten_the_bound(
    device: FakeDevice, tmp_path: Path, holds: bool
) -> None:
    # With such an error every sample is stale: nothing but the requests can end that.
    error_ns = 400 * MS if holds else 10 * MS
    linked = LinkedLoop(device, tmp_path / "r", clock_error_ns=error_ns)
    linked.loop.begin()
    asked = 0
    end = time.monotonic() + 10
    # The exchange is some µs; the wait for this process, on a busy machine, is not.
    while (bound := linked.port.counters()["clock_error_ns"]) > error_ns / 2 or not asked:
        assert time.monotonic() < end, f"asked {asked} times, the bound is {bound}"
        device.send_sensor([0.5, 0.0])
        assert linked.loop.step()
        for kind, payload in device.received():
            if kind == TIME_REQUEST:
                asked += 1
                now_us = device.now_us()
                (host_ns,) = struct.unpack("<Q", payload)
                device.send(TIME_REPLY, struct.pack("<Qqq", host_ns, now_us, now_us))
    linked.loop.end()


@pytest.mark.parametrize("device", ["pty", "seqpacket"], indirect=True)
def test_a_full_line_drops_packets_and_the_cycle_goes_on(
    device: FakeDevice, tmp_path: Path
) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    dropped = 0
    for _ in range(2000):  # the device does not read
        device.send_sensor([0.5, 0.0])
        assert linked.loop.step()
        dropped = linked.port.counters()["tx_dropped"]
        if dropped:
            break
    assert dropped > 0
    while device.received():
        pass
    device.send_sensor([0.75, 0.0])
    step_until_read(linked, 0.75)
    sent = [p for k, p in device.received() if k == COMMAND]
    assert struct.unpack("<IB3xf", sent[-1])[2] == 0.75, "back in step after a cut frame"


def test_more_values_than_a_packet_holds_are_refused(device: FakeDevice) -> None:
    with pytest.raises(ValueError, match=f"at most {core.LINK_VALUES_MAX}"):
        device.port(n_sensor=core.LINK_VALUES_MAX + 1)


def test_of_a_flood_the_newest_sample_is_taken_and_the_rest_is_counted(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()  # holds more than a pty
    device = FakeDevice()
    frames: list[bytes] = []
    device.send_raw = frames.append  # type: ignore[method-assign,assignment]
    with ours, theirs:
        linked = LinkedLoop(device, tmp_path / "r", fd=ours.fileno())
        linked.loop.begin()
        for i in range(1500):
            device.send_sensor([float(i), 0.0])
        flood = b"".join(frames)
        theirs.sendall(flood)
        assert linked.loop.step()
        assert linked.last()[1][0] == 1499.0
        counters = linked.port.counters()
        assert 0 < counters["rx_discarded"] < len(flood)
        assert counters["rx_lost"] + counters["rx_packets"] == 1500
        assert counters["rx_errors"] == 0
    device.unplug()


def test_full_packets_travel_both_ways_whole(device: FakeDevice, tmp_path: Path) -> None:
    n = core.LINK_VALUES_MAX
    assert n >= 128
    port = device.port(n_sensor=n, n_command=n)
    config = core.LoopConfig()
    config.loop_class = core.LoopClass.soft
    config.inputs, config.outputs = [core.InputConfig(0)], [core.OutputConfig(0, safe=[0.0] * n)]
    ring = core.RingWriter(str(tmp_path / "r"), 64, 1, n, n, b"{}")
    loop = core.Loop(config, [port], identity_graph(n), ring, core.MonotonicClock())
    loop.begin()
    values = [1.1 + i for i in range(n)]
    device.send_sensor(values)
    sent: list[bytes] = []
    while not sent:
        assert loop.step()
        sent = [payload for kind, payload in device.received() if kind == COMMAND]
    assert struct.unpack(f"<IB3x{n}f", sent[-1])[2:] == pytest.approx(values)
    loop.end()


def test_a_descriptor_that_is_none_is_refused(device: FakeDevice) -> None:
    with pytest.raises(OSError, match="duplicate"):
        device.port(fd=-1)


def test_the_pace_of_a_device_is_told_by_its_own_clock_whatever_was_lost(
    device: FakeDevice, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    sent_us = 2**32 - 30_000  # through the wrap
    monkeypatch.setattr(device, "now_us", lambda: sent_us)
    for i in range(10):
        if i == 5:
            device.lose(3)  # 7 ms pass, of which nothing is known
            sent_us += 7_000
        device.send(TIME_REPLY, bytes(24))  # what comes in between is no sample
        device.send_sensor([0.0, 0.0])
        linked.loop.step()
        sent_us += 10_000
    counters = linked.port.counters()
    assert counters["sensor_intervals"] == 8
    assert counters["sensor_interval_ns"] == 10 * MS


@pytest.mark.parametrize("absurd", [(2**64 - 1, 2**64 - 1), (2, 1), (2**52 + 1, 2**52 + 2)])
def test_a_time_that_no_device_has_counted_is_damage_and_moves_no_clock(
    device: FakeDevice, tmp_path: Path, absurd: tuple[int, int]
) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    device.send_sensor([0.0, 0.0])
    linked.loop.step()
    requests = [payload for kind, payload in device.received() if kind == TIME_REQUEST]
    device.send(TIME_REPLY, requests[-1] + struct.pack("<QQ", *absurd))
    device.send_sensor([0.0, 0.0])
    linked.loop.step()
    counters = linked.port.counters()
    assert (counters["rx_errors"], counters["clock_contradictions"]) == (1, 0)


def test_a_device_is_asked_for_its_account_once_a_second_and_only_its_answer_counts(
    tmp_path: Path,
) -> None:
    device = FakeDevice()
    linked = LinkedLoop(device, tmp_path / "r", period_ns=100 * MS, accounts=1)
    linked.loop.begin()
    asked: list[int] = []
    began_s = time.monotonic()
    while len(asked) < 2:
        device.send_sensor([0.0, 0.0])
        device.send(STATS, bytes([1]) * 96, ack=1)  # asked for by nobody
        linked.loop.step()
        asked += [packet[2] for packet in device.packets() if packet[0] == STATS_REQUEST]
        assert linked.port.account() == b""
    assert time.monotonic() - began_s > 2
    told = [bytes([2, 0]) + bytes([number] * 94) for number in (3, 4, 5)]
    device.send(STATS, told[0], ack=asked[0])  # to a question that was asked anew since
    device.send(STATS, told[1], ack=asked[1])
    device.send(STATS, told[2], ack=asked[1])  # a second answer
    linked.loop.step()
    assert linked.port.account() == told[1]
    device.send(STATS, told[0][:-1], ack=asked[1])
    linked.loop.step()
    assert (linked.port.counters()["rx_errors"], linked.port.account()) == (1, told[1])
    device.unplug()
