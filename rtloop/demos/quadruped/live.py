"""What `python -m benchmarks.walker --write` measured: ``live.json`` as a table."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIVE = Path(__file__).resolve().parent / "live.json"


@dataclass(frozen=True)
class Walk:
    """One robot for some time, in real time."""

    name: str
    seconds: float  # that it was driven, by its own time
    ahead_m: float
    fell_at_s: float | None
    largest_tilt_rad: float
    elapsed: int  # periods of its loop = executed + skipped
    executed: int
    skipped: int
    missed: int  # of the executed
    refused: int  # commands that its board refused as late
    ended: str  # state of its board, and why
    stopped: str = ""  # what ended the run before its time

    def cells(self) -> tuple[float, float, str, float, int, int, int, int, str]:
        """Seconds, metres, falls, degrees, missed, skipped, refused, executed, how it ended."""
        fell = "0" if self.fell_at_s is None else f"after {self.fell_at_s:.1f} s"
        tilt = round(math.degrees(self.largest_tilt_rad), 1)
        return (
            *(round(self.seconds, 1), round(self.ahead_m, 1), fell, tilt),
            *(self.missed, self.skipped, self.refused, self.executed, self.ended),
        )


def live_table(path: Path = LIVE) -> Iterator[str]:
    """Markdown: the walks, and their conditions."""
    told: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    columns = ["driven", "ahead", "falls", "tilt", "missed", "skipped", "refused", "N"]
    yield f"| in real time | {' | '.join(columns)} | the board at the end |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for raw in told["walks"]:
        walk = _walk(raw)
        seconds, ahead, fell, tilt, missed, skipped, refused, n, ended = walk.cells()
        yield (
            f"| {walk.name} | {seconds:.0f} s | {ahead:.1f} m | {fell} | {tilt:.0f}° "
            f"| {_share(missed, n)} | {skipped} | {refused} | {n} | {ended} |"
        )
    machine = told["machine"]
    facts = [
        f"{told['date']}: {told['asked_s'] / 60:g} min each, seed {told['seed']}",
        f"{machine['cpu']}, {machine['kernel']}, kernel preemption {machine['kernel preemption']}",
        f"load before {machine['load before']}",
        f"stolen by the hypervisor {machine['stolen by the hypervisor']}",
        f"denied: {', '.join(told['denied']) or 'no right'}",
    ]
    yield ""
    yield f"{'; '.join(facts)}."
    early = [walk for walk in map(_walk, told["walks"]) if walk.stopped]
    if early:
        yield ""
        yield "Ended before their time:"
        yield ""
        for walk in early:
            yield f"- {walk.name}, after {walk.seconds:.0f} s: {walk.stopped}"
    if targets := told.get("missed_targets"):
        yield ""
        yield f"Targets that were missed: {'; '.join(targets)}."


def _walk(raw: dict[str, Any]) -> Walk:
    return Walk(**raw)


def _share(part: int, whole: int) -> str:
    return f"{part} ({100 * part / max(whole, 1):.3g} %)" if part else "0"
