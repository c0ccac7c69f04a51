"""A loop of the core on mailbox ports, set up to be measured, and the rights it is measured under."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from benchmarks.policies import SMALL, Network
from benchmarks.result import UnavailableError
from rtloop import core
from rtloop.policy import compose
from rtloop.policy.aot import backends
from rtloop.policy.library import onnxruntime_library
from rtloop.policy.runner import runner
from rtloop.ports.signal import Signal
from rtloop.realtime.rights import denied, report
from rtloop.telemetry.observe.records import RECORD_DTYPE, Records
from rtloop.telemetry.observe.ring import LoopMetadata

US, MS, S = 1_000, 1_000_000, 1_000_000_000
WARM_UP_RUNS = 200
NAME = "benchmark"


class Rights:
    """Memory locked and CPUs kept awake, for as long as this lives: for A and for B alike."""

    def __init__(self) -> None:
        self._memory = core.lock_memory()
        self._latency = core.CpuLatencyHold(0)

    def denied(self) -> list[str]:
        return what_was_denied([self._memory, self._latency.right])


def what_was_denied(rights: Sequence[core.Right]) -> list[str]:
    return [str(problem) for problem in denied(report(right) for right in rights)]


def thread_setup(name: str, cpus: Sequence[int], priority: int) -> core.ThreadSetup:
    setup = core.ThreadSetup()
    setup.name = name
    setup.scheduler = core.Scheduler.fifo
    setup.priority = priority
    setup.cpus = list(cpus)
    return setup


def graph_of(network: Network) -> core.Graph:
    return core.Graph(
        onnxruntime_library(),
        network.model(),
        [("obs", [1, network.n_inputs])],
        ("action", [1, network.n_outputs]),
        [],
    )


def compiled_graph_of(network: Network) -> core.Graph:
    """The same, compiled ahead of time. Raises UnavailableError where that does not work here."""
    graph = compose(network.model(), {"obs": network.n_inputs})
    made = backends(graph)
    if made.reasons:
        raise UnavailableError("; ".join(made.notes))
    return runner(graph, made.objects)


class MeasuredLoop:
    """Sensor mailbox → network → command mailbox, firm, deadline = period.

    Limits on every command, a miss limit and a maximum age are configured: what a robot would have.
    The guard runs on the other CPUs, as rtloop's own loops have it. It can be activated again; the
    ring stays the same. A context manager: leaving it ends the loop.
    """

    def __init__(
        self,
        cpu: int,
        priority: int,
        *,
        network: Network = SMALL,
        period_ns: int = MS,
        ring_s: float = 60.0,
        graph: core.Graph | None = None,
    ) -> None:
        self.network, self.period_ns = network, period_ns
        n_in, n_out = network.n_inputs, network.n_outputs
        config = core.LoopConfig()
        config.name = NAME
        config.loop_class = core.LoopClass.firm
        config.period_ns = config.deadline_ns = period_ns
        config.max_misses, config.window = 1000, 1000
        config.inputs = [core.InputConfig(0, 3600 * S, core.OnStale.use)]
        config.outputs = [
            core.OutputConfig(
                0, [-10.0] * n_out, [10.0] * n_out, [1e6] * n_out, [0.0] * n_out, [0.0] * n_out
            )
        ]
        self._config, self._graph = config, graph or graph_of(network)
        self.port = core.Port("mailbox", {"inputs": n_in, "safe": [0.0] * n_out})
        self.port.put(np.linspace(-1, 1, n_in, dtype=np.float32))
        # Not among the rings of real runs, which `rtloop recover` looks after.
        self._folder = tempfile.TemporaryDirectory(prefix="rtloop-benchmark-", dir="/dev/shm")
        self.ring_path = Path(self._folder.name) / f"{NAME}.ring"
        metadata = LoopMetadata(
            run_id="benchmark",
            loop=NAME,
            loop_class="firm",
            period_ns=period_ns,
            deadline_ns=period_ns,
            inputs=tuple(Signal(f"in.{i}") for i in range(n_in)),
            outputs=tuple(Signal(f"out.{i}") for i in range(n_out)),
            sources=("in",),
            realtime_ns_offset=0,
        )
        capacity = max(1000, round(ring_s * S / period_ns))
        self._ring = core.RingWriter(
            str(self.ring_path), capacity, 1, n_in, n_out, metadata.to_json().encode()
        )
        self._reader = core.RingReader(str(self.ring_path))
        self.core_loop = self._new_loop()
        self._threads: core.LoopThreads | None = None
        others = sorted(set(core.allowed_cpus()) - {cpu}) or [cpu]
        self._setups = (
            thread_setup("rt:benchmark", [cpu], priority),
            thread_setup("rtg:benchmark", others, priority + 1),
        )
        self.denied: list[str] = []

    def _new_loop(self) -> core.Loop:
        return core.Loop(self._config, [self.port], self._graph, self._ring, core.MonotonicClock())

    def activate(self) -> None:
        self.core_loop = self._new_loop()
        self._threads = core.LoopThreads(self.core_loop)
        set_up = self._threads.set_up(*self._setups, WARM_UP_RUNS)
        if set_up.error:
            raise RuntimeError(set_up.error)
        self.denied = what_was_denied([*set_up.loop_rights, *set_up.guard_rights])
        core.activate([self._threads])

    def deactivate(self) -> None:
        if self._threads is not None and not self._threads.deactivate(10 * S):
            raise RuntimeError("a cycle did not return")

    def records(self) -> Records:
        """Since the previous call. Raises RuntimeError when the ring was too short."""
        raw, lost = self._reader.read(1 << 30)
        if lost:
            raise RuntimeError(f"{lost} records were overwritten before they were read")
        result: Records = np.ascontiguousarray(raw[:, : core.RECORD_SIZE]).view(RECORD_DTYPE)[:, 0]
        return result

    def discard_records(self) -> None:
        """Forgets all until now."""
        self._reader.seek(self._reader.status()["head"])

    def status(self) -> dict[str, Any]:
        return self.core_loop.status()

    def finalize(self) -> None:
        """Its observers see that nothing more will come."""
        del self._threads, self.core_loop, self._ring

    def close(self) -> None:
        self._folder.cleanup()

    def __enter__(self) -> MeasuredLoop:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.deactivate()
        self.finalize()
        self.close()
