"""What a device reports beside its samples, and how its clock was estimated, on the way to the ring."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path

import numpy as np

from rtloop import core
from rtloop.telemetry.observe.records import PORT_EVENT_DTYPE, PortEvents
from tests.core.fake_device import ACTIVE, SAFE, TIME_REPLY, TIME_REQUEST, FakeDevice
from tests.core.linked_loop import LinkedLoop

MS = 1_000_000
EVENT, DEADLINE_MISS = 12, 5
KINDS = core.PORT_EVENTS


def send_event(device: FakeDevice, kind: int, *, total: int = 1, lateness_us: int = 0) -> int:
    """An event of now; when that was (ns, our clock)."""
    now_us = device.now_us()
    head = struct.pack("<BBHIIiI", kind, 1, 0x12, now_us & 0xFFFFFFFF, 0, lateness_us, total)
    device.send(EVENT, head + bytes([SAFE, 0, 0, 0]))
    return now_us * 1000 - device.offset_ns


def events_of(linked: LinkedLoop, kind: str | None = None) -> PortEvents:
    raw, _ = core.RingReader(linked.path).events.read(4096)
    events: PortEvents = np.ascontiguousarray(raw).view(PORT_EVENT_DTYPE).ravel()
    return events if kind is None else events[events["kind"] == KINDS[kind]]


def step_until(linked: LinkedLoop, device: FakeDevice, kind: str, n: int = 1) -> PortEvents:
    """The kernel may take its time with a pty: bounded, but not in time."""
    for _ in range(200):
        device.send_sensor([0.5, 0.0])
        assert linked.loop.step()
        found = events_of(linked, kind)
        if len(found) >= n:
            return found
    raise AssertionError(f"{kind} was never recorded")


def test_a_refused_command_is_recorded_with_its_lateness_and_class(
    device: FakeDevice, tmp_path: Path
) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    sent_ns = send_event(device, KINDS["late_command"], total=3, lateness_us=1234)
    (event,) = step_until(linked, device, "late_command")
    assert (event["lateness_us"], event["total"], event["port"]) == (1234, 3, 0)
    assert event["loop_class"] == core.CLASSES["firm"]
    assert (event["device_state"], event["device_reasons"]) == (SAFE, 0x12)
    assert abs(int(event["time_ns"]) - sent_ns) < 10 * MS, "the device's time on our clock"
    assert linked.port.counters()["device_events"] == 1


def test_a_deadline_that_the_device_missed_is_recorded_with_its_lateness_and_class(
    device: FakeDevice, tmp_path: Path
) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    send_event(device, DEADLINE_MISS, total=7, lateness_us=321)
    (event,) = step_until(linked, device, "deadline_miss")
    assert (event["lateness_us"], event["total"]) == (321, 7)
    assert event["device_event"] == DEADLINE_MISS != KINDS["deadline_miss"]
    assert event["loop_class"] == core.CLASSES["firm"]


def test_an_event_of_a_newer_device_is_recorded_as_unknown(
    device: FakeDevice, tmp_path: Path
) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    send_event(device, 200)
    send_event(device, KINDS["lost"])  # that is the host's to say
    found = step_until(linked, device, "unknown", 2)
    assert found["device_event"].tolist() == [200, KINDS["lost"]]


def test_a_malformed_event_counts_as_an_error_of_the_line(
    device: FakeDevice, tmp_path: Path
) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    device.send(EVENT, b"short")
    for _ in range(20):
        assert linked.loop.step()
        if linked.port.counters()["rx_errors"]:
            break
    assert linked.port.counters()["rx_errors"] == 1
    assert set(events_of(linked)["kind"].tolist()) <= {KINDS["clock"]}


def test_the_estimate_of_the_clock_is_recorded_as_it_was_in_use(
    device: FakeDevice, tmp_path: Path
) -> None:
    linked = LinkedLoop(device, tmp_path / "r", clock_error_ns=50 * MS)
    linked.loop.begin()
    first = step_until(linked, device, "clock")[0]
    assert first["clock_error_ns"] >= 50 * MS // 2
    end = time.monotonic() + 1.3
    while time.monotonic() < end:
        device.send_sensor([0.5, 0.0])
        assert linked.loop.step()
    linked.loop.end()
    clock = events_of(linked, "clock")
    assert 2 <= len(clock) <= 14, "once a second, and ten times a second at most"
    for event in clock:
        assert abs(int(event["clock_offset_ns"]) - device.offset_ns) <= event["clock_error_ns"]
    # Steady now: the last one is no older than a second, and what was in use then.
    last = clock[-1]
    assert time.monotonic_ns() - int(last["time_ns"]) < 1500 * MS
    assert np.all(np.diff(clock["time_ns"]) >= 100 * MS)


def test_a_clock_that_gets_better_is_told_at_once(device: FakeDevice, tmp_path: Path) -> None:
    linked = LinkedLoop(device, tmp_path / "r", clock_error_ns=15 * MS)
    linked.loop.begin()
    for _ in range(120):
        device.send_sensor([0.5, 0.0])
        assert linked.loop.step()
        for kind, payload in device.received():
            if kind == TIME_REQUEST:
                now_us = device.now_us()
                device.send(TIME_REPLY, payload + struct.pack("<qq", now_us, now_us))
    clock = events_of(linked, "clock")
    assert len(clock) >= 2
    assert clock["clock_error_ns"][0] > 14 * MS
    assert clock["clock_error_ns"][1] < 7 * MS
    assert int(clock["time_ns"][1] - clock["time_ns"][0]) < 1000 * MS


def test_a_clock_that_contradicts_itself_is_told_and_a_skew_that_is_not_measured_is_not(
    device: FakeDevice, tmp_path: Path
) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    assert step_until(linked, device, "clock")[0]["total"] == 0
    device.offset_ns += 1000 * MS
    for _ in range(200):
        device.send_sensor([0.5, 0.0])
        assert linked.loop.step()
        if (told := events_of(linked, "clock")[-1])["total"]:
            break
    assert told["total"] == linked.port.counters()["clock_contradictions"] > 0
    assert told["clock_skew_ppb"] == 0


def test_a_lost_line_is_recorded_with_its_errno(device: FakeDevice, tmp_path: Path) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    device.send_sensor([0.5, 0.0], state=ACTIVE)
    assert linked.loop.step()
    device.unplug()
    while linked.loop.step():
        pass
    linked.loop.end()
    (event,) = events_of(linked, "lost")
    assert event["error"] == linked.loop.status()["fault_errno"] != 0


def test_silence_before_the_first_sample_is_no_loss(device: FakeDevice, tmp_path: Path) -> None:
    linked = LinkedLoop(device, tmp_path / "r", silence_timeout_ns=5 * MS)
    linked.loop.rearm()
    end = time.monotonic() + 0.1
    while time.monotonic() < end:
        assert linked.loop.missing_input() == 0
    # More than one: what comes just as the silence is noticed is history.
    while linked.loop.missing_input() is not None:
        if time.monotonic() > end:
            device.send_sensor([0.5, 0.0])
            end = time.monotonic() + 0.02
    linked.loop.begin()
    linked.loop.step()
    linked.loop.end()
    assert set(events_of(linked)["kind"].tolist()) == {KINDS["clock"]}
    assert linked.loop.status()["port_events"] == len(events_of(linked))


def test_a_flood_of_events_costs_each_cycle_little_and_is_counted(tmp_path: Path) -> None:
    ours, theirs = socket.socketpair()  # holds more than a pty
    device = FakeDevice()
    frames: list[bytes] = []
    device.send_raw = frames.append  # type: ignore[method-assign,assignment]
    with ours, theirs:
        linked = LinkedLoop(device, tmp_path / "r", fd=ours.fileno())
        linked.loop.begin()
        device.send_sensor([0.25, 0.0])
        for number in range(1, 251):
            send_event(device, KINDS["bad_packet"], total=number)
        device.send_sensor([0.75, 0.0])
        theirs.sendall(b"".join(frames))
        assert linked.loop.step()
        assert linked.last()[1][0] == 0.75, "the newest sample is not behind them"
        assert len(events_of(linked)) <= 8
        linked.loop.end()  # what waits is written now
    events = events_of(linked)
    status = linked.loop.status()
    assert status["port_events"] >= 250
    assert len(events) < 100
    lost = status["port_events"] - len(events)
    assert lost >= 150
    numbers = events["number"].tolist()
    assert numbers == sorted(set(numbers))
    assert numbers[-1] < status["port_events"]
    device.unplug()


def test_a_slow_loop_writes_events_down_while_it_waits(tmp_path: Path) -> None:
    """A device reports up to a hundred a second: a loop of 1 Hz would find no room for them."""
    ours, theirs = socket.socketpair()
    device = FakeDevice()
    frames: list[bytes] = []
    device.send_raw = frames.append  # type: ignore[method-assign,assignment]
    with ours, theirs:
        linked = LinkedLoop(device, tmp_path / "r", period_ns=300 * MS, fd=ours.fileno())
        linked.loop.begin()
        for round_ in range(4):
            for number in range(60):
                send_event(device, KINDS["bad_packet"], total=1 + 60 * round_ + number)
            theirs.sendall(b"".join(frames))
            frames.clear()
            assert linked.loop.step()
        linked.loop.end()
    assert len(events_of(linked, "bad_packet")) == 240
    assert linked.loop.status()["port_events"] == len(events_of(linked))
    device.unplug()


def test_a_new_activation_does_not_begin_with_events_of_the_one_before(
    device: FakeDevice, tmp_path: Path
) -> None:
    linked = LinkedLoop(device, tmp_path / "r")
    linked.loop.begin()
    send_event(device, KINDS["bad_packet"])
    step_until(linked, device, "bad_packet")
    linked.loop.end()
    send_event(device, KINDS["schema_mismatch"])
    linked.loop.begin()
    for _ in range(20):
        device.send_sensor([0.5, 0.0])
        assert linked.loop.step()
    assert len(events_of(linked, "schema_mismatch")) == 0
