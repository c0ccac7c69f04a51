"""What a device accounted for itself: its own loop, and how old the samples were that it acted on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any

from rtloop import core


@dataclass(frozen=True)
class DeviceHistogram:
    """Counts of durations by the buckets of ``core.HISTOGRAM_EDGES_US``, each at most a quarter wide."""

    counts: tuple[int, ...] = ()
    """Without the last that are empty; none where the device did not tell them."""
    max_us: int = 0

    @property
    def n(self) -> int:
        return sum(self.counts)

    def percentile_us(self, fraction: float) -> int | None:
        """What at least ``fraction`` of them do not exceed, up to the end of its bucket; None of none."""
        rank, seen = max(1, math.ceil(fraction * self.n - 1e-9)), 0
        for bucket, count in enumerate(self.counts):
            seen += count
            if seen >= rank:
                ends = core.HISTOGRAM_EDGES_US[bucket + 1 : bucket + 2]
                return min([self.max_us, *(end - 1 for end in ends)])
        return None

    def as_dict(self) -> dict[str, Any]:
        return {
            "p50": self.percentile_us(0.5),
            "p99": self.percentile_us(0.99),
            "p99_9": self.percentile_us(0.999),
            "max": self.max_us if self.n else (self.max_us or None),
            "n": self.n,
            "counts": list(self.counts),
        }

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> DeviceHistogram:
        """The inverse of ``as_dict``. Raises KeyError, TypeError, ValueError."""
        counts = tuple(int(n) for n in raw["counts"])
        if len(counts) > len(core.HISTOGRAM_EDGES_US) or any(n < 0 for n in counts):
            raise ValueError(f"no histogram of a device: {counts}")
        return cls(counts, int(raw["max"] or 0))


@dataclass(frozen=True, kw_only=True)
class DeviceAccount:
    """By the device's own clock, in µs, since it was armed last and until it was SAFE.

    The words are the host's: releases = jobs + skipped; a miss is a response after the deadline; lost jobs
    are those that missed or were skipped. A job is numbered by its release.
    """

    loop_class: str | None
    """None: it accounts for no loop of its own, and all of the loop is 0."""
    period_us: int
    deadline_us: int
    max_misses: int
    window: int
    """Of the limit on lost jobs, in releases; 0: none."""
    max_consecutive: int
    jobs: int
    skipped: int
    misses: int
    limit_broken: int
    """Jobs at which the limit was found broken."""
    most_consecutive: int
    """Most jobs lost in a row."""
    lateness_max_us: int
    worst_job: int
    """That of the largest lateness,"""
    worst_after_us: int
    """and when its deadline was, since the device was armed."""
    first_miss_job: int | None
    first_miss_after_us: int | None
    untraced: int
    """Commands that were applied, of which it is not known what sample they answered."""
    response_us: DeviceHistogram
    release_latency_us: DeviceHistogram
    sample_to_actuation_us: DeviceHistogram
    """Of the commands that were applied: from the newest sample that their host had until they were."""
    is_final: bool = True
    """False: it could not be asked at the end, and this is what it said last, without histograms."""

    @property
    def failures(self) -> Iterator[str]:
        """Why it did not do what its class and its limit promise, in words; nothing when it did."""
        if self.loop_class == "hard" and (self.misses or self.skipped):
            yield (
                f"its own loop missed {self.misses} of {self.jobs} deadlines and skipped {self.skipped} "
                "releases: a hard loop may lose none"
            )
        elif self.limit_broken:
            yield f"the limit of lost jobs of its own loop was broken {self.limit_broken} times"
        elif contradiction := self._contradiction:
            yield f"its account of its own loop contradicts itself: {contradiction}"

    @property
    def _contradiction(self) -> str:
        """Counters wrap, which this is careful of; empty where there is none."""
        if self.loop_class is None:
            return ""
        if self.misses and not self.jobs:
            return f"{self.misses} deadlines missed in no job"
        latest_us = max(self.lateness_max_us, self.response_us.max_us - self.deadline_us)
        if self.jobs and latest_us > 0 and not self.misses:
            return f"no deadline missed, and a job late by {latest_us} µs"
        if self.misses and latest_us <= 0:
            return f"{self.misses} deadlines missed, and no job late"
        return ""

    @property
    def loop_in_words(self) -> str:
        """For one line; empty where there is no loop."""
        if self.loop_class is None:
            return ""
        late = f", the latest by {self.lateness_max_us} µs" if self.misses else ""
        p99 = f"p99 {self.response_us.percentile_us(0.99)}, " if self.response_us.n else ""
        return (
            f"{self.loop_class} loop of {self.period_us / 1e3:g} ms: {self.misses} misses{late} in "
            f"{self.jobs} jobs, {self.skipped} skipped; response {p99}max {self.response_us.max_us} µs"
            f"{'' if self.is_final else '; as it said last, not at the end'}"
        )

    @property
    def ages_in_words(self) -> str:
        """The same of what it applied; empty where it applied nothing."""
        ages = self.sample_to_actuation_us
        if ages.n == 0:
            return ""
        return (
            f"sample to actuation p50 {ages.percentile_us(0.5)}, p99 {ages.percentile_us(0.99)}, "
            f"max {ages.max_us} µs"
        )

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        told = {
            field.name: value.as_dict() if isinstance(value, DeviceHistogram) else value
            for field in fields(self)
            for value in (getattr(self, field.name),)
        }
        return {"class" if name == "loop_class" else name: value for name, value in told.items()}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> DeviceAccount:
        """The inverse of ``as_dict``, also of a newer version. Raises KeyError, TypeError, ValueError."""
        given: dict[str, Any] = {
            "loop_class": raw["class"],
            "is_final": bool(raw.get("is_final", True)),  # older versions asked at the end alone
        }
        if given["loop_class"] is not None and given["loop_class"] not in core.CLASSES:
            raise ValueError(f"no class: {given['loop_class']!r}")
        for name in (field.name for field in fields(cls) if field.name not in given):
            value = raw[name]
            if name in ("response_us", "release_latency_us", "sample_to_actuation_us"):
                given[name] = DeviceHistogram.from_dict(value)
            else:
                given[name] = None if value is None else int(value)
        return cls(**given)
