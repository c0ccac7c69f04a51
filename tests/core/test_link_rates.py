"""Devices that sample at another rate than the loop that listens to them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.core.firmware_loop import FirmwareLoop

MS = 1_000_000


@pytest.mark.parametrize(
    ("sensor_hz", "rate_hz", "sensors"),
    [
        (1000, 1, 4),  # a period's samples are many times what the line holds
        (1000, 1, 128),
        (1000, 50, 48),  # just more than the line holds
        (1000, 1000, 128),
        (100, 20, 128),
        (10, 1, 4),
        (10, 1000, 4),
    ],
)
def test_every_cycle_acts_on_the_newest_sample(
    tmp_path: Path, sensor_hz: int, rate_hz: int, sensors: int
) -> None:
    with FirmwareLoop(tmp_path, rate_hz=rate_hz, sensor_hz=sensor_hz, sensors=sensors) as driven:
        driven.step(max(4, 2 * rate_hz))
        ages_ns = driven.records()["input_age_ns"]
        counters = driven.port.counters()
    ages_ns = ages_ns[len(ages_ns) // 2 :]  # a line takes a while to fill
    # The newest is one sensor period old at most, plus its way here: on a shared machine that is
    # whatever it is, but not a share of a slow loop's period, nor the contents of a full line.
    slack_ns = max(20 * MS, driven.period_ns // 10)
    assert 0 <= np.median(ages_ns) <= driven.sensor_period_ns + slack_ns
    # A machine that stalls fills the line, and the device drops what it cannot send; a pty loses nothing.
    told = driven.summary["counters"]
    assert counters["rx_lost"] <= told["tx_dropped"] or counters["rx_discarded"] > 0
    assert driven.summary["reasons"] == ["HOST_STOP"]


@pytest.mark.parametrize("rate_hz", [1, 20, 200, 1000])
@pytest.mark.parametrize("sensor_hz", [10, 1000])
def test_the_clock_is_right_within_the_bound_that_it_claims(
    tmp_path: Path, rate_hz: int, sensor_hz: int
) -> None:
    clocks: list[tuple[int, int]] = []
    with FirmwareLoop(tmp_path, rate_hz=rate_hz, sensor_hz=sensor_hz) as driven:
        for _ in range(max(4, rate_hz)):
            driven.step(1)
            counters = driven.port.counters()
            clocks.append((counters["clock_offset_ns"], counters["clock_error_ns"]))
    true_offset_ns = -driven.summary["clock_origin_ns"]  # both clocks are this machine's
    errors_ns = np.array([offset_ns - true_offset_ns for offset_ns, _ in clocks])
    bounds_ns = np.array([bound_ns for _, bound_ns in clocks])
    assert (np.abs(errors_ns) <= bounds_ns).all(), list(zip(errors_ns, bounds_ns, strict=True))
    assert counters["clock_contradictions"] == 0
    if rate_hz <= 20:
        assert np.median(bounds_ns) < driven.period_ns / 10, "arrivals wait for the next cycle"
