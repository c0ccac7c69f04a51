"""``rtloop init bundle.yaml``: the loop around a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from rtloop.cli.check import check
from rtloop.cli.main import main
from rtloop.errors import ConfigError
from rtloop.policy.importing import draft
from tests.policy.importing.loops import Loop, samples, written
from tests.policy.leapp.bundles import BundleMaker, Reference, tensor
from tests.policy.leapp.chain import NAMES, PREV, chain
from tests.policy.models import save

FLOAT = TensorProto.FLOAT


def test_the_loop_around_a_chain_runs_it(tmp_path: Path) -> None:
    maker = chain(tmp_path)
    maker.initial(PREV)
    text = written(tmp_path, str(maker.write()))
    assert "rate_hz: 40  # chain.yaml: pipeline.configs.frequency" in text
    assert "leapp: chain.yaml  # runs encoder, policy" in text
    assert "# chain.yaml: encoder/joint_pos, state/joint/position" in text
    loop, reference = Loop(tmp_path), Reference(maker, PREV)
    assert loop.inputs == {"joint_pos": 3, "cmd": 2}
    assert loop.outputs == {"joint_pos_target": NAMES[::-1]}
    assert "safe: {hold: joint_pos}" in text
    for step in range(5):
        given = samples(loop, step)
        joints = given["joint_pos"]
        inputs = {
            "encoder/joint_pos": joints,
            "encoder/cmd": given["cmd"],
            "policy/joint_pos": joints,
        }
        action = reference.step(inputs)["policy/action"][0]
        np.testing.assert_array_equal(loop.step(given)["joint_pos_target"], action)


def test_a_renamed_input_is_bound_by_a_term(tmp_path: Path) -> None:
    maker = chain(tmp_path)
    written(tmp_path, str(maker.write()), "--rename", "joint_pos=encoders", "--rename=cmd=stick")
    assert Loop(tmp_path).inputs == {"encoders": 3, "stick": 2}


def test_a_renamed_input_keeps_the_names_of_its_elements(tmp_path: Path) -> None:
    """Of each model that reads it, and whatever order the input is then given."""
    maker = _doubling(
        tmp_path,
        [
            tensor("joint_pos", [1, 3], element_names=[NAMES]),
            tensor("joint_pos", [1, 3], element_names=[NAMES[::-1]]),
        ],
    )
    text = written(tmp_path, str(maker.write()), "--rename", "joint_pos=encoders")
    there = "names: &joints [hip, knee, foot]"
    assert there in text
    for other in (there, "names: [knee, foot, hip]"):
        (tmp_path / "loop.yaml").write_text(text.replace(there, other).replace("*joints", "NAMES"))
        loop = Loop(tmp_path)
        names = loop.section.inputs["encoders"].element_names or ()
        targets = loop.step({"encoders": [1 + NAMES.index(name) for name in names]})
        assert np.concatenate(list(targets.values())).tolist() == [2, 4, 6, 6, 4, 2]


@pytest.mark.parametrize(
    "described",
    [
        [
            tensor("q", [1, 2], kind="state/joint/position", element_names=[["a", "b"]]),
            tensor("q", [1, 2], kind="state/joint/velocity", element_names=[["a", "b"]]),
        ],
        [
            tensor("obs", [1, 2]),
            tensor("Obs", [1, 2]),
        ],
        [
            tensor("the_position_of_the_feet_of_the_left", [1, 2]),
            tensor("the_position_of_the_feet_of_the_right", [1, 2]),
        ],
    ],
)
def test_inputs_that_differ_are_two_inputs_of_the_loop(
    tmp_path: Path, described: list[dict[str, Any]]
) -> None:
    """In their kind, in capitals, or behind the 32 characters that a name may have."""
    written(tmp_path, str(_doubling(tmp_path, described).write()))
    loop = Loop(tmp_path)
    assert list(loop.inputs.values()) == [2, 2]
    one, other = loop.inputs
    targets = loop.step({one: [1, 2], other: [3, 4]})
    assert np.concatenate(list(targets.values())).tolist() == [2, 4, 6, 8]


def test_an_input_is_called_by_its_kind_where_its_name_says_another(tmp_path: Path) -> None:
    described = [tensor("joint_pos", [1, 2], kind="state/joint/velocity")]
    written(tmp_path, str(_doubling(tmp_path, described).write()))
    assert Loop(tmp_path).inputs == {"joint_vel": 2}


@pytest.mark.parametrize(
    ("shape", "axes", "frequency", "history", "expected"),
    [
        ([1, 3, 2], [None, "__temporal_axis__", ["a", "b"]], None, "history: 3", [1, 10, 2, 20, 3, 30]),
        (
            [1, 2, 3],
            [None, ["a", "b"], "__temporal_axis__"],
            None,
            "history: {steps: [2, 1, 0], interleave: true}",
            [1, 2, 3, 10, 20, 30],
        ),
        (
            [1, 2, 2],
            [None, "__temporal_axis__", ["a", "b"]],
            100.0,
            "history: {steps: [2, 0]}",
            [1, 10, 3, 30],
        ),
    ],
)  # fmt: skip
def test_an_axis_of_time_is_a_history(
    tmp_path: Path, shape: list[int], axes: Any, frequency: Any, history: str, expected: list[float]
) -> None:
    described = tensor("q", shape, element_names=axes, temporal_period_ms=20.0)
    maker = _doubling(tmp_path, [described])
    maker.data["models"]["node0"]["outputs"][0].pop("element_names")
    if frequency is not None:
        maker.pipeline["configs"] = {"frequency": frequency}
    text = written(tmp_path, str(maker.write()))
    assert f"rate_hz: {frequency or 50:g}" in text
    assert f"{{input: q, select: [a, b], {history}}}" in text
    assert "TODO(you): node0.q holds" in text
    loop = Loop(tmp_path)
    for step in (1, 2, 3):
        targets = loop.step({"q": [step, 10 * step]})
    assert (np.concatenate(list(targets.values())) / 2).tolist() == expected


def test_a_target_that_flows_back_is_commanded_beside_what_leaves(tmp_path: Path) -> None:
    """Its kind says that it is one; without it the gains would pull all joints to 0."""
    maker = chain(tmp_path)
    gains = tensor("latent", [1, 4], kind="kp", element_names=[[*NAMES, "toe"]])
    maker.data["models"]["encoder"]["outputs"][0] = gains
    maker.pipeline["outputs"] = {"encoder": ["latent"]}
    text = written(tmp_path, str(maker.write()))
    assert "TODO(you): policy.action, target/joint/position, flows back" in text
    kp, targets = Loop(tmp_path).outputs.values()
    assert kp == [f"{name}_kp" for name in (*NAMES, "toe")]
    assert targets == [f"{name}_pos" for name in NAMES[::-1]]


def test_a_bundle_that_reads_nothing_from_outside_runs(tmp_path: Path) -> None:
    """As in LEAPP: a pattern generator that knows its own state alone."""
    maker = _doubling(tmp_path, [tensor("phase", [1, 2])])
    maker.pipeline["inputs"] = {}
    maker.pipeline["feedback_flow"] = {"node0/out0": ["node0/phase"]}
    maker.initial({"node0/phase": np.array([[1, 3]], np.float32)})
    path = tmp_path / "loop.yaml"
    assert main(["init", str(maker.write()), "-o", str(path)]) == 0
    (warning,) = check(path).warnings
    assert "NaN or infinity" in str(warning), "it doubles for ever; nothing else is wrong with it"
    loop = Loop(tmp_path)
    assert [loop.step({})["out0"].tolist() for _ in range(3)] == [[2, 6], [4, 12], [8, 24]]


def _doubling(folder: Path, inputs: list[dict[str, Any]]) -> BundleMaker:
    """A model for each input, which doubles it."""
    maker = BundleMaker(folder, "double")
    for index, described in enumerate(inputs):
        name, shape = str(described["name"]), described["shape"]
        node = helper.make_node("Add", [name, name], [f"out{index}"])
        model = save([node], [(name, FLOAT, shape)], [(f"out{index}", FLOAT, shape)], {})
        out = {k: v for k, v in described.items() if k == "element_names"}
        maker.model(f"node{index}", model, [described], [tensor(f"out{index}", shape, **out)])
        maker.pipeline["inputs"][f"node{index}"] = [name]
        maker.pipeline["outputs"][f"node{index}"] = [f"out{index}"]
    return maker


def test_inputs_of_one_name_are_one_where_their_elements_have_names(tmp_path: Path) -> None:
    maker = _doubling(
        tmp_path,
        [
            tensor("q", [1, 2], element_names=["a", "b"]),
            tensor("q", [1, 2], element_names=["c", "b"]),
            tensor("obs.raw", [1, 3]),
        ],
    )
    written(tmp_path, str(maker.write()))
    loop = Loop(tmp_path)
    assert loop.inputs == {"q": 3, "obs_raw": 3}
    targets = loop.step({"q": [1, 2, 3], "obs_raw": [4, 5, 6]})
    by_name = {
        name: value
        for key, names in loop.outputs.items()
        for name, value in zip(names, targets[key], strict=True)
    }
    assert by_name == {
        "a_out0": 2,
        "b_out0": 4,
        "c_out1": 6,
        "b_out1": 4,
        "out2_0": 8,
        "out2_1": 10,
        "out2_2": 12,
    }


def test_inputs_of_one_name_and_other_sizes_are_two(tmp_path: Path) -> None:
    maker = _doubling(tmp_path, [tensor("x", [1, 2]), tensor("x", [1, 3])])
    written(tmp_path, str(maker.write()))
    loop = Loop(tmp_path)
    assert loop.inputs == {"x": 2, "node1_x": 3}
    targets = loop.step({"x": [1, 2], "node1_x": [3, 4, 5]})
    assert np.concatenate(list(targets.values())).tolist() == [2, 4, 6, 8, 10]


def test_an_output_that_only_flows_back_is_guessed_and_said(tmp_path: Path) -> None:
    maker = chain(tmp_path)
    maker.pipeline["outputs"] = {}
    text = written(tmp_path, str(maker.write()))
    assert "policy.action is a guess" in " ".join(text.replace("#", " ").split())
    assert Loop(tmp_path).outputs == {"joint_pos_target": NAMES[::-1]}


def test_a_bundle_needs_no_file_beside_it(tmp_path: Path) -> None:
    path = chain(tmp_path).write()
    with pytest.raises(ConfigError, match="expected the bundle alone"):
        draft(path, path)
