"""Transitions of a loop_node that meet: each test is the thread that comes at the worst moment."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rtloop.config import Config, load
from rtloop.errors import StoppedError
from rtloop.loop import Loop
from rtloop.run import Run
from tests.nodes.ros import Client, LoopNode
from tests.nodes.test_diagnostics import LOOP
from tests.running import POLICY

from rclpy.parameter import Parameter  # isort: skip
from rosgraph_msgs.msg import Clock  # isort: skip

OVERTAKEN = """
import sys, time
from rtloop.nodes.loop_node import LoopNode
from rtloop.nodes.process import spin

class Overtaken(LoopNode):
    is_overtaken = False

    def trigger_shutdown(self):
        if not self.is_overtaken:
            self.is_overtaken = True
            self.executor.create_task(super().trigger_shutdown)
            while self._state_machine.current_state[1] != "shuttingdown":
                time.sleep(0.01)
        return super().trigger_shutdown()

def make():
    node = Overtaken()
    node.exit_code = 7
    return node

sys.exit(spin(make, None))
"""


@pytest.fixture
def node(tmp_path: Path) -> Iterator[LoopNode]:
    """One that nobody spins, of a loop without a device: its transitions are those of the test."""
    config = tmp_path / "loop.yaml"
    config.write_text(LOOP.format(policy=POLICY))
    given = {"config": str(config), "record": False}
    with Client() as client:
        node = LoopNode(
            context=client.context,
            parameter_overrides=[Parameter(name, value=value) for name, value in given.items()],
        )
        yield node
        node.destroy_node()


def test_a_process_ends_although_another_thread_shuts_its_node_down() -> None:
    done = subprocess.run(
        [sys.executable, "-c", OVERTAKEN], capture_output=True, text=True, timeout=30
    )
    assert done.returncode == 7, done.stderr
    assert "Traceback" not in done.stderr


def test_a_node_that_is_ending_begins_nothing_else(node: LoopNode) -> None:
    node.trigger_configure()
    node.trigger_activate()
    node.is_ending = True
    node.trigger_deactivate()
    assert node.state.label == "active"
    node.trigger_shutdown()
    assert node.state.label == "finalized"


def test_a_start_that_begins_as_the_node_ends_goes_no_further(
    node: LoopNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    enter = node._enter

    def ending(state: Any) -> None:
        enter(state)
        node.is_ending = True

    monkeypatch.setattr(node, "_enter", ending)
    node.trigger_configure()
    assert node.state.label == "unconfigured"


class Stop(threading.Thread):
    """Calls ~/stop."""

    def __init__(self, node: LoopNode) -> None:
        super().__init__()
        self._node = node
        self.answer: tuple[bool, str] | None = None

    def run(self) -> None:
        self.answer = self._node.supervision._stop()


@pytest.mark.parametrize("by", ["rearm", "clock"])
def test_a_stop_between_two_transitions_is_not_undone_by_the_second(
    node: LoopNode, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    node.set_parameters([Parameter("use_sim_time", value=by == "clock")])
    node.trigger_configure()
    if by == "clock":
        node.sim_time._tick(Clock())
        node.sim_time._tick(at_s(2))
    node.trigger_activate()
    change, stop, made = node.change, Stop(node), []

    def interrupted(transition: str) -> Any:
        done = change(transition)
        made.append(transition)
        if made == ["deactivate"]:
            stop.start()
            stop.join(0.5)  # whoever does not wait is answered by then
        return done

    monkeypatch.setattr(node, "change", interrupted)
    if by == "clock":
        node.sim_time._tick(at_s(1))
    else:
        node.supervision._rearm()
    stop.join()
    assert made[0] == "deactivate"
    assert stop.answer is not None
    assert stop.answer[0]
    assert node.state.label == "inactive"


def at_s(seconds: int) -> Clock:
    message = Clock()
    message.clock.sec = seconds
    return message


def test_a_fault_is_answered_between_no_two_transitions(
    node: LoopNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.set_parameters([Parameter("on_fault", value="deactivate")])
    node.trigger_configure()
    node.trigger_activate()
    monkeypatch.setattr(Loop, "fault", lambda _: "a fault")
    looking = threading.Thread(target=node.supervision._look)
    with node.supervision.moving:  # as a ~/stop has it, or a clock that jumped
        looking.start()
        looking.join(0.5)
        assert node.state.label == "active"
    looking.join()
    assert node.state.label == "inactive"
    assert node.state.failure == "on_fault: deactivate: a fault"


def test_a_stop_that_another_thread_overtakes_is_answered_after_it(
    node: LoopNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    settle, deactivate = node.settle, Run.deactivate
    other = threading.Thread(target=node.trigger_deactivate)
    has_begun = threading.Event()

    def slow(run: Run) -> Any:
        has_begun.set()
        time.sleep(0.3)
        return deactivate(run)

    def overtaken(timeout_s: float = float("inf")) -> bool:
        settled = settle(timeout_s)
        if not has_begun.is_set():
            other.start()
            has_begun.wait()
        return settled

    node.trigger_configure()
    node.trigger_activate()
    monkeypatch.setattr(Run, "deactivate", slow)
    monkeypatch.setattr(node, "settle", overtaken)
    assert node.supervision._stop() == (True, "inactive")
    other.join()


def test_a_stop_says_what_its_success_is_denied_for(
    node: LoopNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(_: Run) -> None:
        raise StoppedError("stopped by ~/stop before it started")

    node.trigger_configure()
    node.trigger_activate()
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "fault", lambda _: "a fault")
        node.trigger_deactivate()
    assert node.supervision._stop() == (False, "inactive: a fault")
    with monkeypatch.context() as patch:
        patch.setattr(Run, "activate", stopped)
        node.trigger_activate()
    told = "inactive: stopped by ~/stop before it started; a fault"
    assert node.supervision._stop() == (False, told)
    node.trigger_activate()
    assert node.supervision._stop() == (True, "inactive")


def test_what_went_wrong_at_an_end_is_not_told_of_the_next_transition(
    node: LoopNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    node.trigger_configure()
    node.trigger_activate()
    with monkeypatch.context() as patch:
        patch.setattr(Loop, "fault", lambda _: "a fault")
        node.trigger_deactivate()
    assert node.state.failure == "a fault"
    node.trigger_cleanup()
    assert (node.state.label, node.state.failure) == ("unconfigured", "")
    assert node.end_problems, "the exit code of the process goes on to say so"


def test_a_failure_that_is_remembered_too_late_undoes_no_state(
    node: LoopNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rtloop.nodes.states import Changing

    node.trigger_configure()
    node.remember_failure("a fault")
    assert node.state.failure == "a fault"
    newer = Changing("activating", node.state.run)

    class Overtaken:
        """The lock, which another thread had before."""

        def __enter__(self) -> None:
            node.state = newer

        def __exit__(self, *_error: object) -> None:
            pass

    with monkeypatch.context() as patch:
        patch.setattr(node.reports, "looking", Overtaken())
        node.remember_failure("an older fault")
    assert node.state is newer


@pytest.mark.parametrize("step", ["configure", "deactivate"])
def test_a_stop_that_ended_nothing_does_not_end_the_next_start(
    node: LoopNode, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    take = getattr(Run, step)

    def stopped_too_late(run: Run) -> Any:
        done = take(run)
        node.request_stop("~/stop")
        return done

    with monkeypatch.context() as patch:
        patch.setattr(Run, step, stopped_too_late)
        node.trigger_configure()
        if step == "deactivate":
            node.trigger_activate()
            node.trigger_deactivate()
        assert node.state.label == "inactive"
    if step == "configure":
        assert node.supervision._stop() == (True, "inactive")
    node.trigger_activate()
    assert node.state.label == "active", node.state.failure


def test_a_clock_that_steps_nothing_any_more_restarts_nothing(node: LoopNode) -> None:
    node.set_parameters([Parameter("use_sim_time", value=True)])
    node.trigger_configure()
    for seconds in (1, 2):
        node.sim_time._tick(at_s(seconds))
    node.trigger_cleanup()
    node.set_parameters([Parameter("use_sim_time", value=False)])
    node.trigger_configure()
    node.trigger_activate()
    run = node.state.run
    assert run is not None
    before = run.run_id
    node.sim_time._tick(at_s(1))
    assert run.run_id == before
    assert node.state.label == "active"


def test_a_stop_while_the_file_is_read_ends_the_start(
    node: LoopNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rtloop.nodes import loop_node

    def stopped(path: Path) -> Config:
        node.request_stop("SIGINT")
        return load(path)

    with monkeypatch.context() as patch:
        patch.setattr(loop_node, "load", stopped)
        node.trigger_configure()
    assert node.state.label == "unconfigured"
    assert node.state.failure == "stopped by SIGINT before it started"
    node.trigger_configure()
    assert node.state.label == "inactive"


def test_a_loop_that_is_being_ended_is_not_told_to_be_inactive(
    node: LoopNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    deactivate = Run.deactivate
    told: list[Any] = []
    states: list[dict[str, Any]] = []

    def looked_at(run: Run) -> Any:
        node.reports.publish_diagnostics()
        return deactivate(run)

    monkeypatch.setattr(node.reports, "_diagnostics", Heard(told.append))
    monkeypatch.setattr(node.reports, "_states", Heard(lambda m: states.append(json.loads(m.data))))
    node.trigger_configure()
    node.trigger_activate()
    told.clear()
    states.clear()
    with monkeypatch.context() as patch:
        patch.setattr(Run, "deactivate", looked_at)
        node.trigger_deactivate()
    (_, loop) = told[0].status
    assert loop.message == "deactivating"
    assert "deactivating" in [pair.value for pair in loop.values if pair.key == "state"]
    assert [said["loops"]["balance"]["state"] for said in states] == ["deactivating", "inactive"]


class Heard:
    """A publisher: hands each message on."""

    def __init__(self, publish: Callable[[Any], None]) -> None:
        self.publish = publish


def test_the_newest_state_is_published_last(
    node: LoopNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rtloop.nodes.states import Unconfigured

    states: list[str] = []
    newer = threading.Thread(target=node.reports.publish_state)

    def heard(message: Any) -> None:
        if not newer.is_alive() and not states:  # another thread has more to say by now
            node.state = Unconfigured("newer")
            newer.start()
            newer.join(0.5)
        states.append(json.loads(message.data)["failure"])

    monkeypatch.setattr(node.reports, "_states", Heard(heard))
    node.state = Unconfigured("older")
    node.reports.publish_state()
    newer.join()
    assert states == ["older", "newer"]
