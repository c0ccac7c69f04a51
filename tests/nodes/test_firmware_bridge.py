"""firmware_bridge as a process, over real DDS, before the firmware program: on topics, and by its services."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rtloop.demos.firmware import TRANSPORTS, FirmwareProcess
from tests.cable import Cable
from tests.nodes.ros import ERROR, OK, WARN, Float64MultiArray, Status, rclpy
from tests.running import UNDISTURBED, firmware

from diagnostic_msgs.msg import DiagnosticArray  # isort: skip
from lifecycle_msgs.msg import TransitionEvent  # isort: skip
from lifecycle_msgs.srv import ChangeState  # isort: skip
from rcl_interfaces.srv import SetParameters  # isort: skip
from rclpy.context import Context  # isort: skip
from rclpy.executors import SingleThreadedExecutor  # isort: skip
from rclpy.parameter import Parameter  # isort: skip
from rclpy.qos import DurabilityPolicy, QoSProfile  # isort: skip
from std_msgs.msg import String  # isort: skip
from std_srvs.srv import Trigger  # isort: skip

TIMEOUT_S = 30.0


class Bench:
    """The node in a namespace of its own, and a client of its topics and services. A context manager."""

    def __init__(self, folder: Path, namespace: str = "bench") -> None:
        self.name = f"/{namespace}/firmware_bridge"
        self._log = folder / "firmware_bridge.log"
        command = [sys.executable, "-m", "rtloop.nodes.firmware_bridge", "--ros-args"]
        command += ["-r", f"__ns:=/{namespace}", "-p", "diagnostics_rate_hz:=10"]
        self.context = Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node(f"test_{namespace}", context=self.context)
        self.executor = SingleThreadedExecutor(context=self.context)
        self.executor.add_node(self.node)
        self.sensors: list[Any] = []
        self.states: list[str] = []
        self.events: list[Status] = []
        self.statuses: list[Status] = []
        self.entered: list[str] = []
        kept = QoSProfile(depth=10, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        listen = self.node.create_subscription
        listen(Float64MultiArray, f"{self.name}/sensors", self.sensors.append, 10)
        listen(String, f"{self.name}/state", lambda m: self.states.append(m.data), kept)
        listen(DiagnosticArray, f"{self.name}/events", lambda m: self._take(m, self.events), 100)
        listen(DiagnosticArray, "/diagnostics", lambda m: self._take(m, self.statuses), 10)
        listen(
            TransitionEvent,
            f"{self.name}/transition_event",
            lambda m: self.entered.append(m.goal_state.label),
            10,
        )
        self._commands = self.node.create_publisher(Float64MultiArray, f"{self.name}/command", 1)
        self._change = self.node.create_client(ChangeState, f"{self.name}/change_state")
        self._parameters = self.node.create_client(SetParameters, f"{self.name}/set_parameters")
        self._services = {
            name: self.node.create_client(Trigger, f"{self.name}/{name}")
            for name in ("arm", "stop", "clear")
        }
        # Last: what is there already is found at once, by who comes.
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder)

    def __enter__(self) -> Bench:
        self.until(
            lambda: all(
                client.service_is_ready()
                for client in (self._change, self._parameters, *self._services.values())
            ),
            "the node is there",
        )
        return self

    @contextmanager
    def configured(self, device: object, command_hold_ms: float = 60_000) -> Iterator[None]:
        """From configure to cleanup; what was heard before is forgotten."""
        self.set(device=str(device), command_hold_ms=command_hold_ms)
        for heard in (self.sensors, self.states, self.events, self.statuses):
            heard.clear()
        assert self.change("configure"), self.log
        yield
        assert self.change("cleanup") or (self.change("deactivate") and self.change("cleanup"))

    def set(self, **values: object) -> None:
        parameters = [Parameter(n, value=v).to_parameter_msg() for n, v in values.items()]
        request = SetParameters.Request(parameters=parameters)
        assert all(r.successful for r in self._answered(self._parameters, request).results)

    def __exit__(self, kind: object, *_error: object) -> None:
        self.executor.shutdown()
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)
        try:
            if kind is None and self.process.poll() is None:
                assert self.end() == 0, self.log
            assert "Traceback" not in self.log, self.log
        finally:
            self.process.kill()
            self.process.wait()

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def state(self) -> str:
        return self.states[-1] if self.states else ""

    def end(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(TIMEOUT_S)

    def change(self, transition: str) -> bool:
        return bool(self._answered(self._change, _change_of(transition)).success)

    def begin(self, transition: str) -> None:
        """For one that may never be answered."""
        self._change.call_async(_change_of(transition))

    def call(self, name: str) -> tuple[bool, str]:
        answer = self._answered(self._services[name], Trigger.Request())
        return answer.success, answer.message

    def command(self, *values: float) -> None:
        self.until(lambda: self._commands.get_subscription_count() > 0, "somebody listens")
        self._commands.publish(Float64MultiArray(data=values))

    def status_when(self, condition: Callable[[Status], bool], what: str) -> Status:
        self.statuses.clear()
        self.until(lambda: any(map(condition, self.statuses)), what)
        return next(filter(condition, self.statuses))

    def until(self, condition: Callable[[], bool], what: str) -> None:
        end_s = time.monotonic() + TIMEOUT_S
        while not condition():
            assert self.process.poll() is None, self.log
            assert time.monotonic() < end_s, f"{what}: {self.states} {self.events} {self.log}"
            self.executor.spin_once(timeout_sec=0.05)

    def _answered(self, client: Any, request: Any) -> Any:
        future = client.call_async(request)
        self.until(future.done, f"{client.srv_name} answers")
        return future.result()

    def _take(self, message: Any, kept: list[Status]) -> None:
        kept += [Status(s) for s in message.status if s.name == f"{self.name}: cartpole"]


def _change_of(transition: str) -> Any:
    request = ChangeState.Request()
    request.transition.label = transition
    return request


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory, _ros_environment: None) -> Iterator[Bench]:
    with Bench(tmp_path_factory.mktemp("bench")) as bench:
        yield bench


@contextmanager
def upright(folder: Path, *arguments: str) -> Iterator[FirmwareProcess]:
    with firmware(folder, *UNDISTURBED, "--rate-hz", "200", *arguments) as device:
        yield device


@pytest.mark.parametrize("transport", ["serial", "zmq", "udp"])
def test_a_device_is_on_topics_and_moved_by_one(
    tmp_path: Path, bench: Bench, transport: str
) -> None:
    inactive = (False, "the node is not active: configure and activate it first")
    with upright(tmp_path, *TRANSPORTS[transport]) as device:
        assert bench.call("arm") == inactive
        with bench.configured(device.device):
            bench.until(lambda: bench.state == "IDLE", "the state, inactive")
            assert bench.call("arm") == inactive
            assert bench.status_when(lambda s: True, "it is told of").message == "inactive"
            assert bench.sensors == []
            assert bench.change("activate"), bench.log
            bench.until(lambda: len(bench.sensors) > 5, "samples")
            (labels,) = bench.sensors[0].layout.dim
            assert labels.label == "cart_position,cart_velocity,pole_angle,pole_rate"
            assert len(bench.sensors[0].data) == 4

            is_armed, told = bench.call("arm")
            assert is_armed, told
            bench.command(0.5)
            bench.until(lambda: bench.state == "ACTIVE", "it obeys")
            first = bench.sensors[-1].data[0]
            bench.until(lambda: bench.sensors[-1].data[0] > first, "it moves")
            driven = bench.status_when(lambda s: s.level == OK, "all is well")
            assert (driven.message, driven.values["armed"]) == ("ACTIVE", "True")
            assert driven["commands"] == 1
            assert bench.change("deactivate"), bench.log
            bench.until(lambda: bench.state == "SAFE: HOST_STOP", "the end is a STOP")
        told_by_device = device.stop()
    assert (told_by_device["state"], told_by_device["reasons"]) == ("SAFE", ["HOST_STOP"])


def test_what_is_no_command_is_refused_and_told(tmp_path: Path, bench: Bench) -> None:
    with upright(tmp_path) as device, bench.configured(device.link):
        assert bench.change("activate")
        for values, told in (
            ((1.0, 2.0), "found 2 values; expected 1: force"),
            ((float("nan"),), "found nan for force; expected a finite number of 32 bits"),
            ((1.0,), "the device is not armed: call ~/arm first"),
        ):
            bench.command(*values)
            refused = bench.status_when(lambda s: s.level == WARN, "it is told")
            assert refused.message == f"a command was refused: {told}"
        assert "~/command refused: found 2 values; expected 1: force" in bench.log
        assert bench.call("arm")[0]
        bench.until(lambda: bench.state == "ARMED", "nothing from before moved it")


def test_silence_of_who_commands_latches_until_clear_is_called(
    tmp_path: Path, bench: Bench
) -> None:
    with upright(tmp_path) as device, bench.configured(device.link, 150):
        assert bench.change("activate")
        assert bench.call("arm")[0]
        bench.command(0.1)
        bench.until(lambda: bench.state == "SAFE: COMMAND_TIMEOUT", "the hold ends")
        bench.until(lambda: any(e.values["event"] == "held" for e in bench.events), "it is told")
        assert bench.status_when(lambda s: True, "it is told of").level == ERROR
        is_armed, told = bench.call("arm")
        assert not is_armed
        assert "call ~/clear" in told
        assert bench.call("clear")[0]
        bench.until(lambda: bench.state == "IDLE", "it is cleared")
        assert bench.call("arm")[0]
        assert bench.call("stop") == (True, "cartpole is SAFE: HOST_STOP")


def test_a_cable_that_comes_back_and_an_emergency_stop(tmp_path: Path, bench: Bench) -> None:
    with (
        upright(tmp_path) as device,
        Cable(tmp_path / "cable", device.link) as cable,
        bench.configured(cable.path),
    ):
        assert bench.change("activate")
        assert bench.call("arm")[0]
        cable.unplug()
        bench.until(lambda: bench.state == "LOST", "the loss")
        lost = bench.status_when(lambda s: s.level == ERROR, "an error")
        assert "is being looked for" in lost.message
        cable.plug_in()
        bench.until(lambda: bench.state == "SAFE: HOST_STOP", "it is found, and not armed")
        before = len(bench.sensors)
        bench.until(lambda: len(bench.sensors) > before, "samples again")
        assert bench.call("arm")[0]
        os.kill(device.pid, signal.SIGUSR2)
        bench.until(lambda: bench.state == "SAFE: HARDWARE", "it is pressed")
        bench.until(
            lambda: any(e.level == ERROR and "HARDWARE" in e.message for e in bench.events),
            "the event",
        )


def test_fewer_samples_are_published_than_come_and_a_signal_is_a_stop(tmp_path: Path) -> None:
    with upright(tmp_path) as device:
        with Bench(tmp_path, "signalled") as bench:
            bench.set(publish_rate_max_hz=20)
            bench.set(device=str(device.link))
            assert bench.change("configure")
            assert bench.change("activate")
            assert bench.call("arm")[0]
            came = bench.status_when(lambda s: s["samples"] > 100, "samples")["samples"]
            assert 0 < len(bench.sensors) < came / 4
            assert bench.end(signal.SIGTERM) == 0
        told = device.stop()
    assert (told["state"], told["reasons"]) == ("SAFE", ["HOST_STOP"])


def test_a_signal_in_the_midst_of_a_transition_is_obeyed_after_it(tmp_path: Path) -> None:
    with upright(tmp_path) as device, Bench(tmp_path, "interrupted") as bench:
        bench.set(device=str(device.link))
        assert bench.change("configure")
        assert bench.change("activate")
        os.kill(device.pid, signal.SIGSTOP)  # its STOP is not confirmed, which takes a second
        try:
            bench.begin("deactivate")
            bench.until(lambda: "deactivating" in bench.entered, "it has begun")
            assert bench.end() == 0, bench.log
        finally:
            os.kill(device.pid, signal.SIGCONT)
        assert "did not confirm STOP" in bench.log


def test_what_cannot_be_configured_is_told_in_words(tmp_path: Path, bench: Bench) -> None:
    nothing = tmp_path / "nothing"
    bench.set(device=str(nothing), command_hold_ms=-1)
    assert not bench.change("configure")
    assert "command_hold_ms: found -1; expected a number from 0 to 60000" in bench.log
    bench.set(command_hold_ms=100)
    assert not bench.change("configure")
    assert f"there is no {nothing}" in bench.log
