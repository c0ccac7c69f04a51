"""A recording in numpy: python examples/read_recording.py rtloop-runs/RUN/run.mcap"""

import sys
from pathlib import Path

import numpy as np

from rtloop.telemetry.mcap.reader import read_recording
from rtloop.telemetry.observe.records import missed, response_ns

recording = read_recording(Path(sys.argv[1]), signals=True)
print(recording.run_id)
for name, loop in recording.loops.items():
    p50, p99 = np.percentile(response_ns(loop.records) / 1e3, [50, 99])
    n, misses = len(loop.records), np.count_nonzero(missed(loop.records))
    print(f"{name}: {n} cycles, {misses} misses, response p50 {p50:.0f} µs, p99 {p99:.0f} µs")
    signals = (*loop.metadata.inputs, *loop.metadata.outputs)
    for signal, values in zip(signals, np.hstack([loop.inputs, loop.outputs]).T, strict=True):
        print(f"  {signal.name:20} {values.min():+9.3f} … {values.max():+9.3f} {signal.unit}")
