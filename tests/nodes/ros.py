"""What the tests of nodes share: the node as a process, and a client that drives it as any ROS 2 tool would."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

rclpy = pytest.importorskip(
    "rclpy", reason="no rclpy: source ROS 2's setup.bash, or pip install 'rtloop[ros]'"
)

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus  # noqa: E402
from lifecycle_msgs.srv import ChangeState, GetState  # noqa: E402
from rcl_interfaces.srv import GetParameters, SetParameters  # noqa: E402
from rclpy.context import Context  # noqa: E402
from rclpy.executors import SingleThreadedExecutor  # noqa: E402
from rclpy.parameter import Parameter, parameter_value_to_python  # noqa: E402
from rclpy.qos import DurabilityPolicy, QoSProfile  # noqa: E402
from std_msgs.msg import Float64MultiArray, String  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from rtloop.nodes.loop_node import LoopNode  # noqa: E402

__all__ = ["Client", "DiagnosticArray", "Float64MultiArray", "LoopNode", "NodeProcess", "Status"]

OK, WARN, ERROR, STALE = (
    DiagnosticStatus.OK,
    DiagnosticStatus.WARN,
    DiagnosticStatus.ERROR,
    DiagnosticStatus.STALE,
)
TIMEOUT_S = 30.0
LOOP = "balance"


class Status:
    """One DiagnosticStatus, its values by key."""

    def __init__(self, message: Any) -> None:
        self.level: bytes = message.level
        self.message: str = message.message
        self.hardware_id: str = message.hardware_id
        self.values: dict[str, str] = {pair.key: pair.value for pair in message.values}

    def __getitem__(self, key: str) -> int:
        return int(self.values[key])

    def __repr__(self) -> str:
        return f"{self.level!r} {self.message} {self.values}"


def runs(status: Status) -> bool:
    """Whether the loop was running; on a busy machine a soft loop misses a deadline now and then."""
    is_active = status.values["state"] == "active"
    return is_active and status.level in (OK, WARN) and status["executed"] > 0


class Client:
    """Drives ``/loop_node`` and listens to /diagnostics, in this process. A context manager."""

    def __init__(self) -> None:
        self.context = Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("test_client", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.statuses: list[Status] = []  # of the loop
        self.named: dict[str, list[Status]] = {}  # of everything
        self.node.create_subscription(DiagnosticArray, "/diagnostics", self._listen, 10)
        self._change_state = self.node.create_client(ChangeState, "/loop_node/change_state")
        self._set_parameters = self.node.create_client(SetParameters, "/loop_node/set_parameters")
        self._get_parameters = self.node.create_client(GetParameters, "/loop_node/get_parameters")
        self._triggers = {
            name: self.node.create_client(Trigger, f"/loop_node/{name}")
            for name in ("rearm", "stop", "dump", "start_recording", "stop_recording")
        }
        self.states: list[dict[str, Any]] = []  # what ~/state said
        latched = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.node.create_subscription(
            String, "/loop_node/state", lambda m: self.states.append(json.loads(m.data)), latched
        )
        # The last one: once it is answered, the node has met the others too.
        self._get_state = self.node.create_client(GetState, "/loop_node/get_state")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_error: object) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)

    def request(self, transition: str) -> bool:
        """Whether the node made the transition."""
        request = ChangeState.Request()
        request.transition.label = transition
        return bool(self._call(self._change_state, request).success)

    def ask(self, transition: str) -> None:
        """For a transition that may never be answered."""
        assert self.state, "asked first, so that the request finds its way"
        request = ChangeState.Request()
        request.transition.label = transition
        self._change_state.call_async(request)

    @property
    def state(self) -> str:
        found = ""

        def answered() -> bool:
            nonlocal found
            # An answer to a client that the node has not met yet is lost: ask again.
            future = self._get_state.call_async(GetState.Request())
            self.executor.spin_until_future_complete(future, timeout_sec=1.0)
            found = future.result().current_state.label if future.done() else ""
            return bool(found)

        self.spin_until(answered, "the node tells its state")
        return found

    def parameter(self, name: str) -> Any:
        """The value that the node has."""
        (value,) = self._call(self._get_parameters, GetParameters.Request(names=[name])).values
        return parameter_value_to_python(value)

    @property
    def state_told(self) -> str:
        """The newest on ~/state; empty before the first."""
        return str(self.states[-1]["state"]) if self.states else ""

    def set_parameter(self, name: str, value: Any) -> None:
        assert (reason := self.refusal(name, value)) == "", reason

    def refusal(self, name: str, value: Any) -> str:
        """Why the node refuses a value; empty where it takes it."""
        parameter = Parameter(name, value=value).to_parameter_msg()
        request = SetParameters.Request(parameters=[parameter])
        (result,) = self._call(self._set_parameters, request).results
        return "" if result.successful else str(result.reason)

    def trigger(self, service: str) -> tuple[bool, str]:
        """Calls ``~/service`` of the node; what it answers."""
        answer = self._call(self._triggers[service], Trigger.Request())
        return bool(answer.success), str(answer.message)

    def status_when(self, condition: Callable[[Status], bool], what: str) -> Status:
        """The first status published from now on that fulfils the condition."""
        self.statuses.clear()

        def found() -> bool:
            return any(condition(status) for status in self.statuses)

        self.spin_until(found, lambda: f"{what}; /diagnostics said: {self.statuses}")
        return next(status for status in self.statuses if condition(status))

    def named_when(self, name: str, condition: Callable[[Status], bool]) -> Status:
        """The first status of that name published from now on that fulfils the condition."""
        self.named.clear()

        def found() -> list[Status]:
            return [status for status in self.named.get(name, []) if condition(status)]

        self.spin_until(lambda: bool(found()), lambda: f"{name}; /diagnostics said: {self.named}")
        return found()[0]

    def spin_until(self, condition: Callable[[], bool], what: str | Callable[[], str]) -> None:
        """``what`` is asked for when it did not happen: it may tell what did instead."""
        end_s = time.monotonic() + TIMEOUT_S
        while not condition():
            if time.monotonic() > end_s:
                told = what if isinstance(what, str) else what()
                raise AssertionError(f"did not happen within {TIMEOUT_S} s: {told}")
            self.executor.spin_once(timeout_sec=0.05)

    def _call(self, client: Any, request: Any) -> Any:
        assert self.state, "asked first, so that the answer finds its way"
        future = client.call_async(request)
        self.spin_until(future.done, f"{client.srv_name} answers")
        return future.result()

    def _listen(self, message: Any) -> None:
        for status in message.status:
            told = Status(status)
            self.named.setdefault(status.name, []).append(told)
            if status.name == f"/loop_node: {LOOP}":
                self.statuses.append(told)


class NodeProcess:
    """A running loop_node, or a ``program`` that makes one. What it logs goes to a file."""

    def __init__(
        self,
        folder: Path,
        *arguments: str,
        program: Sequence[str] = ("-m", "rtloop.nodes.loop_node"),
        **parameters: object,
    ) -> None:
        self._log = folder / "loop_node.log"
        command = [sys.executable, "-X", "faulthandler", *program, "--ros-args", *arguments]
        for name, value in {"diagnostics_rate_hz": 5.0, **parameters}.items():
            command += ["-p", f"{name}:={value}"]
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)

    @property
    def log(self) -> str:
        return self._log.read_text()

    def end(self, number: int = signal.SIGINT) -> int:
        """Signals the process and waits; its exit code. Of one that stays the log says what its threads do."""
        self.process.send_signal(number)
        try:
            return self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGABRT)
            self.process.wait(TIMEOUT_S)
            raise AssertionError(f"it did not end within {TIMEOUT_S} s: {self.log}") from None


@contextmanager
def loop_node(folder: Path, *arguments: str, **parameters: Any) -> Iterator[NodeProcess]:
    """A node process, which ends well unless the test has ended it."""
    node = NodeProcess(folder, *arguments, **parameters)
    try:
        yield node
        if node.process.poll() is None:
            assert node.end() == 0, node.log
        assert "Traceback" not in node.log
    finally:
        if node.process.poll() is None:
            node.process.kill()
            node.process.wait()


@contextmanager
def loop_node_here(
    client: Client, name: str = "loop_node", executor: Any = None, **parameters: Any
) -> Iterator[tuple[LoopNode, Any]]:
    """A LoopNode in this process and the executor that a thread spins for it, to add other nodes to.

    With the executor of another one it is added to that.
    """
    given = {"diagnostics_rate_hz": 5.0, "record": False, **parameters}
    node = LoopNode(
        name,
        context=client.context,
        parameter_overrides=[Parameter(name, value=value) for name, value in given.items()],
    )
    if executor is not None:
        executor.add_node(node)
        try:
            yield node, executor
        finally:
            executor.remove_node(node)
            node.destroy_node()
        return
    executor = SingleThreadedExecutor(context=client.context)
    executor.add_node(node)
    stop = threading.Event()

    def spin() -> None:
        while not stop.is_set():
            executor.spin_once(timeout_sec=0.05)

    thread = threading.Thread(target=spin, name="executor")
    thread.start()
    try:
        yield node, executor
    finally:
        stop.set()
        thread.join()
        executor.shutdown()
        node.destroy_node()
