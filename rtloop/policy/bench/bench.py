"""The versions of a policy side by side: first run, warm, cold caches, in the loop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rtloop import core
from rtloop.config import Config, LoopConfig, RealtimeConfig
from rtloop.errors import ConfigError, RtloopError
from rtloop.policy.bench.bursts import Burst, Times, alternate, of_graph
from rtloop.policy.bench.conditions import Conditions, Watch, in_thread
from rtloop.policy.bench.cost import Cost, cost
from rtloop.policy.bench.distribution import Distribution, noise_floor, ratio
from rtloop.policy.bench.in_loop import InLoop, Pace, run_in_turn
from rtloop.policy.bench.limit import Eviction, Limit, measure_limit
from rtloop.policy.bench.versions import VERSIONS, Version, bare, made
from rtloop.policy.composed import ComposedGraph
from rtloop.policy.model_file import read_model
from rtloop.policy.opened import opened, refuse_function
from rtloop.progress import tell
from rtloop.realtime.process import ProcessRights
from rtloop.realtime.rights import RightReport
from rtloop.realtime.threads import loop_thread

#: A model alone has no rate: the fastest of these that leaves three quarters of the period free.
RATES_HZ = (1000, 500, 200, 100, 50, 20, 10, 5, 2, 1)


@dataclass(frozen=True)
class Subject:
    """What is measured: the graph of a loop, and how the loop runs it."""

    name: str
    graph: ComposedGraph
    realtime: RealtimeConfig
    period_ns: int | None
    """None: of a model alone, which has no rate."""
    deadline_ns: int | None = None
    budget_ns: int | None = None
    aot_cache: Path | None = None


@dataclass(frozen=True)
class Measured:
    """One version. Ratios are of medians, to ort in the same run."""

    first_run_ns: int
    warm: Distribution
    cold: Distribution
    in_loop: InLoop
    ratios: Mapping[str, float | None]
    """``warm``, ``cold``, ``in_loop``."""
    weight_bytes: int
    of_limit: float | None
    """The shortest time that this core's arithmetic and its caches allow, over the warm median."""
    of_memory: float | None
    """The same with cold caches, by its memory."""
    note: str = ""

    def as_dict(self) -> dict[str, Any]:
        return {
            "first_run_us": self.first_run_ns / 1e3,
            "warm": self.warm.as_dict(),
            "cold": self.cold.as_dict(),
            "in_loop": self.in_loop.as_dict(),
            "ratios": dict(self.ratios),
            "weight_bytes": self.weight_bytes,
            "of_limit": self.of_limit,
            "of_memory": self.of_memory,
            "note": self.note,
        }


@dataclass(frozen=True)
class Bench:
    """What came of it."""

    name: str
    period_ns: int
    every: int
    versions: Mapping[str, Measured | str]
    """By name; a text is why there is none."""
    noise: Mapping[str, float | None]
    """The median of ort over that of itself: ``warm``, ``cold``, ``in_loop``."""
    cost: Cost
    limit: Limit
    conditions: Conditions

    def as_dict(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "rate_hz": 1e9 / self.period_ns,
            "every": self.every,
            "versions": {
                name: {"reason": found} if isinstance(found, str) else found.as_dict()
                for name, found in self.versions.items()
            },
            "noise_floor": dict(self.noise),
            "flops": self.cost.flops,
            "flops_by_operator": dict(self.cost.counted),
            "not_counted": dict(self.cost.not_counted),
            "weight_bytes": self.cost.weight_bytes,
            "tensor_bytes": self.cost.tensor_bytes,
            "tensors_of_unknown_size": self.cost.unsized,
            "measured_here": self.limit.as_dict(),
            "conditions": self.conditions.as_dict(),
        }


def subject_of_loop(config: Config, name: str, label: str = "") -> Subject:
    """The policy of a loop, between mailboxes in place of its devices; ``label`` is what it is called.

    Raises ConfigError, RtloopError.
    """
    loop: LoopConfig = config.loops[name]
    refuse_function(config, name)
    graph = opened(config, name, backend="ort").assembled.graph
    # What ends the loop on made-up samples is no part of what is measured.
    graph = replace(graph, terminations="", termination_sentences=())
    return Subject(
        label or name,
        graph,
        loop.realtime,
        loop.period_ns,
        loop.deadline_ns,
        loop.budget_ns,
        loop.policy.aot_cache,
    )


def subject_of_model(path: Path) -> Subject:
    """A model alone. Raises ConfigError."""
    if not path.exists():
        raise ConfigError(f"{path}: found no such file; expected the path of an ONNX model")
    return Subject(path.name, bare(read_model(path)), RealtimeConfig(), None)


def bench(subject: Subject, wanted: Sequence[str] = VERSIONS, seconds: float = 3.0) -> Bench:
    """Measures the versions ``wanted``, and ort, with which all are compared.

    ``seconds`` are those of each of the three: warm, cold and in the loop, all versions together.
    Raises RtloopError where onnxruntime cannot run the policy, StoppedError.
    """
    try:
        versions = made(subject.graph, ("ort", *wanted), subject.aot_cache)
        running = {name: found for name, found in versions.items() if isinstance(found, Version)}
        rights = ProcessRights([subject.realtime])
        try:
            return in_thread(
                _measuring_thread(subject.realtime),
                lambda own: _measured(
                    subject, versions, running, seconds, [*rights.of(subject.realtime), *own]
                ),
            )
        finally:
            rights.close()
    except (RuntimeError, ValueError) as error:
        text = " ".join(str(error).split())
        raise RtloopError(f"'{subject.name}' cannot be measured: {text}") from error


def warm_in_turn(
    graphs: Sequence[core.Graph], realtime: RealtimeConfig, seconds: float
) -> tuple[list[list[Times]], Conditions]:
    """Of each graph the times of its bursts, as ``bench`` measures warm runs.

    Raises RuntimeError where one cannot run, StoppedError.
    """
    rights = ProcessRights([realtime])
    try:
        watch = Watch()

        def measured(own: list[RightReport]) -> tuple[list[list[Times]], Conditions]:
            times = alternate([of_graph(graph) for graph in graphs], seconds)
            return times, watch.conditions([*rights.of(realtime), *own])

        return in_thread(_measuring_thread(realtime), measured)
    finally:
        rights.close()


def _measuring_thread(realtime: RealtimeConfig) -> core.ThreadSetup:
    """As that of the loop; but for one that Linux would stop once it had used up its budget."""
    if realtime.scheduler == "deadline":
        realtime = RealtimeConfig(thread_priority=98)
    return loop_thread("bench", Pace(realtime, 1, 1, None))


def _measured(
    subject: Subject,
    versions: Mapping[str, Version | str],
    running: Mapping[str, Version],
    seconds: float,
    rights: list[RightReport],
) -> Bench:
    watch = Watch()
    spent = cost(subject.graph)
    tell("measuring what this core can do …")
    limit = measure_limit(spent.bytes)
    tell("measuring warm …")
    graphs = [version.graph for version in running.values()]
    warm = dict(zip(running, alternate([of_graph(g) for g in graphs], seconds), strict=True))
    tell("measuring with cold caches …")
    eviction = Eviction()
    cold_bursts: list[Burst] = [partial(_cold, graph, eviction) for graph in graphs]
    cold = dict(zip(running, alternate(cold_bursts, seconds), strict=True))
    period_ns = subject.period_ns or _period_ns(float(np.median(np.concatenate(warm["ort"]))))
    tell("measuring in the loop …")
    deadline_ns = subject.deadline_ns or period_ns
    pace = Pace(subject.realtime, period_ns, deadline_ns, subject.budget_ns)
    named = {name: version.graph for name, version in running.items()}
    in_loop = run_in_turn(named, subject.graph, pace, seconds, rights)

    warmest, coldest = _distributions(warm), _distributions(cold)
    paced = {name: loop.inference for name, (loop, _) in in_loop.items()}
    measured: dict[str, Measured | str] = {}
    for name, found in versions.items():
        if isinstance(found, str):
            measured[name] = found
            continue
        size = found.weight_bytes + spent.tensor_bytes
        measured[name] = Measured(
            found.first_run_ns,
            warmest[name],
            coldest[name],
            in_loop[name][0],
            {
                what: ratio(of[name].p50, of["ort"].p50)
                for what, of in (("warm", warmest), ("cold", coldest), ("in_loop", paced))
            },
            found.weight_bytes,
            ratio(limit.shortest_ns(spent.flops, size), warmest[name].p50),
            ratio(limit.shortest_ns(spent.flops, size, is_cold=True), coldest[name].p50),
            found.note,
        )
    of_itself = {"warm": warm["ort"], "cold": cold["ort"], "in_loop": in_loop["ort"][1]}
    return Bench(
        subject.name,
        period_ns,
        subject.graph.every,
        measured,
        {what: noise_floor(segments)[0] for what, segments in of_itself.items()},
        spent,
        limit,
        watch.conditions(rights),
    )


def _distributions(times: Mapping[str, Sequence[Times]]) -> dict[str, Distribution]:
    return {name: Distribution.of(np.concatenate(own)) for name, own in times.items()}


def _cold(graph: core.Graph, eviction: Eviction, n: int) -> Times:
    """Each run after everything else was in the caches."""
    times = np.empty(n, np.int64)
    for index in range(n):
        eviction.walk()
        times[index] = graph.warm_up(0)[0]
    return times


def _period_ns(p50_ns: float) -> int:
    """Of a model that no loop runs."""
    periods = [round(1e9 / rate) for rate in RATES_HZ]
    return next((period for period in periods if period >= 4 * p50_ns), periods[-1])
