"""What a score says, and ``score.json`` as a table: read where there is no MuJoCo, too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

SCORE = Path(__file__).resolve().parent / "score.json"


@dataclass(frozen=True)
class Score:
    """Of some episodes of one kind. An episode ends when its robot falls."""

    episodes: int
    duration_s: float
    falls: int
    distance_m: float  # mean over the episodes, straight ahead from the start
    sideways_m: float  # largest distance from that line
    upright_s: float  # mean
    mean_speed_m_s: float
    largest_tilt_rad: float


def read_scores(path: Path = SCORE) -> dict[str, Score]:
    """Of the committed policy."""
    told = json.loads(path.read_text(encoding="utf-8"))
    return {name: Score(**score) for name, score in told["score"].items()}


def table(scores: dict[str, Score]) -> Iterator[str]:
    """Markdown."""
    yield "| results | walked | off its line | falls | upright | speed | largest tilt |"
    yield "|---|---|---|---|---|---|---|"
    for name, score in scores.items():
        yield (
            f"| {name} | {score.distance_m:.1f} m | {score.sideways_m:.1f} m "
            f"| {score.falls} of {score.episodes} | {score.upright_s:.1f} s "
            f"| {score.mean_speed_m_s:.2f} m/s | {score.largest_tilt_rad:.2f} rad |"
        )
