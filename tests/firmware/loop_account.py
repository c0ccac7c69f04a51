"""The account of a loop a second time, straight from the words of firmware/lib's loop_account.h.

Written for clarity: it keeps every job, and counts when it is asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

HARD, FIRM, SOFT = 0, 1, 2
BUCKETS = 80
_LONGEST_US = 2**31 - 1


class Terms(NamedTuple):
    loop_class: int
    fault_on_limit: int
    max_misses: int
    window: int
    max_consecutive: int
    period_us: int
    deadline_us: int


class Verdict(NamedTuple):
    lateness_us: int
    is_missed: bool
    is_limit_broken: bool
    is_failure: bool


def bucket(us: int) -> int:
    """Four an octave, from 4 µs on."""
    if us < 4:
        return us
    octave = us.bit_length() - 1
    quarter = (us << 2 >> octave) - 4
    return min(4 * (octave - 1) + quarter, BUCKETS - 1)


def histogram(values: list[int]) -> dict[str, Any]:
    counts = [0] * BUCKETS
    for value in values:
        counts[bucket(value)] += 1
    return {"n": len(values), "max_us": max(values, default=0), "counts": counts}


@dataclass
class LoopAccount:
    terms: Terms
    responses: list[int] = field(default_factory=list)
    latencies: list[int] = field(default_factory=list)
    lateness: list[tuple[int, int, int]] = field(default_factory=list)
    """Lateness, number and deadline of each job."""
    lost: list[bool] = field(default_factory=list)
    """By release."""
    broken: int = 0
    longest: int = 0
    last_release_us: int | None = None

    def _is_broken(self) -> bool:
        terms, run = self.terms, 0
        for is_lost in reversed(self.lost):
            if not is_lost:
                break
            run += 1
        self.longest = max(self.longest, run)
        in_window = sum(self.lost[-terms.window :]) if terms.window else 0
        return bool(
            (terms.window and in_window > terms.max_misses)
            or (terms.max_consecutive and run > terms.max_consecutive)
        )

    def job(self, release_us: int, start_us: int, finish_us: int) -> Verdict:
        terms, skipped = self.terms, 0
        if self.last_release_us is not None and release_us > self.last_release_us:
            half = terms.period_us // 2
            periods = (release_us - self.last_release_us + half) // terms.period_us
            skipped = max(0, periods - 1)
        self.last_release_us = release_us
        start_us = max(start_us, release_us)
        response_us = min(max(finish_us, start_us) - release_us, _LONGEST_US)
        lateness_us = response_us - terms.deadline_us
        is_missed = lateness_us > 0
        self.lost += [True] * skipped
        is_broken = skipped > 0 and self._is_broken()
        self.lost.append(is_missed)
        is_broken = (is_missed and self._is_broken()) or is_broken
        self.broken += is_broken
        self.responses.append(response_us)
        self.latencies.append(min(start_us - release_us, _LONGEST_US))
        self.lateness.append((lateness_us, len(self.lost) - 1, release_us + terms.deadline_us))
        if terms.loop_class == HARD:
            is_failure = is_missed or skipped > 0
        else:
            is_failure = is_broken and bool(terms.fault_on_limit)
        return Verdict(lateness_us, is_missed, is_broken, is_failure)

    def came_to(self) -> dict[str, Any]:
        misses = [job for job in self.lateness if job[0] > 0]
        worst = max(self.lateness, key=lambda job: job[0], default=(-(2**31), 0, 0))
        first = misses[0] if misses else (0, 0, 0)
        return {
            "jobs": len(self.responses),
            "skipped": len(self.lost) - len(self.responses),
            "misses": len(misses),
            "limit_broken": self.broken,
            "max_consecutive": self.longest,
            "lateness_max_us": worst[0],
            "worst_job": worst[1],
            "worst_us": worst[2],
            "first_miss_job": first[1],
            "first_miss_us": first[2],
            "response": histogram(self.responses),
            "release_latency": histogram(self.latencies),
        }
