"""Clocks that are not what the host believes: the device's drifts, the host's time of day is stepped."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rtloop import core
from tests.firmware.scenarios.conftest import LayWire, StartDevice
from tests.firmware.scenarios.device import DeviceKind
from tests.firmware.scenarios.runs import LOOP, configured, ended, recording
from tests.running import background, wait_until_running

TIMEOUT_MS = 1000
CLOCK = core.PORT_EVENTS["clock"]


@pytest.mark.parametrize(
    ("drift_ppm", "is_contradicted"), [("-50", False), ("50", False), ("200", True)]
)
def test_the_clocks_error_bound_holds_or_its_contradictions_are_told(
    start_device: StartDevice,
    lay_wire: LayWire,
    device_kind: DeviceKind,
    tmp_path: Path,
    drift_ppm: str,
    is_contradicted: bool,
) -> None:
    device = start_device(clock_drift_ppm=drift_ppm)
    folder = tmp_path / "run"
    config = configured(folder, device.address, rate_hz=device_kind.rate_hz, timeout_ms=TIMEOUT_MS)
    with background(["run", config, "--json", "--no-report"]) as process:
        wait_until_running(process, 4 * device_kind.rate_hz)
        summary = ended(process)
    # As before, in device time: 100 ppm is what the bound allows for until the skew is known.
    assert summary["loops"][LOOP]["state"] == "inactive", summary["problems"]
    told = recording(folder).events
    told = told[told["kind"] == CLOCK]
    began_ns = device.stop().get("clock_origin_ns")
    if began_ns is None:
        return  # an emulated clock is not that of this machine: what its drift really is nobody knows
    assert summary["loops"][LOOP]["devices"]["cart"]["events"].get("late_command", 0) == 0
    contradictions = summary["loops"][LOOP]["devices"]["cart"]["clock_contradictions"]
    assert (contradictions > 0) == is_contradicted
    true_ns = offsets_ns(told["time_ns"], began_ns, float(drift_ppm))
    beyond_ns = np.abs(told["clock_offset_ns"] - true_ns) - told["clock_error_ns"]
    assert len(told) > 2
    # The device's clock has steps of 1 us, and so has what the program says of its beginning.
    assert bool((beyond_ns <= 2000).all()) or is_contradicted


def offsets_ns(at_ns: NDArray[Any], began_ns: int, drift_ppm: float) -> NDArray[Any]:
    """Device clock - host clock, as it was."""
    return -began_ns + np.asarray((at_ns - began_ns) * drift_ppm / 1e6, np.int64)


STEPPING = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

/* What the time of day is off by: stepped an hour ahead each second, and two back in every third. */
static long off_s(void) {
    static long began_s;
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    if (began_s == 0) began_s = now.tv_sec;
    const long n = now.tv_sec - began_s;
    return 3600 * (n % 3 == 2 ? -1 : n);
}

int clock_gettime(clockid_t clock, struct timespec *out) {
    const int failed = (int)syscall(SYS_clock_gettime, clock, out);
    if (clock == CLOCK_REALTIME) out->tv_sec += off_s();
    return failed;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    out->tv_sec = now.tv_sec;
    out->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *out) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (out != NULL) *out = now.tv_sec;
    return now.tv_sec;
}
"""


@pytest.fixture(scope="session")
def stepping(tmp_path_factory: pytest.TempPathFactory) -> str:
    """LD_PRELOAD for a process whose time of day is stepped again and again."""
    if shutil.which("cc") is None:
        pytest.skip("there is no cc to build the stepped clock with")
    folder = tmp_path_factory.mktemp("stepping")
    source, library = folder / "stepping.c", folder / "stepping.so"
    source.write_text(STEPPING)
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", source, "-o", library], check=True)
    preload = " ".join(filter(None, [os.environ.get("LD_PRELOAD"), str(library)]))
    look = "import time; before = time.time(); time.sleep(1.2); print(time.time() - before)"
    said = subprocess.run(
        [sys.executable, "-c", look],
        env={**os.environ, "LD_PRELOAD": preload},
        capture_output=True,
        check=True,
    )
    assert abs(float(said.stdout)) > 3000, "the time of day of a process is not stepped"
    return preload


def test_a_host_whose_time_of_day_is_stepped_controls_as_if_nothing_had_been(
    start_device: StartDevice,
    lay_wire: LayWire,
    device_kind: DeviceKind,
    tmp_path: Path,
    stepping: str,
) -> None:
    device = start_device()
    wire = lay_wire(device)
    folder = tmp_path / "run"
    config = configured(folder, wire.address, rate_hz=device_kind.rate_hz, timeout_ms=TIMEOUT_MS)
    environment = {**os.environ, "LD_PRELOAD": stepping}
    with background(["run", config, "--json", "--no-report"], env=environment) as process:
        wait_until_running(
            process, 4 * device_kind.rate_hz
        )  # some seconds, of which each is a step
        summary = ended(process)
    loop = summary["loops"][LOOP]
    assert loop["state"] == "inactive", summary["problems"]
    assert loop["executed"] + loop["skipped"] == loop["elapsed_periods"]
    assert loop["stale_inputs"] == 0
    device_said = loop["devices"]["cart"]
    if device_kind.keeps_time:
        assert device_said["clock_contradictions"] == 0
        assert device_said["events"].get("late_command", 0) == 0
    # Nor does the recording: its cycles are on the grid of the monotonic clock.
    seen = recording(folder)
    period_ns = int(1e9 / device_kind.rate_hz)
    assert set(np.diff(seen.records["release_ns"]) % period_ns) == {0}
    assert bool((seen.sources["age_ns"] < TIMEOUT_MS * 1_000_000).all())
    device.stop()
