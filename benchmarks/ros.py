"""rclpy beside a loop, and rclpy as a loop. The only module here that imports it."""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.policies import SMALL
from benchmarks.result import UnavailableError

FIX = "rclpy is not importable: source your ROS 2 setup.bash, or pip install 'rtloop[ros]'"
TOPICS = ("benchmark_joints", "benchmark_imu")
RATE_HZ = 500
DISCOVERY_S = 10.0
SETTLED_AFTER_MESSAGES = 100


def require() -> None:
    """Raises UnavailableError."""
    try:
        import rclpy
        import std_msgs.msg  # noqa: F401
    except ImportError:
        raise UnavailableError(FIX) from None
    del rclpy


def init() -> Any:
    """rclpy, on this machine only and among these processes only."""
    require()
    os.environ.setdefault("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
    os.environ.setdefault("ROS_DOMAIN_ID", str(1 + os.getpid() % 100))
    os.environ.setdefault("ROS_LOG_DIR", tempfile.gettempdir())
    import rclpy

    rclpy.init()
    return rclpy


def start_subscriptions(stack: ExitStack, receive: Callable[[NDArray[np.float32]], None]) -> None:
    """A node with two 500 Hz subscriptions in a spinning executor; another process publishes.

    ``receive`` takes each message, in the executor's thread. Returns when messages arrive; they do
    until ``stack`` unwinds. Raises UnavailableError.
    """
    rclpy = init()
    from rclpy.executors import SingleThreadedExecutor
    from std_msgs.msg import Float64MultiArray

    stack.callback(rclpy.try_shutdown)
    node = rclpy.create_node("benchmark_subscriber")
    received = itertools.count(1)
    arriving = threading.Event()

    def on_message(message: Any) -> None:
        receive(np.array(message.data, np.float32))
        if next(received) == SETTLED_AFTER_MESSAGES:
            arriving.set()

    for topic in TOPICS:
        node.create_subscription(Float64MultiArray, topic, on_message, 10)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.1)

    thread = threading.Thread(target=spin, name="rclpy-executor")
    publisher = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.ros", "--publish"], stdin=subprocess.PIPE
    )

    def end() -> None:
        publisher.communicate()  # closes its standard input, which ends it
        stop.set()
        thread.join()
        executor.shutdown()
        node.destroy_node()

    stack.callback(end)
    thread.start()
    if not arriving.wait(DISCOVERY_S):
        raise UnavailableError(f"no message arrived within {DISCOVERY_S:g} s: is DDS blocked?")


def spin_timer(
    on_timer: Callable[[Any], None], period_ns: int, *, until: Callable[[], bool]
) -> None:
    """A node with one timer, spun in this thread. ``on_timer`` takes rclpy's TimerInfo."""
    rclpy = init()
    from rclpy.clock import Clock, ClockType
    from rclpy.executors import SingleThreadedExecutor
    from rclpy.timer import TimerInfo

    # The executor looks at the annotation of the callback to decide what to pass.
    def annotated(info: TimerInfo) -> None:
        on_timer(info)

    annotated.__annotations__["info"] = TimerInfo
    node = rclpy.create_node("benchmark_timer")
    node.create_timer(period_ns / 1e9, annotated, clock=Clock(clock_type=ClockType.STEADY_TIME))
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    try:
        while not until():
            executor.spin_once(timeout_sec=0.1)
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()


def publish() -> None:
    """Publishes to both topics at 500 Hz until standard input ends."""
    rclpy = init()
    from std_msgs.msg import Float64MultiArray

    node = rclpy.create_node("benchmark_publisher")
    publishers = [node.create_publisher(Float64MultiArray, topic, 10) for topic in TOPICS]
    message = Float64MultiArray(data=[0.5] * SMALL.n_inputs)
    ended = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    next_s = time.monotonic()
    while not ended.is_set():
        for publisher in publishers:
            publisher.publish(message)
        next_s = max(next_s + 1 / RATE_HZ, time.monotonic() - 0.1)
        time.sleep(max(0.0, next_s - time.monotonic()))
    node.destroy_node()
    rclpy.try_shutdown()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--publish", action="store_true", required=True)
    parser.parse_args()
    publish()
