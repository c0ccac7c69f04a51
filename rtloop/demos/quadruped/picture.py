"""Pictures of a walk, beside its recording: ``python -m rtloop.demos.quadruped.picture RUN`` draws them again.

One is the robot from its side, which moves where a browser lets it, and stands still as a strobe where
it does not: on paper, and for who wants less motion. The other is how it went all the time, with what
the loop missed below.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from rtloop.demos.quadruped.course import course
from rtloop.demos.quadruped.strobe import strobe
from rtloop.demos.quadruped.track import Rows, load_track
from rtloop.errors import RtloopError
from rtloop.report.pictures import picture_path
from rtloop.stopping import go_on
from rtloop.telemetry.mcap.parts import PartsReader
from rtloop.telemetry.observe import records as rec
from rtloop.telemetry.private import replace_file

_TRACK = ".track.npz"


@dataclass
class Losses:
    """What became of the results of a loop: CLOCK_MONOTONIC in ns, [n] each."""

    missed_ns: list[npt.NDArray[np.int64]] = field(default_factory=list)
    skipped_ns: list[npt.NDArray[np.int64]] = field(default_factory=list)


def track_path(recording: Path, robot: str) -> Path:
    """Where the track of a robot is kept."""
    return recording.with_name(f"{recording.stem}.{robot}{_TRACK}")


def draw(recording: Path) -> list[Path]:
    """The pictures of all robots whose tracks are beside a recording. Raises RtloopError."""
    prefix = f"{recording.stem}."
    found = sorted(recording.parent.glob(f"{prefix}*{_TRACK}"))
    losses = _losses(recording) if found else {}
    drawn = []
    try:
        for path in found:
            robot = path.name.removeprefix(prefix).removesuffix(_TRACK)
            rows = load_track(path)
            for name, picture in _pictures(robot, rows, losses.get(robot, Losses())).items():
                place = picture_path(recording, f"{robot}-{name}")
                replace_file(place, picture)
                drawn.append(place)
    except (OSError, KeyError, ValueError) as error:
        raise RtloopError(f"no picture of the walk: {error}") from None
    return drawn


def _pictures(robot: str, rows: Rows, losses: Losses) -> dict[str, str]:
    driven = rows[rows["is_driven"]]
    if len(driven) < 2:
        return {}
    missed, skipped = (
        np.concatenate([np.empty(0, np.int64), *times])
        for times in (losses.missed_ns, losses.skipped_ns)
    )
    return {"1-walk": strobe(robot, driven), "2-course": course(robot, driven, missed, skipped)}


def _losses(recording: Path) -> dict[str, Losses]:
    """Of each robot those of the loop that drives it."""
    reader = PartsReader(recording, signals=False)
    losses: dict[str, Losses] = {}
    for loop, batch in reader:
        go_on()
        records = batch.records
        late = records["release_ns"][rec.missed(records)].astype(np.int64)
        skips = records["release_ns"][records["skipped"] > 0].astype(np.int64)
        for robot in reader.metadata[loop].ports:
            of_robot = losses.setdefault(robot, Losses())
            of_robot.missed_ns.append(late)
            of_robot.skipped_ns.append(skips)
    return losses


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m rtloop.demos.quadruped.picture",
        description="Draws the walks of a run again.",
    )
    parser.add_argument("run", type=Path, help="its folder, or the recording in it")
    recording: Path = parser.parse_args(arguments).run
    recording = recording / "run.mcap" if recording.is_dir() else recording
    try:
        drawn = draw(recording)
        if not drawn:
            expected = "those that `rtloop demo quadruped` leaves where it makes a report"
            raise RtloopError(
                f"{recording}: found no track of a driven robot (*{_TRACK}); expected {expected}"
            )
    except RtloopError as error:
        print(error, file=sys.stderr)
        return 1
    for path in drawn:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
