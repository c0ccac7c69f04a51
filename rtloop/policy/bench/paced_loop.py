"""A loop of the core between mailboxes, paced by the clock on its own threads, set up to be measured."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from rtloop import core
from rtloop.policy.bench.bursts import WARM_UP_RUNS
from rtloop.ports.signal import Signal
from rtloop.realtime.rights import RightReport, report
from rtloop.telemetry.observe.records import RECORD_DTYPE, Records
from rtloop.telemetry.observe.ring import LoopMetadata

if TYPE_CHECKING:
    from typing_extensions import Self

S = 1_000_000_000
#: Of a ring: that of a loop which observes images holds fewer cycles.
RING_MAX_BYTES = 1 << 28
RING_CYCLES = 1000


class PacedLoop:
    """Mailboxes → graph → mailbox, firm, as rtloop's own loops are set up.

    Limits on every command, a miss limit and a maximum age are configured: what a robot would have. A sample is
    in each mailbox from the beginning. It can be activated again; the ring stays the same. A context manager:
    leaving it ends the loop.
    """

    def __init__(
        self,
        graph: core.Graph,
        inputs: Sequence[int],
        n_outputs: int,
        threads: tuple[core.ThreadSetup, core.ThreadSetup],
        *,
        name: str,
        period_ns: int,
        deadline_ns: int | None = None,
        ring_s: float = 60.0,
        is_observed: bool = False,
    ) -> None:
        """``inputs`` are sizes, ``threads`` those of the loop and of its guard. A loop that other processes
        observe has a ring with a name, ``ring_path``, until it is closed; no other leaves one, however it ends.
        """
        config = core.LoopConfig()
        config.name = name
        config.loop_class = core.LoopClass.firm
        config.period_ns = period_ns
        config.deadline_ns = deadline_ns or period_ns
        config.max_misses, config.window = 1000, 1000
        config.inputs = [
            core.InputConfig(port, 3600 * S, core.OnStale.use) for port in range(len(inputs))
        ]
        config.outputs = [
            core.OutputConfig(
                0,
                [-10.0] * n_outputs,
                [10.0] * n_outputs,
                [1e6] * n_outputs,
                [0.0] * n_outputs,
                [0.0] * n_outputs,
            )
        ]
        self.period_ns = period_ns
        self._config, self._graph, self._setups = config, graph, threads
        # One port has both the first input and the command, as that of a device has.
        first, *others = inputs or (0,)
        self.ports = [core.Port("mailbox", {"inputs": first, "safe": [0.0] * n_outputs})]
        self.ports += [core.Port("mailbox", {"inputs": size}) for size in others]
        for port, size in zip(self.ports, inputs, strict=False):
            port.put(np.linspace(-1, 1, size, dtype=np.float32))
        # Not among the rings of real runs, which `rtloop recover` looks after.
        self._folder = tempfile.TemporaryDirectory(prefix=f"rtloop-{name}-", dir="/dev/shm")
        self.ring_path = Path(self._folder.name) / f"{name}.ring"
        n_inputs = sum(inputs)
        metadata = LoopMetadata(
            run_id=name,
            loop=name,
            loop_class="firm",
            period_ns=period_ns,
            deadline_ns=config.deadline_ns,
            inputs=tuple(Signal(f"in.{i}") for i in range(n_inputs)),
            outputs=tuple(Signal(f"out.{i}") for i in range(n_outputs)),
            sources=tuple(f"in{index or ''}" for index in range(len(inputs))),
            realtime_ns_offset=0,
        )
        most = RING_MAX_BYTES // (core.RECORD_SIZE + 4 * (n_inputs + n_outputs))
        capacity = max(2, min(most, max(RING_CYCLES, round(ring_s * S / period_ns))))
        self._ring = core.RingWriter(
            str(self.ring_path),
            capacity,
            len(inputs),
            n_inputs,
            n_outputs,
            metadata.to_json().encode(),
        )
        self._reader = core.RingReader(str(self.ring_path))
        if not is_observed:
            self.close()
        self.core_loop = self._new_loop()
        self._threads: core.LoopThreads | None = None
        self.rights: list[RightReport] = []
        """Of its threads: what became of each, once it was activated."""

    def _new_loop(self) -> core.Loop:
        return core.Loop(self._config, self.ports, self._graph, self._ring, core.MonotonicClock())

    def activate(self) -> None:
        """Raises RuntimeError where the loop cannot run."""
        self.core_loop = self._new_loop()
        self._threads = core.LoopThreads(self.core_loop)
        set_up = self._threads.set_up(*self._setups, WARM_UP_RUNS)
        if set_up.error:
            raise RuntimeError(set_up.error)
        self.rights = [
            report(right, setup.name)
            for setup, rights in zip(
                self._setups, (set_up.loop_rights, set_up.guard_rights), strict=True
            )
            for right in rights
        ]
        core.activate([self._threads])

    def deactivate(self) -> None:
        """Raises RuntimeError where a cycle does not return."""
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

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.deactivate()
        self.finalize()
        self.close()
