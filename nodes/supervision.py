"""What a LoopNode does without a supervisor, and for one: autostart, on_fault, and its services."""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING

from rclpy.callback_groups import MutuallyExclusiveCallbackGroup, ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType
from std_srvs.srv import Trigger

from rtloop.errors import RtloopError

from .diagnostics import in_ros_words
from .states import Active, Changing, Finalized, Inactive

if TYPE_CHECKING:
    from .loop_node import LoopNode

LOOK_PERIOD_S = 0.1
LONGEST_RETRY_S = 30.0
#: A fault, with `on_fault: exit`: no other end of the process has this code.
EXIT_ON_FAULT = 5

_Answer = tuple[bool, str]


class Supervision:
    """Beside the node's own lifecycle services; it makes the same transitions."""

    def __init__(self, node: LoopNode) -> None:
        self._node = node
        self.is_starting: bool = node.parameters["autostart"]
        """Whether autostart has still to work for the first time."""
        self._pause_s: float = node.parameters["autostart_retry_s"]
        self._next_attempt_s = 0.0
        self._seen_fault = ""  # the activation whose fault was answered
        self.moving = threading.Lock()
        """Held over transitions that belong together: no stop is answered between two of them."""
        # One after the other: these make transitions, and wait for them.
        group = MutuallyExclusiveCallbackGroup()
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(LOOK_PERIOD_S, self._look, group, clock=steady)
        self._serve("rearm", self._rearm, group)
        # A stop must not wait for what it is to end, nor a dump for anything.
        self._serve("stop", self._stop, ReentrantCallbackGroup())
        self._serve("dump", self._dump, MutuallyExclusiveCallbackGroup())

    def _serve(
        self, name: str, action: Callable[[], _Answer], group: MutuallyExclusiveCallbackGroup
    ) -> None:
        def answer(_: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            try:
                response.success, response.message = action()
            except (RtloopError, OSError) as error:
                response.success, response.message = False, in_ros_words(str(error))
            except Exception as error:  # without an answer its client would wait for ever
                self._node.get_logger().error(traceback.format_exc())
                response.success, response.message = False, repr(error)
            return response

        self._node.create_service(Trigger, f"~/{name}", answer, callback_group=group)

    # --- without being asked ---

    def _look(self) -> None:
        if self._node.is_ending:
            return
        with self.moving:
            if self.is_starting:
                self._start()
            self._answer_fault()

    def _start(self) -> None:
        """One attempt, where it is time for one."""
        node = self._node
        if isinstance(node.state, Active | Finalized):  # somebody else has seen to it
            self.is_starting = False
        elif not isinstance(node.state, Changing) and time.monotonic() >= self._next_attempt_s:
            if not isinstance(node.state, Inactive):
                node.trigger_configure()
            if isinstance(node.state, Inactive) and self.is_starting:
                node.trigger_activate()
            if isinstance(node.state, Active):
                self.is_starting = False
            if self.is_starting:  # or a stop has ended that, too
                self._next_attempt_s = time.monotonic() + self._pause_s
                node.get_logger().debug(f"autostart: tried again in {self._pause_s:g} s")
                self._pause_s = max(min(2 * self._pause_s, LONGEST_RETRY_S), self._pause_s)

    def _answer_fault(self) -> None:
        """A loop in FAULT, once an activation."""
        node, state = self._node, self._node.state
        wish = node.parameters["on_fault"]
        if wish == "stay" or not isinstance(state, Active) or state.run.run_id == self._seen_fault:
            return
        try:
            faults = [fault for loop in state.run.loops.values() if (fault := loop.fault())]
        except RtloopError:
            return  # it is just being ended
        if not faults:
            return
        self._seen_fault = state.run.run_id
        why = f"on_fault: {wish}: {'; '.join(faults)}"
        node.get_logger().error(in_ros_words(why))
        node.reports.publish_state()  # while it can still be seen
        if wish == "exit":
            node.exit_code = EXIT_ON_FAULT
        else:
            node.change("deactivate")
            told = "; ".join(dict.fromkeys([*faults, *node.end_problems]))
            node.remember_failure(f"on_fault: {wish}: {told}")

    # --- for those who ask ---

    def _rearm(self) -> _Answer:
        """Deactivates where needed, clears what is latched, this once, and activates."""
        node = self._node
        with self.moving:
            node.settle()
            if isinstance(node.state, Active):
                node.change("deactivate")
            if not isinstance(node.state, Inactive):
                told = f"{node.state.label}: only a node that is inactive or active is rearmed"
                return False, told
            node.clears_once = True
            try:
                node.change("activate")
            finally:
                node.clears_once = False
            return isinstance(node.state, Active), self._said()

    def _stop(self) -> _Answer:
        """Ends the start that is under way, or the loops: safe command last. The devices stay open.

        False also where the loops have ended, and one of their devices, say, has not confirmed it.
        """
        node = self._node
        self.is_starting = False
        node.request_stop("~/stop")
        while not self.moving.acquire(timeout=LOOK_PERIOD_S):
            node.request_stop("~/stop")
        try:
            while isinstance(node.state, Changing):
                node.request_stop("~/stop")
                node.settle(LOOK_PERIOD_S)
            if isinstance(node.state, Active):
                node.change("deactivate")
            if isinstance(node.state, Inactive):
                node.state.run.forget_stop()  # where it came too late to end a start
            is_done = not (isinstance(node.state, Active) or node.end_problems)
            return is_done, self._said(*node.end_problems)
        finally:
            self.moving.release()

    def _dump(self) -> _Answer:
        """What the rings hold of the newest seconds, as a file; its path."""
        state = self._node.state
        if not isinstance(state, Active):
            return False, f"{state.label}: only an active node has anything in its rings"
        return True, str(state.run.dump())

    def _said(self, *besides: str) -> str:
        state = self._node.state
        texts = [state.failure, *(text for text in besides if text not in state.failure)]
        failed = in_ros_words("; ".join(filter(None, texts)))
        return f"{state.label}: {failed}" if failed else state.label
