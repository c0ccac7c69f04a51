"""What a bench says of a policy; never how many microseconds."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper

from rtloop import core
from rtloop.config import load
from rtloop.errors import ConfigError
from rtloop.policy.bench.bench import Bench, Measured, bench, subject_of_loop
from rtloop.policy.bench.conditions import Watch, in_thread
from rtloop.policy.bench.in_loop import ROUNDS, policy_ran_ns
from rtloop.policy.bench.limit import Limit, measure_limit
from rtloop.policy.bench.versions import Version, bare, made
from rtloop.policy.model_file import read_model
from rtloop.policy.runner import runner
from rtloop.realtime.rights import RightReport
from rtloop.stopping import go_on
from rtloop.telemetry.observe.records import empty_records
from tests.policy.models import linear, recurrent, save

LOOP = """\
loops:
  arm:
    class: hard
    rate_hz: 200
    inputs: {q: {mailbox: [0, 0, 0], names: [x, y, z]}}
    policy:
      model: policy.onnx
      every: 4
      observation: [{input: q}]
      terminations: {joint_pos_out_of_limit: {position: q, min: 1.5, max: 2}}
    outputs: {o: {mailbox: true, size: 2, safe: 0}}
    realtime: {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}
"""


@pytest.fixture
def found(tmp_path: Path) -> Bench:
    (tmp_path / "policy.onnx").write_bytes(linear(np.eye(3, 2, dtype=np.float32)))
    (tmp_path / "loop.yaml").write_text(LOOP)
    subject = subject_of_loop(load(tmp_path / "loop.yaml"), "arm")
    return bench(subject, ("float16",), 0.3)


def test_a_loop_is_measured_as_it_runs(found: Bench) -> None:
    assert list(found.versions) == ["ort", "float16"], "ort is what the others are compared with"
    assert (found.period_ns, found.every) == (5_000_000, 4)
    for version in found.versions.values():
        assert isinstance(version, Measured)
        loop = version.in_loop
        assert loop.ended == "", "made-up samples that would terminate it do not"
        periods = loop.cycles + loop.skipped
        assert ROUNDS <= loop.inference.n <= periods // 4 + ROUNDS, "only where the policy ran"
        assert version.first_run_ns > 0
        assert version.warm.n > version.cold.n >= 40
    ort = found.versions["ort"]
    assert isinstance(ort, Measured)
    assert ort.ratios == {"warm": 1.0, "cold": 1.0, "in_loop": 1.0}
    assert set(found.noise) == {"warm", "cold", "in_loop"}
    assert found.conditions.denied == ()


def test_only_cycles_in_which_the_policy_ran_are_its_inferences() -> None:
    cycles = np.array([0, 1, 2, 3, 6, 7, 8])  # of the second period the first two were skipped
    records = empty_records(len(cycles))
    records["cycle"], records["infer_ns"] = cycles, cycles + 100
    assert policy_ran_ns(records, 4).tolist() == [100, 106, 108]
    assert policy_ran_ns(records, 1).tolist() == (cycles + 100).tolist()


def test_a_version_that_does_not_work_has_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_tools() -> None:
        raise NotCompiledError("no C compiler is here")

    from rtloop.policy.aot.tools import NotCompiledError

    monkeypatch.setattr("rtloop.policy.aot.choice.find_tools", no_tools)
    node = helper.make_node("Sin", ["x"], ["y"])
    values = [(name, TensorProto.FLOAT, [1, 3]) for name in "xy"]
    model = save([node], values[:1], values[1:], {})
    versions = made(bare(read_model(model)), ("ort", "aot", "float16", "int8"))
    assert isinstance(versions["ort"], Version)
    assert "no C compiler is here" in str(versions["aot"])
    assert versions["float16"] == "it has no weights in float32"
    assert versions["int8"] == "onnxruntime has none of its operators in int8 (Sin)"


def test_versions_come_in_one_order_and_only_those_that_are_wanted() -> None:
    graph = bare(read_model(linear(np.ones((4, 2), np.float32))))
    assert list(made(graph, ("int8", "ort"))) == ["ort", "int8"]


def test_a_model_alone_runs_on_finite_values_of_its_own_types() -> None:
    node = [
        helper.make_node("Cast", ["n"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["x", "f"], ["y"]),
    ]
    values = [("x", TensorProto.FLOAT, [1, 3]), ("n", TensorProto.INT64, [1, 3])]
    graph = bare(read_model(save(node, values, [("y", TensorProto.FLOAT, [1, 3])], {})))
    command = runner(graph).run([])
    assert np.isfinite(command).all()
    assert (command != 0).all()
    np.testing.assert_array_equal(command, graph.constants["input/x"][0])
    with_state = bare(read_model(recurrent(4, 8, 2)[0]))
    assert with_state.action.size == 2


def test_a_model_without_floats_has_no_command() -> None:
    node = helper.make_node("Cast", ["x"], ["y"], to=TensorProto.INT64)
    values = [("x", TensorProto.FLOAT, [1, 3])], [("y", TensorProto.INT64, [1, 3])]
    with pytest.raises(ConfigError, match=r"found outputs 'y' int64\[1, 3\]; expected"):
        bare(read_model(save([node], *values, {})))


def test_the_shortest_time_is_that_of_the_scarcer() -> None:
    limit = Limit(flops_per_s=1e9, bytes_per_s=1e9, memory_bytes_per_s=1e8)
    assert limit.shortest_ns(1000, 100) == pytest.approx(1000)
    assert limit.shortest_ns(100, 1000) == pytest.approx(1000)
    assert limit.shortest_ns(1000, 1000, is_cold=True) == pytest.approx(10_000)


def test_the_limit_is_measured() -> None:
    limit = measure_limit(1000)
    assert min(limit.flops_per_s, limit.bytes_per_s, limit.memory_bytes_per_s) > 0


def test_conditions_name_what_was_denied() -> None:
    rights = [
        RightReport("scheduler", "fifo 80", "other", False, "Run as root"),
        RightReport("bench lock_memory", "locked", "locked", True),
    ]
    told = Watch().conditions(rights)
    assert told.denied == ("scheduler: other, not fifo 80. Run as root",)
    assert told.scheduler == "other"


def test_ctrl_c_ends_what_measures_in_order() -> None:
    ended = []

    def work(_: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        try:
            while True:
                go_on()
        finally:
            ended.append(threading.current_thread().name)

    with pytest.raises(KeyboardInterrupt):
        in_thread(core.ThreadSetup(), work)
    assert ended == ["measure"]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_ctrl_c_that_another_thread_took_leaves_the_signal_as_it_was(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name == "measure":
            raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", interrupted)
    with pytest.raises(KeyboardInterrupt):
        in_thread(core.ThreadSetup(), lambda _: None)
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, [])


def test_what_measures_fails_where_it_was_asked_for() -> None:
    def fails(_: object) -> None:
        raise ValueError("this way")

    with pytest.raises(ValueError, match="this way"):
        in_thread(core.ThreadSetup(), fails)
