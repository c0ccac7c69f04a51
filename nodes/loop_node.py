"""The loops of one configuration as a ROS 2 lifecycle node.

    ros2 run rtloop loop_node --ros-args -p config:=robot.yaml

The cycles run on the core's own threads. This node starts and ends them and reads their rings, like every
other observer; however busy its executor is, they do not notice.
"""

from __future__ import annotations

import functools
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.lifecycle import (
    LifecycleNode,
    LifecycleNodeMixin,
    LifecycleState,
    TransitionCallbackReturn,
)
from rclpy.node import Node

from rtloop.config import Config, load, with_devices
from rtloop.errors import ConfigError, RtloopError
from rtloop.realtime.rights import denied
from rtloop.run import Run
from rtloop.telemetry.observe.summary import RunSummary

from .declaration import Declaration
from .diagnostics import in_ros_words
from .graph import RclpyGraph
from .news import News
from .process import spin
from .reports import Reports
from .sim_time import SimTime
from .states import Active, Changing, Finalized, Inactive, State, Unconfigured
from .supervision import Supervision

NODE_NAME = "loop_node"
LOOK_S = 0.01
#: Who deactivates the node waits for the recording so long, and no longer.
LEAVE_RECORDER_AFTER_S = 3.0
#: What rclpy calls the states in which a transition may begin.
_PRIMARY = ("unconfigured", "inactive", "active", "finalized")
#: The transitions that a request to stop ends.
_STARTS = ("configuring", "activating")

_Step = Callable[["LoopNode"], State]
_Transition = Callable[["LoopNode", LifecycleState], TransitionCallbackReturn]


def _transition(label: str) -> Callable[[_Step], _Transition]:
    """Of what a transition does, which returns the state that it leads to, a callback of rclpy's.

    An RtloopError fails the transition: the state stays. Anything else, which rclpy would swallow, is an
    error: see ``on_error``.
    """

    def decorated(step: _Step) -> _Transition:
        @functools.wraps(step)
        def made(self: LoopNode, state: LifecycleState) -> TransitionCallbackReturn:
            before = self.state
            error = before.failure if isinstance(before, Changing) else ""
            self._asked_by = ""
            self._enter(Changing(label, before.run, error))
            # Whoever ends the node after this look requests a stop of what he sees by now.
            if self.is_ending and label not in ("shuttingdown", "errorprocessing"):
                self._enter(before)
                return TransitionCallbackReturn.FAILURE
            try:
                after = self.do(functools.partial(step, self))
            except RtloopError as failed:
                self._tell_failure(str(failed))
                self._enter(replace(before, failure=str(failed)))
                return TransitionCallbackReturn.FAILURE
            except Exception as failed:
                self._tell_failure(traceback.format_exc())
                self._enter(replace(self.state, failure=repr(failed)))
                return TransitionCallbackReturn.ERROR
            self._enter(after)
            # Publishers that are silent while the node is not active.
            return getattr(LifecycleNode, step.__name__)(self, state)

        return made

    return decorated


class LoopNode(LifecycleNode):
    """Runs the loops of the file that the parameter ``config`` names.

    Configure opens the devices, activate arms them and starts the cycles, deactivate ends them, safe command
    last. A loop in FAULT leaves the node as ``on_fault`` says, active at first, with ERROR in /diagnostics:
    deactivate and activate reset it. Each activation is one recording; the devices stay open until cleanup.

    Any number of them may be in one process and in one executor. With a MultiThreadedExecutor it answers while
    a transition is under way; with any other it answers afterwards.
    """

    def __init__(self, node_name: str = NODE_NAME, **options: Any) -> None:
        """``options`` are those of rclpy's ``Node``. Raises its ParameterException for a wrong parameter."""
        # Not LifecycleNode's: its state is asked for while a transition runs, so these services are reentrant.
        Node.__init__(self, node_name, **options)
        LifecycleNodeMixin.__init__(self, callback_group=ReentrantCallbackGroup())
        self.state: State = Unconfigured()
        self.exit_code: int | None = None
        """Of the process that is this node's own, once it is to end; None: until a signal."""
        self.is_ending = False
        self.do: Callable[[Callable[[], State]], State] = lambda step: step()
        """Does what a transition does, in the thread that is there for it."""
        self.end_problems: tuple[str, ...] = ()
        """Of the newest end of the loops, until they are configured or activated anew."""
        self.clears_once = False
        """Whether the next activation may clear a device that is latched SAFE."""
        self._asked_by = ""  # to stop the transition that is under way
        self._told_failures: set[str] = set()
        self.parameters = Declaration(self, lambda: self.state.label)
        self.reports = Reports(self, self.parameters, lambda: self.state)
        self.news = News(self)
        self.sim_time = SimTime(self)
        self.supervision = Supervision(self)
        self.reports.publish_state()

    # --- lifecycle ---

    @_transition("configuring")
    def on_configure(self) -> State:
        config = self._load()
        run = Run(
            config,
            config.path.stem,
            graph=RclpyGraph(self),
            leave_recorder_after_s=LEAVE_RECORDER_AFTER_S,
            timing=self.sim_time.timing(),
        )
        self._enter(Changing("configuring", run))
        if self._asked_by:
            run.request_stop(self._asked_by)
        run.configure()
        for name, link in config.links.items():
            self.get_logger().info(f"link '{name}': {link.device}")
        self.end_problems = ()
        return Inactive(run)

    @_transition("activating")
    def on_activate(self) -> State:
        run = self._run()
        run.clear = self.clears_once
        run.record = None if self.parameters["record"] else False
        run.activate()
        for name, loop in run.config.loops.items():
            self.get_logger().info(
                f"{name}: active, {loop.loop_class}, {loop.nominal_rate_hz:g} Hz, "
                f"deadline {loop.deadline_ns / 1e6:g} ms"
            )
        for right in denied(run.rights):
            self.get_logger().warning(f"not granted: {right}")
        with self._told_of():
            self.news.attach(run)
        self._told_failures.clear()
        self.end_problems = ()
        return Active(run)

    @_transition("deactivating")
    def on_deactivate(self) -> State:
        run = self._run()
        self._deactivate(run)
        # A cycle that never returned still holds what a new one would use.
        if hung := [name for name, loop in run.loops.items() if loop.hangs]:
            told = "; ".join(self.end_problems)
            raise RuntimeError(f"a cycle of {', '.join(hung)} never returned: {told}")
        return Inactive(run, failure="; ".join(self.end_problems))

    @_transition("cleaningup")
    def on_cleanup(self) -> State:
        return Unconfigured(failure=self._forget())

    @_transition("shuttingdown")
    def on_shutdown(self) -> State:
        return Finalized(failure=self._forget())

    @_transition("errorprocessing")
    def on_error(self) -> State:
        failure = self.state.failure
        return Unconfigured(failure="; ".join(filter(None, (failure, self._forget()))))

    # --- from other threads ---

    def request_stop(self, by: str) -> None:
        """Ends a transition that configures or activates before anything moves. Safe from a signal handler."""
        state = self.state
        if isinstance(state, Changing) and state.label in _STARTS:
            self._asked_by = by
            if (run := self.state.run) is not None:  # looked for after that was said
                run.request_stop(by)

    def settle(self, timeout_s: float = float("inf")) -> bool:
        """Waits for the end of a transition that another thread makes; whether it came in time."""
        end_s = time.monotonic() + timeout_s
        while self._state_machine.current_state[1] not in _PRIMARY:
            if time.monotonic() > end_s:
                return False
            time.sleep(LOOK_S)
        return True

    def change(self, transition: str) -> None:
        """Makes a transition, after the one that another thread makes; none where that led elsewhere."""
        self.settle()
        getattr(self, f"trigger_{transition}")()
        self.settle()  # where another thread was first after all

    def remember_failure(self, text: str) -> None:
        """Why the node is where it is, until the next transition, which may have begun."""
        with self.reports.looking:
            if isinstance(self.state, Unconfigured | Inactive):
                self.state = replace(self.state, failure=text)
        self.reports.publish_state()

    def destroy_node(self) -> None:
        self.is_ending = True
        self._forget()
        self.state = Finalized()
        super().destroy_node()

    # --- inside ---

    def _enter(self, state: State) -> None:
        with self.reports.looking:  # nobody looks at a run while it changes
            self.state = state
        self.reports.publish_state()

    def _tell_failure(self, text: str) -> None:
        """Autostart says once why it has to try again."""
        text = in_ros_words(text)
        if not (self.supervision.is_starting and text in self._told_failures):
            self.get_logger().error(text)
        self._told_failures.add(text)

    def _load(self) -> Config:
        path = self.parameters["config"]
        if not path:
            raise ConfigError(
                "the parameter config is empty; name a YAML file: --ros-args -p config:=robot.yaml"
            )
        config = load(Path(path))
        for link in config.links:
            self.parameters[f"links.{link}.device"]  # there, to be changed, from now on
        given = {
            link: self.parameters[f"links.{link}.device"]
            for link in self.parameters.given_devices()
        }
        config = with_devices(config, {link: device for link, device in given.items() if device})
        if directory := self.parameters["recording_directory"]:
            recording = config.recording.with_values(directory=directory)
            config = config.with_values(recording=recording)
        return config

    def _run(self) -> Run:
        if self.state.run is None:
            raise RtloopError("the node is not configured")
        return self.state.run

    def _deactivate(self, run: Run) -> None:
        summary = run.deactivate()  # first of all the safe command
        self.end_problems = summary.problems
        with self._told_of():
            self.news.detach()
        with self._told_of():
            self._tell(run, summary)

    @contextmanager
    def _told_of(self) -> Iterator[None]:
        """What is told of loops inside may fail; they do not."""
        try:
            yield
        except Exception:
            self.get_logger().error(f"this cannot be told: {traceback.format_exc()}")

    def _tell(self, run: Run, summary: RunSummary) -> None:
        for problem in summary.problems:
            self.get_logger().error(in_ros_words(problem))
        for name, loop in summary.loops.items():
            self.get_logger().info(
                f"{name}: {loop.executed} cycles executed, {loop.skipped} skipped, "
                f"{loop.misses} {loop.loop_class} deadline misses"
            )
            for failure in loop.failures:
                self.get_logger().error(f"{name}: {in_ros_words(failure)}")
        if run.is_recorded:
            self.get_logger().info(f"recording: {run.recording}")
        elif run.still_writing is not None:
            self.get_logger().warning(
                f"recording: process {run.still_writing} is still writing {run.recording}"
            )

    def _forget(self) -> str:
        """Lets the run go, active or not; what went wrong with that, of which nothing is left to be done."""
        run = self.state.run
        if run is None:
            return ""
        problems: tuple[str, ...] = ()
        try:
            if run.state == "active":
                self._deactivate(run)
                problems = self.end_problems
        finally:
            try:
                run.cleanup()
            except RtloopError as error:
                problems += (str(error),)
                self.end_problems += (str(error),)
                self._tell_failure(str(error))
        return "; ".join(problems)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the node until SIGINT, SIGTERM or SIGHUP, which ends the loops first, or their start.

    Returns the exit code: 0, 1 when the newest end of the loops had problems, 2 for wrong parameters, or 5
    after a fault with ``on_fault: exit``.
    """
    return spin(LoopNode, arguments)


if __name__ == "__main__":
    sys.exit(main())
