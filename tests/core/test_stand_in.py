"""The default that replaces a late firm result: sent at d by the guard, under the limits of any command."""

from __future__ import annotations

import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rtloop import core
from tests.core.conftest import MS, Rig, first_of, read_records, stall
from tests.core.fake_device import COMMAND, FakeDevice
from tests.core.test_threads import wait_for

MakeRig = Callable[..., Rig]
FIRM, OUTCOME, EVENT = core.LoopClass.firm, core.OUTCOMES, core.EVENTS


def test_the_default_is_sent_at_the_deadline_and_not_when_the_result_returns(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(loop_class=FIRM, default_on_miss=True, stalls=[stall("infer", 1, 50 * MS)])
    record = rig.run(2)[1]
    assert record["outcome"] == OUTCOME["default"]
    assert rig.command() == -2.0
    assert rig.output.newest()[1] == record["deadline_ns"] + 1
    assert record["finish_ns"] - record["deadline_ns"] == 49 * MS


def test_the_default_is_sent_for_a_cycle_that_was_never_started(make_rig: MakeRig) -> None:
    rig = make_rig(loop_class=FIRM, default_on_miss=True)
    rig.start(0.5)
    rig.loop.step()
    rig.clock.oversleep_ns = 5 * MS  # the loop thread gets no CPU
    rig.loop.step()
    record = rig.records()[1]
    assert rig.command() == -2.0
    assert rig.output.newest()[1] == record["deadline_ns"] + 1
    assert record["outcome"] == OUTCOME["default"]


def test_a_write_that_crosses_the_deadline_is_not_followed_by_the_default(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(loop_class=FIRM, default_on_miss=True, stalls=[stall("write", 1, 2 * MS)])
    record = rig.run(2, value=0.5)[1]
    assert record["outcome"] == OUTCOME["written_late"]
    assert rig.command() == 0.5, "what left cannot be taken back"


def test_the_default_obeys_the_slew_limit_and_the_next_command_starts_from_it(
    make_rig: MakeRig,
) -> None:
    rig = make_rig(
        loop_class=FIRM,
        default_on_miss=True,
        deadline_ns=MS // 2,
        outputs=[core.OutputConfig(1, [], [], [500.0], [0.0], [-2.0])],  # 0.5 a period
        stalls=[stall("infer", cycle, MS // 2 + 1) for cycle in (2, 3)],
    )
    rig.start(5.0)
    commands = []
    for _ in range(5):
        rig.loop.step()
        commands.append(rig.command())
    assert commands == [0.5, 1.0, 0.5, 0.0, 0.5]
    assert rig.sent().tolist() == commands, "the record holds what stands at the outputs"


def test_a_default_that_no_port_takes_is_dropped(make_rig: MakeRig) -> None:
    rig = make_rig(loop_class=FIRM, default_on_miss=True, stalls=[stall("infer", 1, 3 * MS)])
    rig.start(0.5)
    rig.loop.step()
    rig.output.write_safe()
    rig.loop.step()
    assert rig.records()[1]["outcome"] == OUTCOME["dropped"]
    assert rig.sent().tolist() == [0.5, 0.5]


def test_what_is_no_longer_valid_is_not_sent_and_moves_nothing(tmp_path: Path) -> None:
    """A process that was stopped catches up: the device would refuse all those commands."""
    device = FakeDevice()
    port = device.port(command_validity_ns=5 * MS, silence_timeout_ns=60_000 * MS)
    config = core.LoopConfig()
    config.name = "stopped"
    config.loop_class = FIRM
    config.default_on_miss = True
    config.period_ns = config.deadline_ns = 5 * MS
    config.on_overrun = core.Overrun.catch_up
    config.max_catch_up = 1000
    config.inputs = [core.InputConfig(0)]
    config.outputs = [core.OutputConfig(0, [], [], [20.0], [0.0], [9.0])]  # 0.1 a period
    path = str(tmp_path / "ring")
    ring = core.RingWriter(path, 256, 1, 2, 1, b"{}")
    loop = core.Loop(config, [port], first_of(2), ring, core.MonotonicClock())
    device.send_sensor([0.0, 1.0])
    loop.begin()
    loop.step()
    device.received()
    time.sleep(0.085)
    for _ in range(12):
        loop.step()
    raw, _ = core.RingReader(path).read(256)
    records = read_records(path)
    sent = np.ascontiguousarray(raw[:, core.RECORD_SIZE + core.INPUT_RECORD_SIZE :]).view("<f4")
    assert (records["outcome"][1:] == OUTCOME["dropped"]).all()
    assert (sent[1:, 2] == sent[0, 2]).all(), "the next command starts from what the device has"
    assert COMMAND not in {kind for kind, _ in device.received()}
    assert port.counters()["tx_expired"] == 12
    for _ in range(1000):
        loop.step()
        if (record := read_records(path)[-1])["outcome"] != OUTCOME["dropped"]:
            break
    values = [struct.unpack("<IB3xf", p)[2] for k, p in device.received() if k == COMMAND]
    assert record["outcome"] != OUTCOME["dropped"]
    assert abs(values[0] - sent[0, 2]) <= 0.1 + 1e-6
    loop.end()
    device.unplug()


def test_a_device_gets_the_default_while_the_inference_hangs(tmp_path: Path) -> None:
    device = FakeDevice()
    port = device.port(silence_timeout_ns=60_000 * MS)
    config = core.LoopConfig()
    config.name = "linked"
    config.loop_class = FIRM
    config.default_on_miss = True
    config.period_ns = config.deadline_ns = 100 * MS
    config.hang_limit_ns = 60_000 * MS
    config.inputs = [core.InputConfig(0)]
    config.outputs = [core.OutputConfig(0, safe=[0.0], default_value=[-2.0])]
    config.stalls = [core.Stall(core.Stage.infer, 3, 0, 2_000 * MS)]
    ring = core.RingWriter(str(tmp_path / "ring"), 64, 1, 2, 1, b"{}")
    loop = core.Loop(config, [port], first_of(2), ring, core.MonotonicClock())
    threads = core.LoopThreads(loop)
    assert not threads.set_up(core.ThreadSetup(), core.ThreadSetup(), 1).error
    stop = threading.Event()

    def feed() -> None:
        while not stop.wait(0.02):
            device.send_sensor([0.5, 1.0])

    feeder = threading.Thread(target=feed)
    feeder.start()
    core.activate([threads])
    commands: dict[float, int] = {}
    acks: dict[float, int] = {}

    def has_default() -> bool:
        for kind, _, _, ack, _, _, payload in device.packets():
            if kind == COMMAND:
                valid_until_us, _, value = struct.unpack("<IB3xf", payload)
                commands[value] = valid_until_us
                acks[value] = ack
        return -2.0 in commands

    wait_for(has_default)
    status = loop.status()
    assert status["executed"] <= 3, "sent while the fourth cycle is still in its inference"
    assert status["expired_cycle"] <= 3
    assert status["expired_outcome"] == OUTCOME["default"], "for whoever looks while it hangs"
    valid_until_us = (status["expired_deadline_ns"] + 500 * MS) // 1000 & 0xFFFFFFFF
    assert abs(commands[-2.0] - valid_until_us) < 5_000, "valid like a command of that cycle"
    assert acks[-2.0] == acks[0.5], "made before its cycle: it knows of no sample since"
    wait_for(lambda: loop.status()["executed"] > 3)
    threads.deactivate(5_000 * MS)
    stop.set()
    feeder.join()
    records = read_records(tmp_path / "ring")
    (late,) = records[records["cycle"] == status["expired_cycle"]]
    assert late["outcome"] == OUTCOME["default"]
    assert late["events"] & EVENT["guard"]
    device.unplug()
