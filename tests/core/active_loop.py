"""A program for tests that look at a process from outside: one loop on a pty, one on mailboxes.

Prints the loop threads' ids, runs for the seconds given, and prints the status as JSON.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from rtloop import core
from tests.core.conftest import MS
from tests.core.fake_device import FakeDevice


def thread_id(name: str) -> int:
    for task in os.listdir("/proc/self/task"):
        if Path(f"/proc/self/task/{task}/comm").read_text().strip() == name:
            return int(task)
    raise RuntimeError(f"no thread {name}")


def main(seconds: float) -> None:
    device = FakeDevice()
    config = core.LoopConfig()
    config.name = "probe"
    config.loop_class = core.LoopClass.soft
    config.period_ns = config.deadline_ns = 2 * MS
    config.budget_ns = MS
    config.max_misses, config.window = 100, 1000
    config.inputs = [core.InputConfig(0, 500 * MS, core.OnStale.use), core.InputConfig(1)]
    config.outputs = [
        core.OutputConfig(0, [-5.0], [5.0], [1000.0], [0.0], [0.0]),
        core.OutputConfig(1, safe=[0.0, 0.0]),
    ]
    from onnx import TensorProto, helper

    from rtloop.policy.library import onnxruntime_library

    graph = helper.make_graph(
        [
            helper.make_node("Concat", ["a", "b"], ["ab"], axis=1),
            helper.make_node("Tanh", ["ab"], ["y"]),
        ],
        "probe",
        [
            helper.make_tensor_value_info("a", TensorProto.FLOAT, [1, 2]),
            helper.make_tensor_value_info("b", TensorProto.FLOAT, [1, 1]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    runner = core.Graph(
        onnxruntime_library(),
        model.SerializeToString(),
        [("a", [1, 2]), ("b", [1, 1])],
        ("y", [1, 3]),
        [],
    )
    port = device.port(silence_timeout_ns=60_000 * MS)
    box = core.Port("mailbox", {"inputs": 1, "safe": [0.0, 0.0]})
    box.put(np.ones(1, np.float32))
    with tempfile.TemporaryDirectory() as folder:
        ring = core.RingWriter(f"{folder}/ring", 1 << 14, 2, 3, 3, b"{}")
        loop = core.Loop(config, [port, box], runner, ring, core.MonotonicClock())
        threads = core.LoopThreads(loop)
        setup, guard = core.ThreadSetup(), core.ThreadSetup()
        setup.name, guard.name = "rt:probe", "rtg:probe"
        core.lock_memory()
        stop = threading.Event()

        def feed() -> None:
            while not stop.is_set():
                device.send_sensor([0.5, 0.25])
                device.received()
                box.put(np.ones(1, np.float32))

        feeder = threading.Thread(target=feed)
        feeder.start()
        assert not threads.set_up(setup, guard, 200).error
        core.activate([threads])
        print(json.dumps([thread_id("rt:probe"), thread_id("rtg:probe")]), flush=True)
        time.sleep(seconds)
        threads.deactivate(1_000_000_000)
        stop.set()
        feeder.join()
        result = loop.status()
        result["counters"] = port.counters()
        preloaded = ctypes.CDLL(None)
        if hasattr(preloaded, "probe_allocations"):
            for name in ("self_test", "allocations", "runs", "threads"):
                result[name] = getattr(preloaded, f"probe_{name}")()
        print(json.dumps(result))
    device.unplug()


if __name__ == "__main__":
    main(float(sys.argv[1]))
