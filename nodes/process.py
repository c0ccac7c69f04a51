"""The process of a LoopNode: its executor, its signals, its exit code."""

from __future__ import annotations

import queue
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import MultiThreadedExecutor
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.signals import SignalHandlerOptions

from rtloop.stopping import stop_signals

if TYPE_CHECKING:
    from .loop_node import LoopNode

LOOK_S = 0.1
#: One for each that may wait for a transition, and some that answer meanwhile.
THREADS = 8
#: Of a shutdown: another thread's transition may come first, and an error in one leads to another state.
ATTEMPTS = 3

_T = TypeVar("_T")


class MainThread:
    """Does what other threads ask for, which wait for it.

    What a transition does is done here: a signal strikes between any two packets, and also code of others that
    never looks whether it is to stop.
    """

    def __init__(self) -> None:
        # Not a SimpleQueue: a signal at the end of its wait makes CPython's wait without end.
        self._asked: queue.Queue[tuple[Future[Any], Callable[[], Any]]] = queue.Queue()
        self._ident = threading.get_ident()

    def do(self, step: Callable[[], _T]) -> _T:
        """Returns what the step returns, raises what it raises."""
        if threading.get_ident() == self._ident:
            return step()
        done: Future[_T] = Future()
        self._asked.put((done, step))
        return done.result()

    def serve(self, timeout_s: float) -> None:
        """Takes one step, if one is asked for in time."""
        try:
            done, step = self._asked.get(timeout=timeout_s)
        except queue.Empty:
            return
        try:
            done.set_result(step())
        except BaseException as error:
            done.set_exception(error)


def spin(make: Callable[[], LoopNode], arguments: Sequence[str] | None) -> int:
    """Runs the node until a signal, or until it has an exit code, which is returned.

    1: the newest end of its loops had problems; 2: wrong parameters.
    """
    signals: list[str] = []
    nodes: list[LoopNode] = []

    def handle(number: int, _frame: object) -> None:
        signals.append(signal.Signals(number).name)
        for node in nodes:
            node.request_stop(signals[0])

    for number in stop_signals():
        signal.signal(number, handle)
    # rclpy's own handlers would shut its context down before the node has left its states.
    rclpy.init(args=arguments, signal_handler_options=SignalHandlerOptions.NO)
    try:
        node = make()
    except ParameterException as error:
        print(f"rtloop: {error}", file=sys.stderr)
        rclpy.try_shutdown()
        return 2
    nodes.append(node)
    main = MainThread()
    node.do = main.do
    executor = MultiThreadedExecutor(THREADS)
    executor.add_node(node)
    over = threading.Event()
    thread = threading.Thread(target=_spin, args=(executor, over, node), name="executor")
    thread.start()
    try:
        while not signals and node.exit_code is None:
            main.serve(LOOK_S)
        node.is_ending = True
        _shut_down(node, main, signals[0] if signals else "on_fault")
    finally:
        over.set()
        thread.join()
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return node.exit_code or (1 if node.end_problems else 0)


def _shut_down(node: LoopNode, main: MainThread, by: str) -> None:
    for _ in range(ATTEMPTS):
        while not node.settle(0):  # another thread has still to be told how its transition went
            node.request_stop(by)
            main.serve(LOOK_S / 10)
        if node.state.label == "finalized":
            return
        with suppress(rclpy_implementation.RCLError):  # another thread has just begun one
            node.trigger_shutdown()


def _spin(executor: MultiThreadedExecutor, over: threading.Event, node: LoopNode) -> None:
    while not over.is_set():
        try:
            executor.spin_once(timeout_sec=LOOK_S)
        except Exception:  # of one callback, and the loops go on
            node.get_logger().error(traceback.format_exc())
