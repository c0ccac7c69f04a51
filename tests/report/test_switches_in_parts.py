"""Which policy took over, in the report on one file of a split recording: its recorder knew."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

from rtloop.report.page import write_report
from rtloop.telemetry.mcap.part_names import parts_there
from rtloop.telemetry.observe import records as rec
from rtloop.telemetry.recorder.process import Recorder
from rtloop.telemetry.recorder.split import Split
from tests.telemetry.conftest import ring_directory
from tests.telemetry.loops import append, batch_of, cycles, metadata, new_ring

__all__ = ["ring_directory"]

POLICIES = ["stand", "walk", "jump"]
N = 20_000
EVERY = 700


@pytest.fixture
def parts(ring_directory: Path, tmp_path: Path) -> list[Path]:
    """Of a run in which the next policy takes over in every 700th cycle."""
    loop = dataclasses.replace(metadata(), run={"policies": POLICIES, "selector": 1})
    records = cycles(N)
    at = np.arange(EVERY, N, EVERY)
    records["events"][at] |= rec.EVENT_BITS["switched"]
    batch = batch_of(records, loop)
    batch.inputs[at, 1] = np.arange(1, len(at) + 1) % len(POLICIES)
    ring = new_ring(ring_directory / "run", loop, N + 1)
    append(ring, batch)
    ring.set_counts(N, N, 0)
    ring.set_state("finalized")
    recorder = Recorder(
        [ring_directory / "run" / "balance.ring"], tmp_path / "run.mcap", Split(size_bytes=200_000)
    )
    recorder.run()
    assert recorder.error is None
    return parts_there(tmp_path / "run.mcap")


def test_each_part_names_who_took_over_from_whom(parts: list[Path], tmp_path: Path) -> None:
    assert len(parts) > 3
    seen: list[tuple[str, str]] = []
    for part in parts[1:]:
        page = write_report(part, tmp_path / "part.html").read_text()
        told = re.findall(r"\d s (\S+) → (\S+?)[,<]", page)
        assert told
        seen += told
    assert {name for switch in seen for name in switch} == set(POLICIES)
    following = dict(zip(POLICIES, [*POLICIES[1:], POLICIES[0]], strict=True))
    assert all(following[before] == after for before, after in seen)
