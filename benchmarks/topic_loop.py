"""One loop that reads joint states in one way, beside one disturbance: what benchmarks.topics runs."""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import random
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import beside, ros
from benchmarks.policies import SMALL
from benchmarks.topics import MAX_AGE_MS, READERS
from rtloop import Run, core, load
from rtloop.telemetry.mcap.reader import read_recording

LOOP, TOPIC = "walk", "benchmark_joint_states"
RATE_HZ = 500
JOINTS = [f"joint_{i}" for i in range(SMALL.n_inputs)]
SETTLED_S = 1.0
CALL_US = 15_000

TOPIC_INPUT = (
    f"{{topic: {TOPIC}, type: sensor_msgs/msg/JointState, joints: [{', '.join(JOINTS)}], fields: [position], "
    f"stamp: header, max_age_ms: {MAX_AGE_MS}}}"
)
INPUTS = {
    "callback": f"{{mailbox: {SMALL.n_inputs}, max_age_ms: {MAX_AGE_MS}}}",
    "topic": TOPIC_INPUT,
    "paced": TOPIC_INPUT,
    "none": f"{{mailbox: {[0.0] * SMALL.n_inputs}}}",
}


def configuration(reader: str, cpu: int, priority: int, folder: Path) -> Path:
    (folder / "policy.onnx").write_bytes(SMALL.model())
    clock = "clock: {input: joints, timeout_ms: 20}" if reader == "paced" else ""
    path = folder / "loop.yaml"
    path.write_text(
        f"""\
recording: {{directory: {folder}}}
loops:
  {LOOP}:
    class: soft
    rate_hz: {RATE_HZ}
    {clock}
    inputs:
      joints: {INPUTS[reader]}
    policy: {{model: policy.onnx, observation: [{{input: joints}}]}}
    outputs:
      command: {{mailbox: true, safe: {[0.0] * SMALL.n_outputs}}}
    realtime: {{thread_priority: {priority}, cpu_affinity: [{cpu}]}}
"""
    )
    return path


class Callback:
    """A subscription as an rclpy user writes it, spun by a thread."""

    def __init__(self, node: Any, run: Run) -> None:
        from rclpy.qos import qos_profile_sensor_data
        from sensor_msgs.msg import JointState

        self._run = run
        self.age_ns: list[int] = []
        node.create_subscription(JointState, TOPIC, self._receive, qos_profile_sensor_data)

    def _receive(self, message: Any) -> None:
        now_ns = time.time_ns()
        stamp = message.header.stamp
        self.age_ns.append(now_ns - 1_000_000_000 * stamp.sec - stamp.nanosec)
        at = dict(zip(message.name, message.position, strict=True))
        values = np.array([at[joint] for joint in JOINTS], np.float32)
        self._run.loops[LOOP].write_input("joints", values)


def repeat(stack: ExitStack, call: Callable[[], object], name: str) -> None:
    """In a thread, until ``stack`` unwinds."""
    stop = threading.Event()

    def work() -> None:
        while not stop.is_set():
            call()

    def end() -> None:
        stop.set()
        thread.join()

    thread = threading.Thread(target=work, name=name)
    thread.start()
    stack.callback(end)


def measure(options: argparse.Namespace) -> tuple[int, int, int, int]:
    """Published, received, executed, stale of ``seconds``; leaves age_ns.npy and latency_ns.npy in ``out``."""
    rclpy = ros.init()
    from rclpy.executors import SingleThreadedExecutor

    from rtloop.nodes.graph import RclpyGraph

    with ExitStack() as stack:
        stack.callback(rclpy.try_shutdown)
        node = rclpy.create_node("benchmark_loop")
        run = Run(
            load(configuration(options.reader, options.cpu, options.priority, options.out)),
            "topics",
            graph=RclpyGraph(node),
        )
        run.configure()
        stack.callback(run.cleanup)
        callback = Callback(node, run) if options.reader == "callback" else None
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        stack.callback(executor.shutdown)
        repeat(stack, lambda: executor.spin_once(timeout_sec=0.1), "rclpy-executor")
        publisher = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.topic_loop", "--publish"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        stack.callback(publisher.communicate)
        run.activate()
        time.sleep(SETTLED_S)
        if options.beside == "calls":
            # As a library does that was not written for threads.
            repeat(stack, lambda: ctypes.PyDLL(None).usleep(CALL_US), "calls")
        else:
            beside.start(stack, options.beside, lambda _: None)
        began_ns = time.monotonic_ns()
        heard_before = 0 if callback is None else len(callback.age_ns)
        ended_ns = began_ns + int(options.seconds * 1e9)
        while time.monotonic_ns() < ended_ns:
            time.sleep(0.1)
        ended_ns = time.monotonic_ns()
        heard = 0 if callback is None else len(callback.age_ns)
        run.deactivate()
        loop = read_recording(run.recording).loops[LOOP]
        records = loop.records
        during = (records["release_ns"] >= began_ns) & (records["release_ns"] < ended_ns)
        chosen = records[during]
        age_ns = chosen["input_age_ns"]
        seconds = (ended_ns - began_ns) / 1e9
        published = 0 if options.reader == "none" else round(seconds * RATE_HZ)
        received = published - int(loop.sources[during]["gap"].sum())
        if callback is not None:
            age_ns = np.array(callback.age_ns[heard_before:heard], np.int64)
            received = heard - heard_before
        np.save(options.out / "age_ns.npy", age_ns)
        np.save(options.out / "latency_ns.npy", chosen["start_ns"] - chosen["release_ns"])
        stale = int(np.count_nonzero(chosen["events"] & core.EVENTS["stale_input"]))
        return published, received, len(chosen), stale


def publish() -> None:
    """JointState at 500 Hz, the joints in another order each time, until standard input ends."""
    rclpy = ros.init()
    from rclpy.qos import qos_profile_sensor_data
    from sensor_msgs.msg import JointState

    node = rclpy.create_node("benchmark_joint_publisher")
    publisher = node.create_publisher(JointState, TOPIC, qos_profile_sensor_data)
    ended = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(50))
    draw = random.Random(0)
    names = list(JOINTS)
    next_ns = time.monotonic_ns()
    while not ended.is_set():
        draw.shuffle(names)
        message = JointState(name=names, position=[0.1] * len(names))
        now_ns = time.time_ns()
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now_ns, 1_000_000_000)
        publisher.publish(message)
        next_ns += 1_000_000_000 // RATE_HZ
        time.sleep(max(0.0, (next_ns - time.monotonic_ns()) / 1e9))
    node.destroy_node()
    rclpy.try_shutdown()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", choices=READERS, nargs="?")
    parser.add_argument("--beside", default="nothing")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--cpu", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--priority", type=int, default=80)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--publish", action="store_true")
    options = parser.parse_args()
    if options.publish:
        publish()
    else:
        print(json.dumps(measure(options)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
