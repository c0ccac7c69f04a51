"""A recording in numpy: python examples/read_recording.py rtloop-runs/RUN/run.mcap"""

import sys

import numpy as np

import rtloop
from rtloop.telemetry.observe.records import missed, response_ns

if len(sys.argv) != 2:
    sys.exit(__doc__)
recording = rtloop.open_recording(sys.argv[1])
print(recording.run_id)
for name, loop in recording.loops.items():
    p50, p99 = np.percentile(response_ns(loop.records) / 1e3, [50, 99])
    n, misses = len(loop.records), np.count_nonzero(missed(loop.records))
    print(f"{name}: {n} cycles, {misses} misses, response p50 {p50:.0f} µs, p99 {p99:.0f} µs")
    signals = (*loop.metadata.inputs, *loop.metadata.outputs)
    for signal, values in zip(signals, np.hstack([loop.inputs, loop.outputs]).T, strict=True):
        print(f"  {signal.name:20} {values.min():+9.3f} … {values.max():+9.3f} {signal.unit}")
