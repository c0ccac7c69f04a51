"""What a loop does with its ports, whatever their kinds: all are polled, watched and recorded."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from rtloop import core
from rtloop.telemetry.observe.records import INPUT_RECORD_DTYPE, RECORD_DTYPE
from tests.core.conftest import MS, identity_graph
from tests.core.fake_device import ACTIVE, COMMAND, SAFE, TIME_REPLY, TIME_REQUEST, FakeDevice

REASON, OUTCOME, EVENT = core.FAULT_REASONS, core.OUTCOMES, core.EVENTS


@pytest.fixture
def sensor() -> Iterator[FakeDevice]:
    device = FakeDevice(offset_ns=-77_000_000_000)
    yield device
    device.unplug()


@pytest.fixture
def actuator() -> Iterator[FakeDevice]:
    device = FakeDevice(offset_ns=33_000_000_000)
    yield device
    device.unplug()


class Between:
    """A loop from the device ``sensor`` (two values) to the device ``actuator`` (two values)."""

    def __init__(
        self, path: Path, sensor: FakeDevice, actuator: FakeDevice, **changes: int
    ) -> None:
        self.sensor, self.actuator = sensor, actuator
        self.ports = [sensor.port(), actuator.port(n_command=2, **changes)]
        config = core.LoopConfig()
        config.loop_class = core.LoopClass.soft
        config.period_ns = config.deadline_ns = 2 * MS
        config.inputs = [core.InputConfig(0)]
        config.outputs = [core.OutputConfig(1, max_rate_per_s=[1e6, 1e6], safe=[0.0, 0.0])]
        self.path = str(path)
        ring = core.RingWriter(self.path, 4096, 1, 2, 2, b"{}")
        clock = core.MonotonicClock()
        self.loop = core.Loop(config, self.ports, identity_graph(2), ring, clock)
        self.loop.begin()

    def last(self) -> tuple[np.void, np.void, list[float]]:
        """Record, input record and output values of the last cycle."""
        raw, _ = core.RingReader(self.path).read(4096)
        row = np.ascontiguousarray(raw[-1])
        at = core.RECORD_SIZE
        source = row[at : at + core.INPUT_RECORD_SIZE].view(INPUT_RECORD_DTYPE)[0]
        outputs = row[at + core.INPUT_RECORD_SIZE + 8 :].view("<f4")
        return row[:at].view(RECORD_DTYPE)[0], source, [float(v) for v in outputs]


@pytest.fixture
def between(tmp_path: Path, sensor: FakeDevice, actuator: FakeDevice) -> Between:
    return Between(tmp_path / "ring", sensor, actuator)


def test_a_device_that_is_only_commanded_is_watched_for_safe(between: Between) -> None:
    between.sensor.send_sensor([1.0, 2.0], state=ACTIVE)
    between.actuator.send_sensor([0.0, 0.0], state=ACTIVE)
    assert between.loop.step()
    assert between.last()[0]["device_state"] == ACTIVE
    between.actuator.send_sensor([0.0, 0.0], state=SAFE)
    assert not between.loop.step()
    status = between.loop.status()
    assert status["fault_reason"] == REASON["device_safe"]
    assert status["fault_port"] == 1
    assert between.last()[0]["device_state"] == SAFE


def test_silence_of_a_device_that_is_only_commanded_is_a_fault(
    tmp_path: Path, sensor: FakeDevice, actuator: FakeDevice
) -> None:
    between = Between(tmp_path / "ring", sensor, actuator, silence_timeout_ns=20 * MS)
    cycles = 0
    while between.loop.step():
        sensor.send_sensor([1.0, 2.0])
        cycles += 1
    assert cycles > 1
    status = between.loop.status()
    assert (status["fault_port"], status["fault_errno"]) == (1, errno.ETIMEDOUT)


def test_the_clock_of_a_device_that_is_only_commanded_is_followed(
    tmp_path: Path, sensor: FakeDevice, actuator: FakeDevice
) -> None:
    between = Between(tmp_path / "ring", sensor, actuator, clock_error_ns=50 * MS)
    for _ in range(400):
        sensor.send_sensor([1.0, 2.0])
        actuator.send_sensor([0.0, 0.0])
        assert between.loop.step()
        for kind, payload in actuator.received():
            if kind == TIME_REQUEST:
                now_us = actuator.now_us()
                (host_ns,) = struct.unpack("<Q", payload)
                actuator.send(TIME_REPLY, struct.pack("<Qqq", host_ns, now_us, now_us))
        if between.ports[1].counters()["clock_error_ns"] < 50 * MS:
            return
    pytest.fail("the bound was never tightened")


def test_a_command_that_the_line_does_not_take_is_dropped_and_not_what_stands(
    between: Between,
) -> None:
    stands = [0.0, 0.0]
    for i in range(4000):  # the actuator does not read: its line fills up
        between.sensor.send_sensor([float(i + 1), 0.5])
        between.actuator.send_sensor([0.0, 0.0])
        between.sensor.received()
        assert between.loop.step()
        record, _, outputs = between.last()
        if record["outcome"] == OUTCOME["dropped"]:
            break
        assert record["outcome"] in (OUTCOME["written"], OUTCOME["written_late"], OUTCOME["held"])
        stands = outputs
    else:
        pytest.fail("the line never filled up")
    assert outputs == stands, "the record shows what stands at the outputs"
    assert between.ports[1].counters()["tx_dropped"] >= 1
    commands = sum(kind == COMMAND for kind, _ in between.actuator.received())
    assert commands <= i + 1


def test_what_a_sensor_lost_on_the_way_is_a_gap_of_its_input(between: Between) -> None:
    def after(lost: int) -> int:
        between.sensor.lose(lost)
        between.sensor.send_sensor([1.0, 2.0])
        between.actuator.send_sensor([0.0, 0.0])
        assert between.loop.step()
        return int(between.last()[1]["gap"])

    assert after(0) == 0
    assert after(3) == 3
    assert after(0) == 0, "a gap is told once"
    assert between.ports[0].counters()["rx_lost"] == 3
    assert after(40_000) == 0, "a number that goes back is a device that began anew"


def test_age_is_recorded_of_each_input(tmp_path: Path) -> None:
    clock = core.VirtualClock(1_000 * MS)
    boxes = [core.Port("mailbox", {"inputs": 1}) for _ in range(3)]
    out = core.Port("mailbox", {"safe": [0.0]})
    config = core.LoopConfig()
    config.loop_class = core.LoopClass.soft
    config.inputs = [core.InputConfig(i, 5 * MS, core.OnStale.use) for i in range(3)]
    config.outputs = [core.OutputConfig(3, safe=[0.0])]
    ring = core.RingWriter(str(tmp_path / "ring"), 16, 3, 3, 1, b"{}")
    loop = core.Loop(config, [*boxes, out], sum_graph(), ring, clock)
    loop.begin()
    for box, age_ns in zip(boxes[:2], (2 * MS, 9 * MS), strict=True):
        box.put(np.ones(1, np.float32), clock.now() - age_ns)
    loop.step()
    raw, _ = core.RingReader(str(tmp_path / "ring")).read(16)
    row = np.ascontiguousarray(raw[-1])
    end = core.RECORD_SIZE + 3 * core.INPUT_RECORD_SIZE
    sources = row[core.RECORD_SIZE : end].view(INPUT_RECORD_DTYPE)
    assert sources["age_ns"].tolist() == [2 * MS, 9 * MS, -1]
    assert sources["events"].tolist() == [0, EVENT["stale_input"], EVENT["stale_input"]]
    assert row[: core.RECORD_SIZE].view(RECORD_DTYPE)[0]["input_age_ns"] == -1


def sum_graph() -> core.Graph:
    import onnx
    from onnx import TensorProto, helper

    from rtloop.policy.library import onnxruntime_library

    names = ["a", "b", "c"]
    graph = helper.make_graph(
        [helper.make_node("Sum", names, ["y"])],
        "sum",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 1]) for n in names],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    inputs = [(name, [1, 1]) for name in names]
    return core.Graph(onnxruntime_library(), model.SerializeToString(), inputs, ("y", [1, 1]), [])


def test_a_port_that_lacks_the_direction_it_is_used_in_is_refused(tmp_path: Path) -> None:
    config = core.LoopConfig()
    config.inputs, config.outputs = [core.InputConfig(0)], [core.OutputConfig(0, safe=[0.0])]
    ring = core.RingWriter(str(tmp_path / "ring"), 16, 1, 1, 1, b"{}")
    for options, what in (({"safe": [0.0]}, "no samples"), ({"inputs": 1}, "no commands")):
        port = core.Port("mailbox", options)
        with pytest.raises(ValueError, match=what):
            core.Loop(config, [port], identity_graph(1), ring, core.MonotonicClock())
    with pytest.raises(ValueError, match="no port 0"):
        core.Loop(config, [], identity_graph(1), ring, core.MonotonicClock())


def test_a_port_tells_what_it_is_not_made_for() -> None:
    with pytest.raises(ValueError, match="no kind of port 'can' in the core"):
        core.Port("can", {})
    with pytest.raises(ValueError, match="option 'fd' must be an integer"):
        core.Port("link", {})
    with pytest.raises(RuntimeError, match="cannot load the port library"):
        core.Port("can", {}, "/nowhere/libcan.so")
    with pytest.raises(ValueError, match="no command can be taken"):
        core.Port("mailbox", {"inputs": 1}).newest()


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        (None, "option 'x' must be a number, a text or a list"),
        ({"a": 1}, "option 'x' must be a number, a text or a list"),
        (["a"], "option 'x' must be a number, a text or a list"),
    ],
)
def test_an_option_of_a_wrong_type_is_named(value: object, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        core.Port("mailbox", {"x": value})  # type: ignore[dict-item]


# Made in the test: what a parameter holds at the end of the process, nanobind takes for a leak of the core.
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda: {"period_ns": 0}, "period_ns must be above 0"),
        (lambda: {"deadline_ns": 2 * MS}, "at most period_ns"),
        (lambda: {"budget_ns": -1}, "budget_ns"),
        (lambda: {"inputs": [core.InputConfig(0, -1)]}, "max_age_ns"),
        (lambda: {"outputs": [core.OutputConfig(0)]}, "needs a safe command"),
        (lambda: {"outputs": [core.OutputConfig(0, safe=[float("nan")])]}, "min <= safe"),
        (
            lambda: {"outputs": [core.OutputConfig(0, min=[5.0], max=[1.0], safe=[2.0])]},
            "min <= safe",
        ),
        (lambda: {"outputs": [core.OutputConfig(0, max=[1.0], safe=[2.0])]}, "min <= safe"),
    ],
)
def test_a_loop_that_cannot_be_is_refused(
    tmp_path: Path, change: Callable[[], dict[str, object]], complaint: str
) -> None:
    config = core.LoopConfig()
    config.inputs, config.outputs = [core.InputConfig(0)], [core.OutputConfig(0, safe=[0.0])]
    for name, value in change().items():
        setattr(config, name, value)
    port = core.Port("mailbox", {"inputs": 1, "safe": [0.0]})
    ring = core.RingWriter(str(tmp_path / "ring"), 16, 1, 1, 1, b"{}")
    with pytest.raises(ValueError, match=complaint):
        core.Loop(config, [port], identity_graph(1), ring, core.VirtualClock())


def test_a_ring_beyond_all_measure_is_refused(tmp_path: Path) -> None:
    for sizes in ((1 << 60, 0, 1, 1), (16, 1 << 60, 1, 1), (16, 0, 1 << 62, 1)):
        with pytest.raises(ValueError, match="as large as that"):
            core.RingWriter(str(tmp_path / "ring"), *sizes, b"{}")
    assert not (tmp_path / "ring").exists()


def test_the_safe_command_of_a_mailbox_is_newer_than_what_it_replaces(tmp_path: Path) -> None:
    port = core.Port("mailbox", {"inputs": 1, "safe": [-1.0]})
    config = core.LoopConfig()
    config.loop_class = core.LoopClass.soft
    config.inputs, config.outputs = [core.InputConfig(0)], [core.OutputConfig(0, safe=[-1.0])]
    ring = core.RingWriter(str(tmp_path / "ring"), 16, 1, 1, 1, b"{}")
    loop = core.Loop(config, [port], identity_graph(1), ring, core.MonotonicClock())
    loop.begin()
    port.put(np.array([0.5], np.float32))
    loop.step()
    (command,), written_ns = port.newest()
    assert command == 0.5
    loop.end()
    (command,), since_ns = port.newest()
    assert command == -1.0
    assert since_ns > written_ns
    assert port.newest()[1] == since_ns
