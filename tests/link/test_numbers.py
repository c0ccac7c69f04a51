"""Who has the line numbers its packets, and the next one goes on from there."""

from __future__ import annotations

from pathlib import Path

import pytest

from rtloop.config import load
from rtloop.run import Run
from tests.running import UNDISTURBED, firmware, write_config


@pytest.mark.parametrize("duration_s", [0.01, 0.5])
def test_a_run_however_short_leaves_no_gap_that_never_was(
    tmp_path: Path, duration_s: float
) -> None:
    with firmware(tmp_path, *UNDISTURBED) as device:
        with Run(load(write_config(tmp_path, device.link)), "numbers", record=False) as run:
            run.wait(duration_s)
        counters = device.stop()["counters"]
    assert counters["rx_packets"] > 0
    assert (counters["seq_gaps"], counters["frame_errors"], counters["crc_errors"]) == (0, 0, 0)
