"""What is made of a model, what is judged of it, and what is refused; never how many microseconds."""

from __future__ import annotations

import errno
import json
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from rtloop.config import load
from rtloop.demos.cartpole.plant import compiler
from rtloop.errors import ConfigError, RtloopError
from rtloop.policy.quantize.convert import NotQuantizedError, convert
from rtloop.policy.quantize.effect import (
    ClosedLoop,
    closed_loop,
    errors,
    known_plant,
    plant_named,
)
from rtloop.policy.quantize.outcome import Limits, Quantized, refusals
from rtloop.policy.quantize.quantize import Request, quantize
from rtloop.policy.verify import verify
from tests.policy.models import linear, recurrent, save
from tests.running import POLICY

LOOSE = Limits(error=0.2, time=1000.0)
STEPS = 200

LOOP = """\
loops:
  arm:
    class: soft
    rate_hz: 200
    inputs: {{q: {{mailbox: {inputs}}}}}
    policy:
{policy}
    outputs: {{o: {{mailbox: true, size: 3, safe: 0}}}}
    realtime: {{scheduler: other, lock_memory: false, cpu_dma_latency_us: null}}
"""
ONE = """\
      model: policy.onnx
      observation: [{input: q}]
"""
CHAIN = """\
      models:
        encoder: {model: encoder.onnx, observation: [{input: q}]}
        actor: {model: actor.onnx, observation: [{input: q}, {output: encoder.action}]}
"""


def perceptron(n: int, hidden: int, m: int, **metadata: str) -> bytes:
    """obs [1, n] -> tanh -> action [1, m]; the weights keep the size of the signal."""
    random = np.random.default_rng(1)
    weights = {
        "w0": random.standard_normal((n, hidden)).astype(np.float32) / math.sqrt(n),
        "w1": random.standard_normal((hidden, m)).astype(np.float32) / math.sqrt(hidden),
    }
    nodes = [
        helper.make_node("MatMul", ["obs", "w0"], ["a"]),
        helper.make_node("Tanh", ["a"], ["b"]),
        helper.make_node("MatMul", ["b", "w1"], ["action"]),
    ]
    values = [("obs", TensorProto.FLOAT, [1, n])], [("action", TensorProto.FLOAT, [1, m])]
    model = onnx.load_from_string(save(nodes, *values, weights))
    onnx.helper.set_model_props(model, metadata)
    return bytes(model.SerializeToString())


def written(folder: Path, policy: str = ONE, n: int = 6) -> Path:
    path = folder / "arm.yaml"
    path.write_text(LOOP.format(policy=policy.rstrip(), inputs=[0] * n))
    return path


def cases(folder: Path, n: int = 6, steps: int = STEPS) -> Path:
    """Inputs, and something to compare with, which a quantisation does not look at."""
    random = np.random.default_rng(2)
    path = folder / "cases.npz"
    values = random.uniform(-1, 1, (steps, n)).astype(np.float32)
    np.savez(path, in_q=values, raw=np.zeros((steps, 3), np.float32))
    return path


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    joints = json.dumps(["hip", "knee", "foot"])
    (tmp_path / "policy.onnx").write_bytes(perceptron(6, 32, 3, joint_names=joints))
    written(tmp_path)
    cases(tmp_path)
    return tmp_path


def done(kind: str = "int8", limits: Limits = LOOSE, **more: object) -> Quantized:
    request = Request(kind, cases=Path("cases.npz"), limits=limits, seconds=0.02, **more)  # type: ignore[arg-type]
    return quantize(load("arm.yaml"), "arm", request)


@pytest.mark.parametrize(("kind", "most"), [("int8", 0.1), ("float16", 0.002)])
def test_what_is_written_is_the_policy_in_fewer_bits(folder: Path, kind: str, most: float) -> None:
    found = done(kind)
    assert found.refused == ()
    assert [error.element for error in found.errors] == ["hip", "knee", "foot"]
    assert 0 < max(error.relative for error in found.errors) < most
    assert found.compared_runs == STEPS // 2, "the half that the ranges are not of"
    assert found.calibrated_runs == (STEPS // 2 if kind == "int8" else 0)
    new = found.written["policy"].path
    assert new == folder / f"policy.{kind}.onnx"
    model = onnx.load(new)
    onnx.checker.check_model(model)
    assert {
        value.type.tensor_type.elem_type for value in (*model.graph.input, *model.graph.output)
    } == {TensorProto.FLOAT}
    types = {tensor.data_type for tensor in model.graph.initializer}
    assert (TensorProto.INT8 if kind == "int8" else TensorProto.FLOAT16) in types
    assert new.stat().st_size != (folder / "policy.onnx").stat().st_size


def test_the_same_yaml_takes_it_with_one_line_changed(folder: Path) -> None:
    new = done().written["policy"]
    lines = (folder / "arm.yaml").read_text().splitlines()
    assert new.named_at.line is not None
    assert lines[new.named_at.line - 1].strip() == "model: policy.onnx"
    lines[new.named_at.line - 1] = f"      model: {new.path.name}"
    (folder / "arm.yaml").write_text("\n".join(lines))
    config = load("arm.yaml")
    loop = config.loops["arm"]
    policy = loop.policy.load(lambda *keys: config.where("loops", "arm", "policy", *keys))
    assert policy.joints == ("hip", "knee", "foot"), "of the metadata of the original"
    assert policy.sha256 == new.sha256
    found = verify(config, "arm", Path("cases.npz"), tolerance=1e9)
    assert found.steps == STEPS
    assert found.terminations == (), "what it commands is finite"


def test_the_metadata_say_what_was_done(folder: Path) -> None:
    original = onnx.load(folder / "policy.onnx")
    new = onnx.load(done().written["policy"].path)
    props = {item.key: item.value for item in new.metadata_props}
    told = json.loads(props.pop("rtloop.quantized"))
    assert props == {item.key: item.value for item in original.metadata_props}
    assert told["to"] == "int8"
    assert told["calibrated_on"] == "cases.npz"
    assert told["calibrated_runs"] == STEPS // 2
    assert 0 < told["largest_error_of_range"] < 0.1
    assert len(told["sha256_before"]) == 64


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(error=1e-6, time=1000), "too large an error: '"),
        (Limits(error=0.2, time=1e-6), "slower: "),
    ],
)
def test_what_is_worse_is_refused_and_nothing_is_written(
    folder: Path, limits: Limits, reason: str
) -> None:
    before = sorted(folder.iterdir())
    found = done(limits=limits)
    (told,) = found.refused
    assert told.startswith(reason)
    assert found.written == {}
    assert sorted(folder.iterdir()) == before


def test_all_reasons_are_told_at_once() -> None:
    assert len(done(limits=Limits(error=1e-6, time=1e-6)).refused) == 2


def test_a_recurrent_policy_feeds_its_own_state_back(folder: Path) -> None:
    (folder / "policy.onnx").write_bytes(recurrent(6, 16, 3)[0])
    found = done("float16")
    assert found.refused == ()
    assert 0 < max(error.relative for error in found.errors) < 0.02
    model = onnx.load(found.written["policy"].path)
    assert [value.name for value in model.graph.input] == ["obs", "h_in"]


def test_each_of_several_models_is_written(folder: Path) -> None:
    (folder / "encoder.onnx").write_bytes(perceptron(6, 16, 3))
    (folder / "actor.onnx").write_bytes(perceptron(9, 16, 3))
    written(folder, CHAIN)
    (folder / "new").mkdir()
    with pytest.raises(ConfigError, match="and 2 models; expected a folder that is there"):
        done("float16", out=Path("new.onnx"))
    found = done("float16", out=folder / "new")
    names = {name: new.path.name for name, new in found.written.items()}
    assert names == {"encoder": "encoder.float16.onnx", "actor": "actor.float16.onnx"}
    lines = [new.named_at.key for new in found.written.values()]
    assert lines == [f"loops.arm.policy.models.{name}.model" for name in names]
    assert len(list((folder / "new").iterdir())) == 2
    with pytest.raises(ConfigError, match="a policy of 2 models; expected one model"):
        done("float16", out=folder, plant="math:sqrt")


def test_nothing_is_overwritten(folder: Path) -> None:
    (folder / "policy.int8.onnx").write_text("mine")
    with pytest.raises(ConfigError, match="policy.int8.onnx is there already; -o names another"):
        done()
    assert (folder / "policy.int8.onnx").read_text() == "mine"
    assert done(out=Path("other.onnx")).written["policy"].path == Path("other.onnx")


def test_what_was_quantised_is_not_quantised_again(folder: Path) -> None:
    """It would be compared with itself, under the name of float32."""
    done("float16")
    written(folder, ONE.replace("policy.onnx", "policy.float16.onnx"))
    with pytest.raises(
        ConfigError, match="7:14: .*model: found a model that was quantised already"
    ):
        done("int8")


def test_what_cannot_be_written_whole_is_not_there(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full at the second of two models: the first is not left behind, either."""
    (folder / "encoder.onnx").write_bytes(perceptron(6, 16, 3))
    (folder / "actor.onnx").write_bytes(perceptron(9, 16, 3))
    written(folder, CHAIN)
    (folder / "new").mkdir()
    synced = []

    def full(descriptor: int) -> None:
        synced.append(descriptor)
        if len(synced) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RtloopError, match=r"cannot write '.*actor.*': No space left on device"):
        done("float16", out=folder / "new")
    assert list((folder / "new").iterdir()) == []


def test_a_pinned_model_has_another_sha256(folder: Path) -> None:
    config = load("arm.yaml")
    loop = config.loops["arm"]
    policy = loop.policy.load(lambda *keys: config.where("loops", "arm", "policy", *keys))
    written(folder, f"{ONE}      sha256: {policy.stages[0].file.file_sha256}\n")
    new = done().written["policy"]
    assert new.pinned_at is not None
    assert new.pinned_at.key == "loops.arm.policy.sha256"


def test_an_operator_without_int8_is_named(folder: Path) -> None:
    node = helper.make_node("Sin", ["obs"], ["action"])
    values = [(name, TensorProto.FLOAT, [1, 3]) for name in ("obs", "action")]
    (folder / "policy.onnx").write_bytes(save([node], values[:1], values[1:], {}))
    written(folder, n=3)
    cases(folder, n=3)
    reason = r"loop 'arm': no int8: onnxruntime has none of its operators in int8 \(Sin\)"
    with pytest.raises(RtloopError, match=reason):
        done()
    with pytest.raises(RtloopError, match="no float16: it has no weights in float32"):
        done("float16")


def test_what_onnxruntime_logs_on_the_way_stays_there(
    folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    node = helper.make_node("Einsum", ["obs", "w"], ["action"], equation="bi,ij->bj")
    values = [(name, TensorProto.FLOAT, [1, 3]) for name in ("obs", "action")]
    weight = {"w": np.ones((3, 3), np.float32)}
    (folder / "policy.onnx").write_bytes(save([node], values[:1], values[1:], weight))
    written(folder, n=3)
    cases(folder, n=3)
    with pytest.raises(RtloopError, match=r"has none of its operators in int8 \(Einsum\)"):
        done()
    assert "onnxruntime" not in capfd.readouterr().err


def test_too_few_runs_tell_no_range(folder: Path) -> None:
    cases(folder, steps=30)
    with pytest.raises(ConfigError, match=r"cases.npz: found 30 runs .*; expected 40 or more"):
        done()


def test_without_inputs_there_is_nothing_to_compare() -> None:
    with pytest.raises(ConfigError, match="found neither --calibration nor --cases; expected one"):
        quantize(load("arm.yaml"), "arm", Request("float16"))


def test_int8_needs_finite_runs() -> None:
    model = onnx.load_from_string(perceptron(6, 8, 3))
    with pytest.raises(NotQuantizedError, match="no run of it with finite values was seen"):
        convert(model, "int8", [])


def test_an_old_opset_is_brought_to_one_that_has_scales_for_rows() -> None:
    weight = np.random.default_rng(0).standard_normal((6, 3)).astype(np.float32)
    model = onnx.load_from_string(linear(weight, opset=11))
    feeds = [{"obs": np.full((1, 6), x, np.float32)} for x in (-1.0, 1.0)]
    made = convert(model, "int8", feeds)
    assert [opset.version for opset in made.opset_import if opset.domain == ""] == [13]


# --- what it does otherwise ---


def test_errors_are_shares_of_the_range() -> None:
    expected = np.array([[0, 5, 1], [10, 5, 2]], np.float32)
    got = np.array([[1, 5.5, 1], [10, 5, 2]], np.float32)
    first, still, exact = errors(["a", "b", "c"], got, expected)
    assert (first.largest, first.range, first.relative) == (1, 10, 0.1)
    assert (still.range, still.relative) == (0, 0.05), "of the range of all"
    assert exact.relative == 0


def test_what_is_not_finite_is_infinitely_wrong() -> None:
    expected = np.array([[0], [1], [np.nan]], np.float32)
    got = np.array([[0], [np.nan], [1]], np.float32)
    (found,) = errors(["a"], got, expected)
    assert found.relative == math.inf
    assert found.as_dict()["relative"] is None
    with pytest.raises(RtloopError, match="found no run with a finite answer"):
        errors(["a"], got[2:], expected[2:])


@pytest.mark.parametrize("got", [0.0, 0.25])
def test_where_nothing_moves_no_error_is_small(got: float) -> None:
    """A policy without biases, at rest: every version answers nothing, also one that is worth nothing."""
    still = np.zeros((3, 2), np.float32)
    found = errors(["a", "b"], still + np.float32(got), still)
    (told,) = refusals(found, 0.5, None, Limits())
    expected = (
        "no error can be told: nothing that the policy answers moves in the runs that were compared"
    )
    assert told.startswith(f"{expected}, and the largest difference is {got:g}.")


def test_what_is_not_finite_is_told_in_words() -> None:
    expected = np.array([[0], [1]], np.float32)
    found = errors(["a"], np.array([[0], [np.inf]], np.float32), expected)
    told = ["too large an error: 'a' is not finite where it is in float32"]
    assert list(refusals(found, 0.5, None, Limits())) == told


def test_an_answer_that_never_moves_may_not_begin_to() -> None:
    still = np.ones((3, 1), np.float32)
    assert errors(["a"], still, still)[0].relative == 0
    assert errors(["a"], still + 1, still)[0].relative == math.inf


@pytest.mark.parametrize(("after", "loss"), [(0.5, 0.5), (1.0, 0.0), (2.0, -1.0)])
def test_the_loss_is_a_share_of_the_score(after: float, loss: float) -> None:
    assert ClosedLoop("p", {"score": 1.0}, {"score": after}).loss == loss


def test_a_loss_from_nothing_or_below() -> None:
    assert ClosedLoop("p", {"score": 0.0}, {"score": 0.0}).loss == 0
    assert ClosedLoop("p", {"score": 0.0}, {"score": -1.0}).loss == 1
    assert ClosedLoop("p", {"score": -2.0}, {"score": -3.0}).loss == 0.5


@pytest.fixture
def plants(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (folder / "plants_of_a_test.py").write_text(
        "def falls(path): return {'score': 1.0 if path.name == 'float32.onnx' else 0.5, 'm': 2}\n"
        "def stands(path): return {'score': 1.0}\n"
        "def silent(path): return {'m': 2}\n"
        "def breaks(path): raise OSError('no simulator')\n"
        "def talks(path):\n    print('walking')\n    return {'score': 1.0}\n"
        "def leaves(path): raise SystemExit(0)\n"
        "def nothing(path): return None\n"
        "def words(path): return {'score': 'good'}\n"
        "number = 1\n"
    )
    monkeypatch.syspath_prepend(str(folder))
    yield
    import sys

    sys.modules.pop("plants_of_a_test", None)


@pytest.mark.usefixtures("plants")
def test_what_is_worse_on_its_plant_is_refused(folder: Path) -> None:
    found = done(plant="plants_of_a_test:falls")
    (told,) = found.refused
    assert told.startswith("worse on its plant: score 0.5 in place of 1, more than 2 % less")
    assert found.closed_loop is not None
    assert found.closed_loop.before == {"score": 1.0, "m": 2.0}
    assert not (folder / "policy.int8.onnx").exists()
    assert done(plant="plants_of_a_test:falls", limits=Limits(0.2, 1000, 0.6)).written
    assert done("float16", plant="plants_of_a_test:stands").refused == ()


@pytest.mark.usefixtures("plants")
def test_a_plant_of_a_demo_that_cannot_run_here_is_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    known = "rtloop.policy.quantize.quantize.known_plant"
    monkeypatch.setattr(known, lambda _: "plants_of_a_test:breaks")
    found = done()
    assert found.refused == ()
    assert found.closed_loop is None
    assert found.no_plant == "plant 'plants_of_a_test:breaks' failed: no simulator"
    with pytest.raises(RtloopError, match="no simulator"):
        done("float16", plant="plants_of_a_test:breaks")


@pytest.mark.usefixtures("plants")
@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        (
            "nowhere_at_all:f",
            ConfigError,
            "plant: found 'nowhere_at_all:f' .*; expected module:function",
        ),
        ("plants_of_a_test:none", ConfigError, "plant: found 'plants_of_a_test:none'"),
        ("plants_of_a_test:number", ConfigError, "no function; expected one"),
        ("plants_of_a_test:silent", ConfigError, "found m; expected 'score' among them"),
        ("plants_of_a_test:breaks", RtloopError, "plant 'plants_of_a_test:breaks' failed: no sim"),
        ("plants_of_a_test:leaves", RtloopError, "failed: it left by SystemExit: 0"),
        ("plants_of_a_test:nothing", ConfigError, "found None; expected numbers by name"),
        ("plants_of_a_test:words", RtloopError, "could not convert string to float: 'good'"),
    ],
)
def test_a_plant_that_is_none(name: str, error: type[RtloopError], told: str) -> None:
    with pytest.raises(error, match=told):
        closed_loop(name, Path("a"), Path("b"))


@pytest.mark.usefixtures("plants")
def test_what_a_plant_prints_is_not_among_what_the_command_tells(
    capsys: pytest.CaptureFixture[str],
) -> None:
    closed_loop("plants_of_a_test:talks", Path("a"), Path("b"))
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "walking\nwalking\n")


def test_the_plants_of_the_demos_are_known_by_their_policies() -> None:
    from rtloop.policy.model_file import read_model

    assert known_plant(read_model(POLICY).file_sha256) == "rtloop.demos.cartpole.score:closed_loop"
    assert known_plant("0" * 64) is None


@pytest.mark.skipif(compiler() is None, reason="no C compiler")
def test_the_cart_pole_stands_in_float32(folder: Path) -> None:
    """And not under a policy that does nothing, or the score would tell nothing."""
    idle = onnx.load(POLICY)
    for tensor in idle.graph.initializer:
        zeros = np.zeros(tuple(tensor.dims), np.float32)
        tensor.CopyFrom(onnx.numpy_helper.from_array(zeros, tensor.name))
    onnx.save(idle, folder / "idle.onnx")
    found = closed_loop("rtloop.demos.cartpole.score:closed_loop", POLICY, folder / "idle.onnx")
    assert found.before["score"] == 1.0
    assert found.after["score"] == 0.0
    assert plant_named(found.plant) is not None
