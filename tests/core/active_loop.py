"""A program for tests that look at a process from outside: one loop on a link, one on mailboxes.

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
from onnx import helper

from rtloop import core
from tests.core.compiled import compiled
from tests.core.conftest import MS, model_bytes, read_records
from tests.core.fake_device import FakeDevice
from tests.core.steps import Steps
from tests.core.zmq_device import ZmqDevice

COPY = "for (int i = 0; i < 3; ++i) ((float *)outputs[0])[i] = ((const float *)inputs[0])[i];"


def thread_id(name: str) -> int:
    for task in os.listdir("/proc/self/task"):
        if Path(f"/proc/self/task/{task}/comm").read_text().strip() == name:
            return int(task)
    raise RuntimeError(f"no thread {name}")


def make_graph(external: core.External | None = None) -> core.Graph:
    """Models, one of them compiled, with nodes of every kind about them, states, the last command, what is
    checked, and what ``external`` answers."""
    steps = Steps()
    a, b = steps.input("a", 2), steps.input("b", 1)
    steps.last_command = last = steps.tensor("last_command", 3)
    history = steps.constant("history", np.ones((1, 6), np.float32))
    count = steps.tensor("count", [1], "int64")

    ab = steps.node("Concat", [a, b], 3)
    newer = steps.node("Gather", [history, steps.constant("newer", np.arange(3, 6))], 3)
    following = steps.node("Concat", [newer, ab], 6)
    one, three = steps.constant("one", np.array([1])), steps.constant("three", np.array([3]))
    next_count = steps.node("Add", [count, one], 1, "int64")
    chosen = steps.node("Mod", [steps.node("Mul", [count, one], 1, "int64"), three], 1, "int64")
    value = steps.node("Cast", [steps.node("Gather", [ab, chosen], 1)], 1, "float16")
    scaled = steps.node("Mul", [ab, steps.node("Cast", [value], 1)], 3)
    for operator in ("Neg", "Abs", "Floor", "Sqrt", "Sin", "Cos", "Atan"):
        scaled = steps.node(operator, [steps.node("Abs", [scaled], 3)], 3)
    half = steps.constant("half", np.full(3, 0.5, np.float32))
    clipped = steps.node(
        "Min", [steps.node("Max", [scaled, steps.node("Neg", [half], 3)], 3), half], 3
    )
    for operator in ("Asin", "Acos"):
        clipped = steps.node(operator, [clipped], 3)
    is_less = steps.node("Less", [clipped, half], 3, "bool")
    is_even = steps.node("Equal", [chosen, one], 1, "bool")
    either = steps.node("Or", [is_less, steps.node("Not", [is_even], 1, "bool")], 3, "bool")
    mixed = steps.node("Where", [either, clipped, half], 3)
    turned = steps.node("MatMul", [mixed, steps.constant("turn", np.eye(3, dtype=np.float32))], 3)
    largest = steps.node("ReduceMax", [turned], 1)
    relative = steps.node(
        "Add", [turned, steps.node("Div", [steps.node("Sub", [last, ab], 3), half], 3)], 3
    )

    hidden, y = steps.tensor("hidden", 3), steps.tensor("y", 3)
    model = model_bytes([helper.make_node("Tanh", ["x"], ["y"])], 3)
    steps.model(model, {"x": relative}, {"y": hidden})
    steps.model(model, {"x": steps.node("Add", [hidden, largest], 3)}, {"y": y})
    command = steps.tensor("command", 3)
    steps.compiled(compiled(COPY, [12], [12]), [y], [command])
    steps.feedback = [(history, following, False), (count, next_count, True)]
    steps.checked = [relative, value]
    if external is not None:
        question, command = command, steps.tensor("answer", 3)
        steps.steps.append(core.ExternalRun(external, question, command))
    return steps.graph(steps.node("Reshape", [command], 3))


def give_back(external: core.External) -> None:
    """Answers what was asked, until it is closed."""
    while (question := external.next()) is not None:
        external.answer(question[0])


def main(seconds: float, kind: str) -> None:
    """Of this ``kind``: "switch", between two policies, or "function", answered in Python; "zmq" is the first
    of them on a device over ZeroMQ, "paced" by the samples of its device, "boxed" by those of a mailbox."""
    device: FakeDevice = ZmqDevice() if kind == "zmq" else FakeDevice()
    relay = core.Relay(2, 8, False)
    config = core.LoopConfig()
    config.name = "probe"
    config.loop_class = core.LoopClass.soft
    config.period_ns = config.deadline_ns = 2 * MS
    config.budget_ns = MS
    if kind in ("paced", "boxed"):
        config.paced_by, config.timeout_ns = ("paced", "boxed").index(kind), 50 * MS
    config.max_misses, config.window = 100, 1000
    config.inputs = [core.InputConfig(0, 500 * MS, core.OnStale.use), core.InputConfig(1)]
    config.outputs = [
        core.OutputConfig(0, [-5.0], [5.0], [1000.0], [0.0], [0.0]),
        core.OutputConfig(1, safe=[0.0, 0.0], hold=[2, -1], relay=relay),
    ]
    external = core.External(3, 3)
    runner: core.Runner = core.Switch([make_graph(), make_graph()], 1, 0, 4, [[1], [0]])
    if kind == "function":
        runner = make_graph(external)
    port = device.port(silence_timeout_ns=60_000 * MS)
    box = core.Port("mailbox", {"inputs": 1, "safe": [0.0, 0.0]})
    box.put(np.ones(1, np.float32))
    with tempfile.TemporaryDirectory() as folder:
        ring = core.RingWriter(f"{folder}/ring", 1 << 14, 2 + (kind == "function"), 3, 3, b"{}")
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
                # The policies take turns; 2 is none of them.
                box.put(np.array([int(time.monotonic() * 20) % 3], np.float32))

        feeder = threading.Thread(target=feed)
        feeder.start()
        assert not threads.set_up(setup, guard, 200).error
        external.open()
        answering = threading.Thread(target=give_back, args=(external,))
        answering.start()
        core.activate([threads])
        print(json.dumps([thread_id("rt:probe"), thread_id("rtg:probe")]), flush=True)
        time.sleep(seconds)
        threads.deactivate(1_000_000_000)
        stop.set()
        external.close()
        answering.join()
        feeder.join()
        result = loop.status()
        result["counters"] = port.counters()
        switched = read_records(f"{folder}/ring")["events"] & core.EVENTS["switched"]
        result["switched"] = int(np.count_nonzero(switched))
        preloaded = ctypes.CDLL(None)
        if hasattr(preloaded, "probe_allocations"):
            for name in ("self_test", "allocations", "runs", "threads"):
                result[name] = getattr(preloaded, f"probe_{name}")()
        print(json.dumps(result))
    device.unplug()


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2])
