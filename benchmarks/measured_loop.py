"""A loop of the core on mailbox ports, set up to be measured, and the rights it is measured under."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.policies import SMALL, Network
from benchmarks.result import UnavailableError
from rtloop import core
from rtloop.policy import compose
from rtloop.policy.aot import backends
from rtloop.policy.bench.paced_loop import PacedLoop
from rtloop.policy.library import onnxruntime_library
from rtloop.policy.runner import runner
from rtloop.realtime.rights import denied, report

US, MS, S = 1_000, 1_000_000, 1_000_000_000
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


class MeasuredLoop(PacedLoop):
    """Sensor mailbox → network → command mailbox, firm, deadline = period.

    The guard runs on the other CPUs, as rtloop's own loops have it.
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
        self.network = network
        others = sorted(set(core.allowed_cpus()) - {cpu}) or [cpu]
        super().__init__(
            graph or graph_of(network),
            [network.n_inputs],
            network.n_outputs,
            (
                thread_setup("rt:benchmark", [cpu], priority),
                thread_setup("rtg:benchmark", others, priority + 1),
            ),
            name=NAME,
            period_ns=period_ns,
            ring_s=ring_s,
            is_observed=True,
        )

    @property
    def port(self) -> core.Port:
        """That of its sensor and its command."""
        return self.ports[0]

    @property
    def denied(self) -> list[str]:
        """What its threads were denied, once it was activated."""
        return [str(right) for right in denied(self.rights)]
