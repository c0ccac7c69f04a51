"""What disturbs a loop from inside its own process."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

KINDS = ("nothing", "python", "rclpy")


@dataclass
class Disturbance:
    messages: int = 0
    """Received so far."""


def start(stack: ExitStack, kind: str, put: Callable[[NDArray[np.float32]], None]) -> Disturbance:
    """Starts it until ``stack`` unwinds. ``put`` takes the sensor samples that it receives."""
    disturbance = Disturbance()
    if kind == "python":
        _start_busy_thread(stack)
    elif kind == "rclpy":
        from benchmarks import ros

        def receive(values: NDArray[np.float32]) -> None:
            put(values)
            disturbance.messages += 1

        ros.start_subscriptions(stack, receive)
    return disturbance


def _start_busy_thread(stack: ExitStack) -> None:
    """A Python thread that never lets go of the interpreter by itself."""
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            pass

    thread = threading.Thread(target=spin, name="busy-python")

    def end() -> None:
        stop.set()
        thread.join()

    thread.start()
    stack.callback(end)
