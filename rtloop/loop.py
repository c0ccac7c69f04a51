"""A loop of the configuration, from YAML to threads: configure, activate, deactivate, cleanup."""

from __future__ import annotations

import atexit
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rtloop import core
from rtloop.build import Assembly, Parts
from rtloop.config import Config, LoopConfig
from rtloop.errors import HostRefusedError, LinkError, RtloopError
from rtloop.fault import explain_fault
from rtloop.link import Link
from rtloop.realtime.rights import RightReport, denied, report
from rtloop.realtime.threads import guard_thread, loop_thread
from rtloop.telemetry.observe.ring import LoopMetadata

WARM_UP_RUNS = 200
DEACTIVATE_TIMEOUT_NS = 1_000_000_000

_active_loops: weakref.WeakSet[Loop] = weakref.WeakSet()


class Loop:
    """One loop, with the states of a ROS 2 lifecycle node.

    ``configure`` opens the links, composes the graph and allocates everything; ``activate`` arms the device
    and starts the threads; ``deactivate`` ends them, safe command last; ``cleanup`` lets everything go.
    A FAULT is latched until the next ``activate``.

    ``stalls`` injects slowness (tests and ``--overload``).
    """

    def __init__(
        self,
        config: Config,
        name: str,
        ring_path: Path,
        *,
        stalls: Sequence[core.Stall] = (),
    ) -> None:
        self.config = config
        self.name = name
        self.loop_config: LoopConfig = config.loops[name]
        self.ring_path = ring_path
        self._stalls = list(stalls)
        self._parts: Parts | None = None

    # --- lifecycle ---

    def configure(self) -> None:
        """Raises ConfigError, LinkError, RtloopError; whatever was opened is closed again."""
        if self._parts is not None:
            raise RtloopError(f"loop '{self.name}' is configured already; call cleanup() first")
        self._parts = Assembly(self.config, self.name, self.ring_path, self._stalls).build()

    def activate(self, *, clear: bool = False) -> list[RightReport]:
        """Arms the devices and starts the threads; returns the rights asked for.

        ``clear`` allows to clear a device that is latched SAFE.
        Raises HostRefusedError when a right was denied and the configuration says ``on_denied: fail``,
        LinkError when a device does not arm.
        """
        parts = self._configured()
        realtime = self.loop_config.realtime
        rights = []
        if realtime.lock_memory:
            rights.append(report(core.lock_memory()))
        if realtime.cpu_dma_latency_us is not None:
            parts.latency_hold = core.CpuLatencyHold(realtime.cpu_dma_latency_us)
            rights.append(report(parts.latency_hold.right))
        must_be_granted = realtime.on_denied == "fail"
        if must_be_granted:
            self._refuse(denied(rights))
        try:
            for link in parts.links.values():
                self._arm(link, clear)
            # A mailbox's initial value counts as written now.
            for name, mailbox in parts.mailboxes.items():
                initial = self.loop_config.inputs[name].mailbox
                mailbox.put(np.array(initial, np.float32))
            activation = parts.loop.activate(
                loop_thread(self.name, self.loop_config),
                guard_thread(self.name, self.loop_config),
                WARM_UP_RUNS,
                must_be_granted,
            )
            rights += [report(right, f"{self.name}") for right in activation.loop_rights]
            rights += [report(right, f"{self.name} guard") for right in activation.guard_rights]
            parts.rights = rights
            if must_be_granted:
                self._refuse(denied(rights))
            if activation.error:
                raise RtloopError(f"loop '{self.name}' did not start: {activation.error}")
        except BaseException:
            self.deactivate()
            raise
        _active_loops.add(self)
        return rights

    def deactivate(self) -> None:
        """Ends the threads, safe command last. Raises RtloopError when a cycle does not return."""
        parts = self._parts
        if parts is None:
            return
        returned = parts.loop.deactivate(DEACTIVATE_TIMEOUT_NS + self.loop_config.period_ns)
        for link in parts.links.values():
            link.stop()
        parts.latency_hold = None
        _active_loops.discard(self)
        if not returned:
            raise RtloopError(
                f"a cycle of loop '{self.name}' hangs and did not end; the safe command was sent"
            )

    def cleanup(self) -> None:
        """Closes links and ring: observers see the ring as finalized."""
        parts, self._parts = self._parts, None
        if parts is not None:
            for link in parts.links.values():
                link.close()

    # --- while it runs ---

    def status(self) -> dict[str, Any]:
        """The live state: see :meth:`rtloop.core.RingReader.status`."""
        return self._configured().loop.status()

    def write_input(self, name: str, values: Sequence[float] | np.ndarray[Any, Any]) -> None:
        """Puts a sample into the mailbox ``name``. Raises KeyError, ValueError (wrong size)."""
        self._configured().mailboxes[name].put(np.ascontiguousarray(values, np.float32))

    def read_output(self, name: str) -> tuple[np.ndarray[Any, Any], int]:
        """The command in the mailbox ``name``, float32 [size], and when it was written (ns, -1 never)."""
        return self._configured().commands[name].newest()

    def publish_metadata(self, run_id: str, run: Mapping[str, Any]) -> None:
        """Puts what an observer needs beside the records into the ring. ``run``: facts of the whole run."""
        parts = self._configured()
        metadata = LoopMetadata(
            run_id=run_id,
            loop=self.name,
            loop_class=self.loop_config.loop_class,
            period_ns=self.loop_config.period_ns,
            deadline_ns=self.loop_config.deadline_ns,
            inputs=tuple(parts.inputs),
            outputs=tuple(parts.outputs),
            realtime_ns_offset=time.time_ns() - time.monotonic_ns(),
            run=dict(run),
        )
        parts.ring.set_metadata(metadata.to_json().encode())

    @property
    def rights(self) -> list[RightReport]:
        return self._configured().rights

    @property
    def policy_sha256(self) -> str:
        return self._configured().graph.sha256

    @property
    def onnxruntime_version(self) -> str:
        return self._configured().onnxruntime_version

    def fault(self) -> str:
        """Why the loop is in FAULT, and what to do; empty when it is not."""
        parts = self._configured()
        return explain_fault(self.config, self.name, parts.loop.status(), parts.link_ports)

    # --- inside ---

    def _configured(self) -> Parts:
        if self._parts is None:
            raise RtloopError(f"loop '{self.name}' is not configured; call configure() first")
        return self._parts

    def _refuse(self, problems: list[RightReport]) -> None:
        if problems:
            listed = "\n  ".join(str(problem) for problem in problems)
            raise HostRefusedError(
                f"loop '{self.name}' demands rights (on_denied: fail) that were denied:\n  {listed}"
            )

    def _arm(self, link: Link, clear: bool) -> None:
        loop_class = self.loop_config.loop_class
        link.arm(
            loop_class=core.CLASSES[loop_class],
            max_late_commands=1 if loop_class == "hard" else 0,
            command_timeout_us=self.config.links[link.name].command_timeout_ns // 1000,
            clear=clear,
        )


def _deactivate_all() -> None:
    # The last line of defence: a Python program that ends while loops run.
    for loop in list(_active_loops):
        try:
            loop.deactivate()
        except (LinkError, RtloopError, OSError):
            continue


atexit.register(_deactivate_all)
