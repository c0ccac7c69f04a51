import json
from pathlib import Path

import numpy as np
import pytest

from rtloop import core
from rtloop.errors import RecordingError
from rtloop.report.verdict import Level, judge
from rtloop.telemetry.observe.devices import DeviceStatistics, DeviceSummary
from rtloop.telemetry.observe.observed import Observed
from rtloop.telemetry.observe.records import PortEvents
from rtloop.telemetry.observe.statistics import LoopStatistics
from rtloop.telemetry.observe.summary import LoopSummary
from tests.telemetry.loops import (
    append,
    append_events,
    batch_of,
    cycles,
    metadata,
    new_ring,
    port_events,
)


def test_a_device_is_summed_up_by_port() -> None:
    seen = DeviceStatistics(("cart", "imu"))
    seen.update(port_events(7))
    seen.update(port_events(3, first=7, port=1))
    seen.update(port_events(10, first=10))
    cart, imu = seen.summary()["cart"], seen.summary()["imu"]
    # Told of at 4, 14 and 19 with totals 2, 6 and 8: one, and six more.
    assert cart.events == {"late_command": 7}
    assert cart.refused_lateness_max_us == 119
    assert cart.clock_offset_ns == -77_000_000_000 + 18
    assert (cart.clock_error_ns, cart.clock_error_max_ns) == (1_000_000 // 19, 1_000_000)
    assert cart.clock_skew_ppb == 1500
    assert imu.events == {"late_command": 1}
    assert seen.lost() == 0


def told(*kinds: str) -> PortEvents:
    events = port_events(len(kinds))
    events["kind"] = [core.PORT_EVENTS[kind] for kind in kinds]
    return events


@pytest.mark.parametrize(
    ("kinds", "is_lost", "is_unarmed"),
    [
        ("clock state_change", False, False),
        ("clock lost", True, False),
        ("clock lost reconnecting", True, False),
        ("lost reconnecting gave_up", True, False),
        ("lost reconnecting reconnected clock", False, False),
        ("lost reconnecting clock", False, False),
        ("lost reconnecting reconnected clock lost reconnecting", True, False),
        ("lost reconnecting reconnected not_armed clock", False, True),
        ("lost reconnecting reconnected not_armed lost", True, False),
    ],
)
@pytest.mark.parametrize("part", [1, 3, 9])
def test_whether_a_device_was_there_in_the_end(
    kinds: str, is_lost: bool, is_unarmed: bool, part: int
) -> None:
    events = told(*kinds.split())
    seen = DeviceStatistics.resumed(("cart",), None)
    for begin in range(0, len(events), part):
        seen.update(events[begin : begin + part])
        seen = DeviceStatistics.resumed(("cart",), json.loads(json.dumps(seen.so_far())))
    cart = seen.summary()["cart"]
    assert (cart.is_lost, cart.is_unarmed) == (is_lost, is_unarmed)


@pytest.mark.parametrize(
    ("kinds", "why"),
    [
        ("lost reconnecting", "was lost, and has not come back"),
        (
            "lost reconnected not_armed",
            "was lost, came back and was not armed again (rearm: never)",
        ),
    ],
)
def test_a_plant_that_was_left_alone_in_the_end_was_not_controlled(kinds: str, why: str) -> None:
    statistics = LoopStatistics(metadata())
    statistics.update(cycles(1000))
    statistics.devices.update(told(*kinds.split()))
    summary = statistics.summary()
    assert summary.failures == (f"'cart' {why}",)
    assert LoopSummary.from_dict(summary.as_dict()).failures == summary.failures
    verdict = judge(summary)
    assert (verdict.level, verdict.headline) == (Level.FAILED, "Failed")
    assert f"The device of 'cart' {why}." in verdict.sentences


def test_a_loss_that_is_a_fault_is_told_once() -> None:
    statistics = LoopStatistics(metadata())
    statistics.update(cycles(1000))
    statistics.devices.update(told("lost"))
    status = {"state": "fault", "fault_reason": core.FAULT_REASONS["port_error"]}
    (failure,) = statistics.summary(status=status).failures
    assert failure.startswith("FAULT")


def test_a_device_that_boots_anew_counts_on() -> None:
    seen = DeviceStatistics()
    events = port_events(10)
    late = events[events["kind"] == core.PORT_EVENTS["late_command"]]
    for total, counted in ((40, 1), (45, 6), (1, 7), (3, 9)):
        late["total"] = total
        seen.update(late[:1])
        assert seen.summary()["port_0"].events["late_command"] == counted


def test_kinds_that_have_no_word_here_are_counted_each_by_its_own_total() -> None:
    events = port_events(30)
    events["kind"] = core.PORT_EVENTS["unknown"]
    events["device_event"] = np.where(np.arange(30) % 2, 200, 201)
    events["total"] = 1 + np.arange(30) // 2 + np.where(np.arange(30) % 2, 0, 100_000)
    seen = DeviceStatistics()
    seen.update(events[:11])
    seen = DeviceStatistics.resumed((), json.loads(json.dumps(seen.so_far())))
    seen.update(events[11:])
    assert seen.summary()["port_0"].events == {"unknown": 30}


def test_contradictions_of_a_clock_add_up_over_the_lines_of_a_device() -> None:
    seen = DeviceStatistics()
    events = port_events(8)
    events["kind"] = core.PORT_EVENTS["clock"]
    events["total"] = [0, 1, 3, 3, 0, 2, 1, 1]  # lost after the fourth, and after the sixth
    seen.update(events[:2])
    seen = DeviceStatistics.resumed((), json.loads(json.dumps(seen.so_far())))
    for part in (events[2:5], events[5:]):
        seen.update(part)
    assert seen.summary()["port_0"].clock_contradictions == 3 + 2 + 1


def test_a_skew_that_was_not_measured_yet_is_not_told() -> None:
    seen = DeviceStatistics()
    events = port_events(4)
    events["clock_skew_ppb"] = 0
    seen.update(events)
    summary = seen.summary()["port_0"]
    assert summary.clock_skew_ppb is None
    assert summary.clock_contradictions == 0


def test_numbers_that_nobody_saw_are_lost() -> None:
    seen = DeviceStatistics()
    events = port_events(20)
    seen.update(events[12:])
    seen.update(events[2:8])  # as recovery may find them
    assert seen.lost() == 6
    assert seen.lost(25) == 11, "and what was reported after the last one"


def test_a_kind_of_a_newer_version_keeps_its_number() -> None:
    events = port_events(1)
    events["kind"], events["port"] = 77, 9
    seen = DeviceStatistics(("cart",))
    seen.update(events)
    summary = seen.summary()["port_9"]
    assert summary.events == {"unknown_77": 1}
    assert summary.clock_error_ns is None


def test_a_summary_survives_its_json() -> None:
    statistics = LoopStatistics(metadata())
    statistics.update(cycles(10))
    statistics.devices.update(port_events(10))
    summary = statistics.summary()
    raw = json.loads(json.dumps(summary.as_dict()))
    assert raw["devices"]["cart"]["refused_lateness_max_us"] == 109
    assert LoopSummary.from_dict(raw) == summary
    raw["devices"]["cart"]["of_a_newer_version"] = 1
    assert LoopSummary.from_dict(raw) == summary
    del raw["devices"], raw["port_events_lost"]
    assert LoopSummary.from_dict(raw).devices == {}, "as an older version left it"


@pytest.mark.parametrize(
    "devices", [3, {"cart": 3}, {"cart": {"events": 3}}, {"cart": {"clock_error_ns": "x"}}]
)
def test_devices_that_are_none_are_one_clear_error(devices: object) -> None:
    raw = {**LoopStatistics(metadata()).summary().as_dict(), "devices": devices}
    with pytest.raises(RecordingError, match="not readable"):
        LoopSummary.from_dict(raw)


def test_every_key_of_a_device_is_documented() -> None:
    text = (Path(__file__).parents[3] / "docs" / "recording.md").read_text()
    for key in DeviceSummary(events={}).as_dict():
        assert f"`{key}`" in text, key
    for name, _, _ in core.PORT_EVENT_FIELDS:
        assert f"`{name}`" in text, name


def test_an_observer_of_a_ring_counts_what_ports_report(ring_directory: Path) -> None:
    loop = metadata()
    ring = new_ring(ring_directory, loop)
    append(ring, batch_of(cycles(20), loop))
    append_events(ring, port_events(9)[:4])
    observed = Observed(ring_directory / "balance.ring")
    observed.update()
    append_events(ring, port_events(9)[5:])
    summary = observed.finish()
    assert summary.devices["cart"].clock_error_max_ns == 1_000_000
    assert summary.port_events_lost == 1
    np.testing.assert_array_equal(observed.ring.read_events()["number"], [])
