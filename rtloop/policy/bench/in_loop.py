"""Versions of a policy in real cycles, paced at the rate of their loop, on threads set up as its are."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from rtloop import core
from rtloop.config import RealtimeConfig
from rtloop.policy.bench.bursts import Times
from rtloop.policy.bench.distribution import Distribution
from rtloop.policy.bench.paced_loop import PacedLoop
from rtloop.policy.composed import ComposedGraph
from rtloop.realtime.rights import RightReport
from rtloop.realtime.threads import guard_thread, loop_thread
from rtloop.stopping import go_on
from rtloop.telemetry.observe.records import (
    FAULT_REASON_NAMES,
    Records,
    infer_duration_ns,
    missed,
    name_of,
)

#: The versions take turns so often.
ROUNDS = 4
#: Of the policy, in a segment: of a slow loop fewer fit into its seconds.
LEAST_RUNS = 10


@dataclass(frozen=True)
class Pace:
    """How a loop is paced, for its threads."""

    realtime: RealtimeConfig
    period_ns: int
    deadline_ns: int
    budget_ns: int | None


@dataclass(frozen=True)
class InLoop:
    """Cycles in which the policy ran, paced by the clock."""

    inference: Distribution
    cycles: int
    missed: int
    skipped: int
    ended: str = ""
    """Why it ended early; empty where it did not."""

    def as_dict(self) -> dict[str, Any]:
        return {
            **self.inference.as_dict(),
            "cycles": self.cycles,
            "missed": self.missed,
            "skipped": self.skipped,
            "ended": self.ended,
        }


def run_in_turn(
    graphs: Mapping[str, core.Graph],
    graph: ComposedGraph,
    pace: Pace,
    seconds: float,
    rights: list[RightReport],
) -> dict[str, tuple[InLoop, list[Times]]]:
    """Versions of one graph, in segments that take turns: of each what came of it, and the inference times of
    its segments. What its threads were granted is added to ``rights``.

    Raises RuntimeError where one cannot run, StoppedError.
    """
    least_s = LEAST_RUNS * graph.every * pace.period_ns / 1e9
    segment_s = max(seconds / (ROUNDS * len(graphs)), least_s)
    threads = (loop_thread("bench", pace), guard_thread("bench", pace))
    seen: dict[str, list[Records]] = {name: [] for name in graphs}
    ended: dict[str, str] = {}
    skipped = dict.fromkeys(graphs, 0)
    for _ in range(ROUNDS):
        for name, version in graphs.items():
            with PacedLoop(
                version,
                [spec.size for spec in graph.inputs],
                graph.action.size,
                threads,
                name="bench",
                period_ns=pace.period_ns,
                deadline_ns=pace.deadline_ns,
                ring_s=segment_s + 1,
            ) as loop:
                loop.activate()
                end_s = time.monotonic() + segment_s
                while time.monotonic() < end_s and not loop.status()["fault_reason"]:
                    go_on()
                    time.sleep(min(0.05, segment_s))
                loop.deactivate()
                status = loop.status()
                rights += [right for right in loop.rights if right not in rights]
                seen[name].append(loop.records())
                skipped[name] += status["skipped"]
                if reason := status["fault_reason"]:
                    ended[name] = name_of(FAULT_REASON_NAMES, reason)
    found = {}
    for name, segments in seen.items():
        times = [policy_ran_ns(records, graph.every) for records in segments]
        found[name] = (
            InLoop(
                Distribution.of(np.concatenate(times)),
                sum(map(len, segments)),
                sum(int(np.count_nonzero(missed(records))) for records in segments),
                skipped[name],
                ended.get(name, ""),
            ),
            times,
        )
    return found


def policy_ran_ns(records: Records, every: int) -> Times:
    """Inference of the cycles in which the policy ran: the first of each of its periods."""
    periods = records["cycle"].astype(np.int64) // every
    is_due = np.diff(periods, prepend=-1) != 0
    times: Times = infer_duration_ns(records)[is_due]
    return times
