"""``rtloop init bundle.yaml``: the loop around a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from rtloop.errors import ConfigError
from rtloop.policy.importing import draft
from tests.policy.importing.loops import Loop, samples, written
from tests.policy.leapp.bundles import BundleMaker, Reference, tensor
from tests.policy.leapp.test_bundles import NAMES, PREV, chain
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
