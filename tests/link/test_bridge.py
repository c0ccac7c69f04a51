"""A device in the hands of a bridge: the real firmware program, and everything that must end in STOP."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rtloop.demos.firmware import TRANSPORTS, FirmwareProcess
from rtloop.errors import LinkError
from rtloop.link.bridge import LOST, Bridge, Note, Terms
from rtloop.link.bridge import bridge as serving
from rtloop.link.messages import DeviceEvent, Sample
from tests.cable import Cable
from tests.firmware import reference as ref
from tests.link.scripted_device import SCHEMA, ScriptedDevice
from tests.running import UNDISTURBED, firmware, wait_for

HELD = Terms(command_hold_ms=60_000)


class Heard:
    """A listener that keeps everything."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.states: list[str] = []
        self.events: list[DeviceEvent | Note] = []

    @property
    def told(self) -> str:
        return self.states[-1] if self.states else ""

    def sample(self, sample: Sample) -> None:
        self.samples.append(sample)

    def state(self, told: str) -> None:
        self.states.append(told)

    def event(self, event: DeviceEvent | Note, age_ns: int) -> None:
        assert 0 <= age_ns < 60_000_000_000
        self.events.append(event)

    def notes(self) -> list[str]:
        return [event.what for event in self.events if isinstance(event, Note)]


class HeldUp(Heard):
    """While ``goes_on`` is not set, so stands the bridge's thread, which tells of a sample."""

    def __init__(self) -> None:
        super().__init__()
        self.goes_on = threading.Event()
        self.stands = threading.Event()
        self.goes_on.set()

    def sample(self, sample: Sample) -> None:
        super().sample(sample)
        if not self.goes_on.is_set():
            self.stands.set()
            self.goes_on.wait()

    @contextmanager
    def held_up(self) -> Iterator[None]:
        self.stands.clear()
        self.goes_on.clear()
        try:
            assert self.stands.wait(20)
            yield
        finally:
            self.goes_on.set()


class Asking(threading.Thread):
    """Asks a bridge from a thread of its own."""

    def __init__(self, ask: Callable[[], str]) -> None:
        super().__init__(daemon=True)
        self._ask = ask
        self.told = ""
        self.start()

    def run(self) -> None:
        try:
            self.told = self._ask()
        except LinkError as error:
            self.told = str(error)

    def answer(self) -> str:
        self.join()
        return self.told


@contextmanager
def bridged(
    device: str | Path, terms: Terms = HELD, heard: Heard | None = None
) -> Iterator[tuple[Bridge, Heard]]:
    heard = heard or Heard()
    bridge = Bridge(str(device), 1_000_000, terms, heard)
    bridge.start()
    try:
        yield bridge, heard
    finally:
        bridge.close()


@contextmanager
def upright(folder: Path, *arguments: str) -> Iterator[FirmwareProcess]:
    with firmware(folder, *UNDISTURBED, "--rate-hz", "200", *arguments) as device:
        yield device


@pytest.mark.parametrize("transport", ["serial", "zmq", "udp"])
def test_commands_move_an_armed_device_and_the_end_makes_it_safe(
    tmp_path: Path, transport: str
) -> None:
    with upright(tmp_path, *TRANSPORTS[transport]) as device:
        with bridged(device.device) as (bridge, heard):
            wait_for(lambda: len(heard.samples) > 5, "samples")
            assert heard.states == ["IDLE"]
            assert "not armed" in bridge.command([1.0])
            assert "is ARMED" in bridge.arm()
            wait_for(lambda: heard.told == "ARMED", "it says so")
            assert bridge.command([0.5]) == ""
            wait_for(lambda: heard.told == "ACTIVE", "it obeys")
            time.sleep(0.7)  # beyond the device's timeout of 500 ms: one command is repeated
            assert heard.states == ["IDLE", "ARMED", "ACTIVE"]
            assert heard.samples[-1].values[0] > heard.samples[0].values[0]
            assert bridge.close()
        told = device.stop()
    assert (told["state"], told["reasons"]) == ("SAFE", ["HOST_STOP"])
    assert bridge.counts.commands == bridge.counts.refused_commands == 1
    assert told["counters"]["late_commands"] == told["counters"]["rejected_commands"] == 0


def test_a_command_that_is_no_command_is_refused_in_words(tmp_path: Path) -> None:
    with upright(tmp_path) as device, bridged(device.link) as (bridge, heard):
        bridge.arm()
        assert bridge.command([1.0, 2.0]) == "found 2 values; expected 1: force"
        for value in (float("nan"), float("inf"), 1e39):
            assert "for force; expected a finite number of 32 bits" in bridge.command([value])
        wait_for(lambda: heard.told == "ARMED", "nothing moves")
        assert bridge.counts.refused_commands == 4


def test_a_command_from_before_arming_moves_nothing(tmp_path: Path) -> None:
    with upright(tmp_path) as device, bridged(device.link) as (bridge, heard):
        bridge.arm()
        bridge.command([1.0])
        bridge.stop()
        bridge.arm()
        seen = len(heard.samples)
        wait_for(lambda: len(heard.samples) > seen + 20, "samples")
        assert heard.told == "ARMED"


def test_silence_of_who_commands_is_a_stop_that_must_be_cleared(tmp_path: Path) -> None:
    with upright(tmp_path) as device, bridged(device.link, Terms(0, 100)) as (bridge, heard):
        bridge.arm()
        bridge.command([0.1])
        wait_for(lambda: heard.told == "SAFE: COMMAND_TIMEOUT", "the hold ends")
        assert heard.notes() == ["held"]
        assert "not armed" in bridge.command([0.1])
        with pytest.raises(LinkError, match="latched SAFE: COMMAND_TIMEOUT.*call ~/clear"):
            bridge.arm()
        assert "is IDLE now, not armed" in bridge.clear()
        assert "is ARMED" in bridge.arm()


def test_without_hold_a_command_is_sent_once_and_the_device_times_out(tmp_path: Path) -> None:
    with upright(tmp_path) as device, bridged(device.link, Terms(0, 0)) as (bridge, heard):
        bridge.arm()
        bridge.command([0.1])
        wait_for(lambda: heard.told == "SAFE: COMMAND_TIMEOUT", "its own timeout")
        wait_for(lambda: "disarmed" in heard.notes(), "that is told")
        told = device.stop()
    assert told["counters"]["command_timeouts"] == 1


def test_an_emergency_stop_is_an_event_and_ends_commanding(tmp_path: Path) -> None:
    with upright(tmp_path) as device, bridged(device.link) as (bridge, heard):
        bridge.arm()
        bridge.command([0.1])
        wait_for(lambda: heard.told == "ACTIVE", "it obeys")
        os.kill(device.pid, signal.SIGUSR2)
        wait_for(lambda: heard.told == "SAFE: HARDWARE", "it is pressed")
        wait_for(lambda: not bridge.is_armed, "it is taken for what it is")
        assert any("HARDWARE" in str(event) for event in heard.events)
        with pytest.raises(LinkError, match="was not cleared"):
            bridge.clear()


def test_a_cable_that_comes_back_arms_nothing(tmp_path: Path) -> None:
    with (
        upright(tmp_path) as device,
        Cable(tmp_path / "cable", device.link) as cable,
        bridged(cable.path) as (bridge, heard),
    ):
        bridge.arm()
        cable.unplug()
        wait_for(lambda: heard.told == LOST, "the loss")
        with pytest.raises(LinkError, match="is lost, and is being looked for"):
            bridge.arm()
        assert "not armed" in bridge.command([1.0])
        cable.plug_in()
        wait_for(lambda: "back" in heard.notes(), "it is found")
        wait_for(lambda: heard.told == "SAFE: HOST_STOP", "it was ARMED, and is told to stop")
        assert "is ARMED" in bridge.arm()
        assert bridge.counts.reconnections == 1


def test_a_device_that_was_reset_is_greeted_anew_and_not_armed(tmp_path: Path) -> None:
    with upright(tmp_path) as device, bridged(device.link) as (bridge, heard):
        bridge.arm()
        wait_for(lambda: heard.told == "ARMED", "it is armed")
        device.stop()
        wait_for(lambda: heard.told == LOST, "the loss")
        device.start()
        wait_for(lambda: heard.told == "IDLE", "it is back")
        assert not bridge.is_armed


def test_a_device_that_says_nothing_any_more_is_silent_and_told_to_stop(tmp_path: Path) -> None:
    udp = TRANSPORTS["udp"]
    with upright(tmp_path, *udp) as device, bridged(device.device) as (bridge, heard):
        bridge.arm()
        os.kill(device.pid, signal.SIGSTOP)
        wait_for(lambda: heard.told == "SILENT", "nothing comes")
        assert "silent" in heard.notes()
        os.kill(device.pid, signal.SIGCONT)
        wait_for(lambda: heard.told.startswith("SAFE: "), "the STOP has waited for it")
        assert not bridge.is_armed


def test_stop_ends_an_arming_that_waits_for_an_answer() -> None:
    asked = threading.Event()

    def script(request: ref.Packet) -> Any:
        if request.name == "arm":
            asked.set()
            return []
        return None

    with ScriptedDevice(script) as device, bridged(device.path) as (bridge, _heard):
        arming = Asking(bridge.arm)
        assert asked.wait(10)
        assert "SAFE" in bridge.stop()
        assert arming.answer() == "stopped by ~/stop before it started"
        assert not bridge.is_armed
        assert device.names()[-1] in ("stop", "time_request", "status_request")
        after = device.names()[len(device.names()) - device.names()[::-1].index("stop") :]
        assert "arm" not in after


def test_an_arming_that_waits_is_the_only_one_and_a_stop_takes_it_back(tmp_path: Path) -> None:
    heard = HeldUp()
    with upright(tmp_path) as device, bridged(device.link, HELD, heard) as (bridge, _):
        with heard.held_up():
            arming = Asking(bridge.arm)
            wait_for(lambda: bool(bridge._requests), "it waits for its turn")
            for another in (bridge.arm, bridge.clear):
                with pytest.raises(LinkError, match="was asked to arm, and has not answered yet"):
                    another()
            stopping = Asking(bridge.stop)
            assert arming.answer() == "stopped by ~/stop, which came after it"
        assert "SAFE" in stopping.answer()
        wait_for(lambda: heard.told == "SAFE: HOST_STOP", "it stands")
        assert "is ARMED" in bridge.arm(), "one that comes after it is another one"
    assert heard.states[:2] == ["IDLE", "SAFE: HOST_STOP"]


def test_an_arming_that_was_told_to_have_failed_before_its_turn_never_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard = HeldUp()
    with upright(tmp_path) as device, bridged(device.link, HELD, heard) as (bridge, _):
        with monkeypatch.context() as patch, heard.held_up():
            patch.setattr(serving, "ANSWER_S", 0.05)
            with pytest.raises(LinkError, match=r"was asked to arm, and 0.05 s later no word"):
                bridge.arm()
        seen = len(heard.samples)
        wait_for(lambda: len(heard.samples) > seen + 20, "samples")
        assert heard.states == ["IDLE"]


def test_an_arming_that_works_when_it_was_told_to_have_failed_is_undone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = threading.Event()
    told.set()

    def script(request: ref.Packet) -> Any:
        if request.name == "hello":
            told.wait()
        return None

    heard = Heard()
    with ScriptedDevice(script) as device, bridged(device.path, HELD, heard) as (bridge, _):
        with monkeypatch.context() as patch:
            patch.setattr(serving, "ANSWER_S", 0.2)
            told.clear()
            with pytest.raises(LinkError, match="no word"):
                bridge.arm()
        told.set()
        wait_for(lambda: "disarmed" in heard.notes(), "it works, and is undone")
        assert not bridge.is_armed
        asked = [name for name in device.names() if name in ("arm", "stop")]
        assert asked[-1] == "stop"
        assert "arm" in asked
        assert "is ARMED" in bridge.arm(), "one that is waited for stays"
        assert bridge.is_armed


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_what_fails_in_no_way_foreseen_has_not_worked(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_bridge: Bridge, _link: object) -> str:
        raise ZeroDivisionError("a bug")

    with ScriptedDevice() as device, bridged(device.path) as (bridge, _heard):
        monkeypatch.setattr(Bridge, "_clear", broken)
        with pytest.raises(LinkError, match=r"to clear failed: ZeroDivisionError\('a bug'\)"):
            bridge.clear()
        bridge._thread.join()
        assert isinstance(bridge.error, ZeroDivisionError)
        with pytest.raises(LinkError, match="the bridge has ended"):
            bridge.stop()


def test_what_is_lost_and_damaged_is_counted_as_it_happens_and_over_requests() -> None:
    sample: dict[str, Any] = {"sample_time_us": 0, "state": 1, "reasons": 0, "command_seq": 0}
    sample |= {"late_commands": 0, "values": [0.0, 0.0]}
    with ScriptedDevice() as device, bridged(device.path) as (bridge, _heard):
        for seq in (1, 2, 5):
            device.send([("sensor", sample)], 0, seq)
        wait_for(lambda: bridge.counts.lost_packets == 2, "the numbers 3 and 4 did not come")
        device.garbage = b"\x09\x01\0"  # no frame: its first code is beyond its end
        device.send([("sensor", sample)], 0, 6)
        device.garbage = b""
        wait_for(lambda: bridge.counts.damaged_packets > 0, "what is no frame came")
        bridge.stop()
        for seq in (1, 3):
            device.send([("sensor", sample)], 0, seq)
        wait_for(lambda: bridge.counts.lost_packets == 3, "and one more")
        assert bridge.counts.damaged_packets > 0


def test_a_command_is_repeated_as_its_timeout_wants_it_whatever_the_rate_of_samples() -> None:
    class Slow(ScriptedDevice):
        def hello_reply(self) -> dict[str, Any]:
            return {**super().hello_reply(), "sensor_period_us": 1_000_000}

    once = SCHEMA.replace(" f32 100", " f32 1")
    with Slow(schema=once) as device, bridged(device.path) as (bridge, _heard):
        bridge.arm()  # for 20 ms: repeated every 5
        assert bridge.command([0.1]) == ""
        # Every 50 ms, as the line is looked at otherwise, would be more than 5 s.
        wait_for(lambda: device.names().count("command") > 100, "it holds", timeout_s=3)
