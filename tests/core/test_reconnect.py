"""A link that is lost and opened anew while its loop goes on, against devices on ptys."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from rtloop import core
from rtloop.telemetry.observe.statistics import LoopStatistics
from tests.core.conftest import MS, identity_graph, read_records
from tests.core.fake_device import COMMAND, SAFE, STOP, TIME_REQUEST, FakeDevice
from tests.core.linked_loop import LinkedLoop, last_cycle
from tests.telemetry.loops import metadata

PERIOD_NS = 2 * MS


@pytest.fixture
def returned() -> Iterator[FakeDevice]:
    """The device after a reboot: its clock is another."""
    device = FakeDevice(offset_ns=5_000_000_000)
    yield device
    device.unplug()


class Reconnecting(LinkedLoop):
    """One unit a cycle at most; begun."""

    def __init__(
        self, device: FakeDevice, path: Path, max_age_ns: int = 0, hold: int | None = None
    ) -> None:
        rate = 1e9 / PERIOD_NS
        super().__init__(
            device,
            path,
            period_ns=PERIOD_NS,
            max_age_ns=max_age_ns,
            max_rate_per_s=rate,
            hold=hold,
            reconnects=1,
        )
        self.loop.begin()

    def statistics(self) -> LoopStatistics:
        statistics = LoopStatistics(metadata())
        statistics.update(read_records(self.path))
        return statistics

    def outcome(self) -> str:
        number = self.last()[0]["outcome"]
        return next(name for name, n in core.OUTCOMES.items() if n == number)

    def step_with(self, device: FakeDevice, value: float, cycles: int = 1) -> None:
        for _ in range(cycles):
            device.send_sensor([value, 0.0])
            assert self.loop.step()

    def lose(self, device: FakeDevice) -> None:
        device.unplug()
        assert self.loop.step()
        assert self.port.is_lost

    def hand_over(self, device: FakeDevice, **changes: int) -> None:
        self.port.let_go()
        self.port.reconnect({**device.options(), **changes})


def commands(device: FakeDevice) -> list[float]:
    sent = [payload for kind, payload in device.received() if kind == COMMAND]
    return [struct.unpack("<IB3xf", payload)[2] for payload in sent]


def test_a_loss_is_recorded_and_the_loop_goes_on(device: FakeDevice, tmp_path: Path) -> None:
    loop = Reconnecting(device, tmp_path / "r")
    loop.step_with(device, 0.5)
    loop.lose(device)
    for _ in range(3):
        assert loop.loop.step()
        record, values = loop.last()
        assert record["events"] & core.EVENTS["port_error"]
        assert not record["events"] & core.EVENTS["fault"]
        assert loop.outcome() == "dropped"
        assert values[2] == 0.0, "what stands there is the safe command"
    assert loop.loop.status()["state"] == "active"
    assert loop.port.loss_error != 0
    counters = loop.port.counters()
    assert (counters["losses"], counters["reconnections"]) == (1, 0)
    assert counters["lost_ns"] > 0


def test_a_command_acknowledges_nothing_that_came_over_another_line(
    device: FakeDevice, returned: FakeDevice, tmp_path: Path
) -> None:
    loop = Reconnecting(device, tmp_path / "r")
    loop.step_with(device, 0.5, cycles=3)
    assert device.command_acks()[-1] == device.newest_seq != 0
    loop.lose(device)
    loop.hand_over(returned)
    assert loop.loop.step()  # with the sample of before: there is none yet
    assert returned.command_acks() == [0]
    loop.step_with(returned, 0.5)
    assert returned.command_acks() == [returned.newest_seq]


def test_a_device_that_comes_back_is_commanded_from_the_safe_command_on(
    device: FakeDevice, returned: FakeDevice, tmp_path: Path
) -> None:
    loop = Reconnecting(device, tmp_path / "r")
    loop.step_with(device, 10.0, cycles=5)
    assert loop.last()[1][2] == pytest.approx(5.0)
    loop.lose(device)
    loop.hand_over(returned)
    assert not loop.port.is_lost
    loop.step_with(returned, 10.0)
    assert loop.outcome() in ("written", "written_late")  # shared machines stall
    assert loop.last()[0]["events"] & core.EVENTS["port_error"] == 0
    assert commands(returned) == [pytest.approx(1.0)]
    counters = loop.port.counters()
    assert (counters["losses"], counters["reconnections"]) == (1, 1)


def test_a_device_that_holds_is_commanded_from_where_it_is_when_it_is_back(
    device: FakeDevice, returned: FakeDevice, tmp_path: Path
) -> None:
    loop = Reconnecting(device, tmp_path / "r", hold=1)
    for position in (3.0, 4.0):
        device.send_sensor([10.0, position])
        assert loop.loop.step()
    assert loop.last()[1][2] == 5.0, "from 3 on, by 1 each"
    loop.lose(device)
    assert loop.last()[1][2] == 4.0, "what it measured last"
    loop.hand_over(returned)
    returned.send_sensor([10.0, 2.0])  # it sagged
    assert loop.loop.step()
    assert commands(returned) == [pytest.approx(3.0)]


def test_the_sample_of_before_the_loss_grows_older_whatever_the_new_clock_says(
    device: FakeDevice, returned: FakeDevice, tmp_path: Path
) -> None:
    loop = Reconnecting(device, tmp_path / "r", max_age_ns=1000 * MS)
    loop.step_with(device, 0.5)
    ages = []
    loop.lose(device)
    ages.append(loop.last()[0]["input_age_ns"])
    loop.hand_over(returned)
    for _ in range(2):
        assert loop.loop.step()
        ages.append(loop.last()[0]["input_age_ns"])
    assert 0 < ages[0] < ages[1] < ages[2] < 1000 * MS
    assert loop.last()[1][:2] == [0.5, 0.0]
    loop.step_with(returned, 0.25)
    assert 0 <= loop.last()[0]["input_age_ns"] < ages[2]


def test_a_device_can_be_lost_and_come_back_again_and_again(
    device: FakeDevice, tmp_path: Path
) -> None:
    loop = Reconnecting(device, tmp_path / "r")
    loop.step_with(device, 0.5)
    for i in range(3):
        loop.lose(device)
        device = FakeDevice(offset_ns=i * 1_000_000_000)
        loop.hand_over(device)
        loop.step_with(device, 0.5)
        assert commands(device) == [0.5]
    device.unplug()
    assert loop.port.counters()["reconnections"] == 3


@pytest.mark.parametrize("counted_at_return", [700, 702, 0], ids=["same", "more", "rebooted"])
def test_what_a_device_had_refused_before_its_loss_is_not_counted_again(
    device: FakeDevice, returned: FakeDevice, tmp_path: Path, counted_at_return: int
) -> None:
    loop = Reconnecting(device, tmp_path / "r")
    device.late_commands = 700  # most of them of hosts before
    loop.step_with(device, 0.5)
    device.late_commands = 705
    loop.step_with(device, 0.5)
    loop.lose(device)
    assert loop.last()[0]["device_late_commands"] == 705, "what it said last"
    loop.hand_over(returned)
    assert loop.loop.step()
    returned.late_commands = counted_at_return + 5 if counted_at_return else 0
    loop.step_with(returned, 0.5)
    expected = 5 + max(0, counted_at_return - 700)
    assert loop.statistics().summary().device_late_commands == expected
    loop.loop.end()
    loop.loop.begin()
    loop.loop.step()
    assert loop.last()[0]["device_late_commands"] == 0, "of an activation before"


def test_a_silent_device_is_lost_too(device: FakeDevice, tmp_path: Path) -> None:
    loop = Reconnecting(device, tmp_path / "r")
    loop.lose(device)
    quiet = FakeDevice()
    loop.hand_over(quiet, silence_timeout_ns=5 * MS)
    while not loop.port.is_lost:
        assert loop.loop.step()
    assert loop.port.loss_error == errno.ETIMEDOUT
    quiet.unplug()


def test_who_gives_up_ends_the_loop_with_the_reason(device: FakeDevice, tmp_path: Path) -> None:
    for reason in ("port_error", "device_safe"):
        device = FakeDevice()
        loop = Reconnecting(device, tmp_path / reason)
        loop.step_with(device, 0.5)
        loop.lose(device)
        loop.port.give_up(core.FAULT_REASONS[reason])
        assert not loop.loop.step()
        status = loop.loop.status()
        assert (status["state"], status["fault_reason"]) == ("fault", core.FAULT_REASONS[reason])
        assert status["fault_errno"] != 0


def test_on_a_line_that_comes_after_the_end_nothing_but_stop_is_sent(
    device: FakeDevice, returned: FakeDevice, tmp_path: Path
) -> None:
    loop = Reconnecting(device, tmp_path / "r")
    loop.step_with(device, 0.5)
    loop.lose(device)
    loop.loop.end()
    loop.hand_over(returned)
    assert {kind for kind, _ in returned.received()} == {STOP}


def test_a_device_that_is_not_armed_again_gives_samples_and_gets_no_command(
    device: FakeDevice, returned: FakeDevice, tmp_path: Path
) -> None:
    loop = Reconnecting(device, tmp_path / "r")
    loop.step_with(device, 0.5)
    loop.lose(device)
    loop.hand_over(returned, is_armed=0)
    for _ in range(3):
        returned.send_sensor([0.75, 0.0], state=SAFE)
        assert loop.loop.step(), "that it is SAFE is as it should be"
    assert loop.last()[1] == [0.75, 0.0, 0.0]
    assert loop.outcome() == "dropped"
    assert {kind for kind, _ in returned.received()} == {TIME_REQUEST}


def test_what_is_held_of_a_lost_line_is_let_go(device: FakeDevice, tmp_path: Path) -> None:
    def held() -> int:
        fds = Path("/proc/self/fd")
        targets = [os.readlink(fd) for fd in fds.iterdir() if os.path.lexists(fd)]
        return sum(target.removesuffix(" (deleted)") == line for target in targets)

    line = os.ttyname(device.slave)
    loop = Reconnecting(device, tmp_path / "r")
    loop.step_with(device, 0.5)
    assert held() == 2
    os.close(device.master)
    device.master = -1
    assert loop.loop.step()
    assert loop.port.is_lost
    assert held() == 2
    loop.port.let_go()
    assert held() == 1, "the test's own"
    assert loop.loop.step()


def test_a_line_that_is_none_is_refused_and_the_port_stays_lost(
    device: FakeDevice, tmp_path: Path
) -> None:
    loop = Reconnecting(device, tmp_path / "r")
    options = device.options()
    loop.lose(device)
    with pytest.raises(OSError, match="non-blocking"):
        loop.port.reconnect({**options, "fd": -1})
    assert loop.port.is_lost
    assert loop.loop.step()


def test_a_loop_of_two_devices_goes_on_with_the_one_that_is_left(
    device: FakeDevice, returned: FakeDevice, tmp_path: Path
) -> None:
    config = core.LoopConfig()
    config.loop_class = core.LoopClass.soft
    config.period_ns = config.deadline_ns = PERIOD_NS
    config.inputs = [core.InputConfig(1)]
    config.outputs = [core.OutputConfig(0, safe=[-1.0]), core.OutputConfig(1, safe=[-2.0])]
    ports = [device.port(reconnects=1), returned.port()]
    ring = core.RingWriter(str(tmp_path / "r"), 1024, 1, 2, 2, b"{}")
    loop = core.Loop(config, ports, identity_graph(2), ring, core.MonotonicClock())
    loop.begin()
    device.unplug()
    for _ in range(3):
        returned.send_sensor([0.25, 0.5])
        assert loop.step()
    assert last_cycle(tmp_path / "r")[1] == [0.25, 0.5, -1.0, 0.5]
    assert commands(returned) == [0.5] * 3
    loop.end()
