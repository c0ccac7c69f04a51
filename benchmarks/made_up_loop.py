"""A ring filled with made-up cycles, at any speed: what is measured is what comes behind the ring."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import numpy as np

from rtloop import core
from rtloop.ports.signal import Signal
from rtloop.telemetry.observe.records import INPUT_RECORD_DTYPE, RECORD_DTYPE
from rtloop.telemetry.observe.ring import LoopMetadata

NAME = "made_up"
N_INPUTS, N_OUTPUTS = 12, 4
_BLOCK = 10_000
_BURST_S = 0.01


class MadeUpLoop:
    """A firm loop with 12 inputs and 4 outputs whose values are noise; one cycle in 500 is late."""

    def __init__(self, rate_hz: int, capacity: int) -> None:
        # Where rings are: on a disk, its pages would be written back all the time.
        self._directory = tempfile.TemporaryDirectory(dir="/dev/shm")
        self.rate_hz = rate_hz
        self.period_ns = 1_000_000_000 // rate_hz
        self.ring_path = Path(self._directory.name) / f"{NAME}.ring"
        self.metadata = LoopMetadata(
            run_id="made-up",
            loop=NAME,
            loop_class="firm",
            period_ns=self.period_ns,
            deadline_ns=self.period_ns,
            inputs=tuple(Signal(f"joint_{i}.position", "rad") for i in range(N_INPUTS)),
            outputs=tuple(Signal(f"joint_{i}.torque", "N*m") for i in range(N_OUTPUTS)),
            sources=("joints",),
            realtime_ns_offset=time.time_ns() - time.monotonic_ns(),
        )
        text = self.metadata.to_json().encode()
        self._ring = core.RingWriter(str(self.ring_path), capacity, 1, N_INPUTS, N_OUTPUTS, text)
        self.fed = 0
        self._block = self._made_up()

    def _made_up(self) -> np.ndarray:
        slot = np.dtype(
            [
                ("record", RECORD_DTYPE),
                ("sources", INPUT_RECORD_DTYPE, (1,)),
                ("values", "<f4", (N_INPUTS + N_OUTPUTS,)),
            ]
        )
        random = np.random.default_rng(1)
        slots = np.zeros(_BLOCK, slot)
        k = np.arange(_BLOCK)
        record = slots["record"]
        late = k % 500 == 499
        at = k * self.period_ns
        record["cycle"], record["release_ns"] = k, at
        for name, mean_us in (("start", 10), ("read", 2), ("infer", 20), ("finish", 4)):
            at = at + (mean_us * 1e3 * random.gamma(20.0, 0.05, _BLOCK)).astype(np.int64)
            record[f"{name}_ns"] = at
        record["finish_ns"][late] += self.period_ns
        record["deadline_ns"] = record["release_ns"] + self.period_ns
        record["loop_class"] = core.CLASSES["firm"]
        record["outcome"] = np.where(late, core.OUTCOMES["held"], core.OUTCOMES["written"])
        record["longest_stage"] = np.where(late, core.STAGES["write"], core.STAGES["none"])
        record["events"] = np.where(late, core.EVENTS["miss"], 0)
        record["consecutive_misses"] = late
        slots["sources"]["age_ns"] = random.integers(0, self.period_ns, (_BLOCK, 1))
        slots["values"] = random.normal(size=slots["values"].shape)
        return slots

    def feed(self, n: int) -> None:
        """The next cycles."""
        size = self._block.dtype.itemsize
        while n > 0:
            begin = self.fed % _BLOCK
            count = min(n, _BLOCK - begin)
            data = self._block[begin : begin + count].tobytes()
            for at in range(0, len(data), size):
                self._ring.append(data[at : at + size])
            self.fed += count
            n -= count
            if begin + count == _BLOCK:
                self._later()

    def _later(self) -> None:
        record = self._block["record"]
        record["cycle"] += _BLOCK
        for name in ("release", "start", "read", "infer", "finish", "deadline"):
            record[f"{name}_ns"] += _BLOCK * self.period_ns

    def run(self, seconds: float, speed: float = 1.0) -> None:
        """Feed for so long, ``speed`` times as fast as the loop would."""
        per_second = self.rate_hz * speed
        began_s, first = time.monotonic(), self.fed
        while (elapsed_s := time.monotonic() - began_s) < seconds:
            self.feed(int(elapsed_s * per_second) - (self.fed - first))
            time.sleep(_BURST_S)

    def finish(self) -> None:
        """The loop has ended."""
        self._ring.set_counts(self.fed, self.fed, 0)
        self._ring.set_state("finalized")
