"""Watches running loops from outside, until they end: python examples/watch_ring.py [RUN_ID]"""

import sys
import time

import numpy as np

from rtloop.telemetry.observe.records import missed, release_latency_ns
from rtloop.telemetry.observe.ring import RING_DIRECTORY, RING_SUFFIX, Ring

run_id = sys.argv[1] if len(sys.argv) > 1 else "*"
rings = [Ring(path) for path in RING_DIRECTORY.glob(f"{run_id}/*{RING_SUFFIX}")]
while rings:
    time.sleep(0.5)
    for ring in list(rings):
        batch = ring.read()
        if len(batch):
            latency_us = np.median(release_latency_ns(batch.records)) / 1e3
            misses = np.count_nonzero(missed(batch.records))
            print(f"{ring.metadata.loop}: {len(batch)} cycles, {misses} misses,", end=" ")
            print(f"{latency_us:.0f} µs late at the median;", batch.inputs[-1])
        elif ring.finished():
            rings.remove(ring)
