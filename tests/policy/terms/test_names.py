"""Elements by their names: in a difference, in the last command, and where a name is not one."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtloop.assumed import assumed_inputs, assumed_outputs
from rtloop.config import load
from rtloop.errors import ConfigError
from rtloop.policy import Sink
from rtloop.policy.show import table
from tests.policy.models import Runner, linear, passthrough
from tests.policy.terms.harness import Inputs, composed


def _observed(
    folder: Path, terms: list[Any], size: int, inputs: Inputs, *samples: Any, **section: Any
) -> list[float]:
    keys = {"model": "p.onnx", "observation": terms, **section}
    graph = composed(folder, keys, inputs, {"p.onnx": passthrough(size)})
    return [round(float(value), 5) for value in Runner(graph).step(*samples)]


def test_what_is_subtracted_is_the_element_of_the_same_name(tmp_path: Path) -> None:
    """The two vectors come from different devices, each in an order of its own."""
    inputs: Inputs = {"measured": ["knee", "hip", "ankle"], "wanted": ["hip", "toe", "knee"]}
    term = {"input": "measured", "joints": "policy", "minus": "wanted"}
    observed = _observed(
        tmp_path, [term], 2, inputs, [1, 2, 3], [10, 20, 30], joints=["hip", "knee"]
    )
    assert observed == [2 - 10, 1 - 30]


def test_what_is_subtracted_may_name_joints_as_the_source_does(tmp_path: Path) -> None:
    inputs: Inputs = {"measured": ["knee_pos", "hip_pos"], "wanted": ["hip_pos", "knee_pos"]}
    term = {"input": "measured", "joints": "policy", "named": "{}_pos", "minus": "wanted"}
    observed = _observed(tmp_path, [term], 2, inputs, [1, 2], [10, 30], joints=["hip", "knee"])
    assert observed == [2 - 10, 1 - 30]


def test_without_names_the_order_decides(tmp_path: Path) -> None:
    inputs: Inputs = {"measured": ["knee", "hip"], "plain": 2}
    terms = [{"input": "measured", "minus": "plain"}, {"input": "plain", "minus": "measured"}]
    assert _observed(tmp_path, terms, 4, inputs, [1, 2], [5, 6]) == [-4, -4, 4, 4]


def test_the_order_as_it_stands_may_be_that_of_a_group(tmp_path: Path) -> None:
    groups = {"ordered": [{"input": "measured", "joints": "policy"}]}
    inputs: Inputs = {"measured": ["knee", "hip"], "plain": 2}
    terms = [{"group": "ordered", "minus": "plain"}]
    section = {"groups": groups, "joints": ["hip", "knee"]}
    assert _observed(tmp_path, terms, 2, inputs, [1, 2], [5, 6], **section) == [-3, -5]


POSED = {"joints": ["hip", "knee"], "default_joint_pos": [1.0, 2.0]}
INPUTS: Inputs = {
    "measured": ["knee", "hip"],
    "ordered": ["hip", "knee"],
    "wanted": ["a", "b"],
    "raw": ["hip_pos", "knee_pos"],
    "plain": 2,
}


@pytest.mark.parametrize(
    ("term", "keys", "complaint"),
    [
        (
            {"input": "ordered", "minus": "wanted"},
            {},
            r"'hip', 'knee'; it has a or b; or by the same names: `joints` and `named` of a term",
        ),
        (
            {"input": "measured", "joints": "policy", "minus": "plain"},
            {"joints": ["hip", "knee"]},
            "found 'plain', whose elements have no names; expected elements with names",
        ),
        (
            {"input": "measured", "select": [1, 0], "minus": "plain"},
            {},
            "found 'plain', whose elements have no names; expected elements with names",
        ),
        (
            {"input": "plain", "minus": "measured"},
            {"joints": ["hip", "knee"]},
            "found 'measured', with knee or hip; expected names on both sides",
        ),
        (
            {"input": "raw", "minus": "default_joint_pos"},
            POSED,
            "'default_joint_pos' for 'hip_pos'; expected .*`joints: policy`, with `named`",
        ),
        (
            {"input": "wanted", "offset": "default_joint_pos"},
            POSED,
            "'default_joint_pos' for 'a'; expected elements that are joints of the policy",
        ),
        (
            {"input": "raw", "select": ["knee_pos", "hip_pos"], "minus": "default_joint_pos"},
            {"default_joint_pos": [1.0, 2.0]},
            "expected `joints` of the policy, which say whose values default_joint_pos has",
        ),
        (
            {"group": "twice", "select": [0, 2], "minus": "ordered"},
            {"groups": {"twice": [{"input": "ordered"}, {"input": "ordered"}]}},
            "names of which each is there once: it comes to several elements 'hip'",
        ),
        (
            {"group": "twice", "select": [0, 2], "minus": "default_joint_pos"},
            {"groups": {"twice": [{"input": "ordered"}, {"input": "ordered"}]}, **POSED},
            "'default_joint_pos' for elements of which some have the same name",
        ),
        ({"input": "raw", "select": ["knee_pos", 1]}, {}, r"select\[1\]: .*each element once"),
    ],
)
def test_an_order_that_can_be_mistaken_is_refused(
    tmp_path: Path, term: dict[str, Any], keys: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ConfigError, match=complaint):
        _observed(tmp_path, [term], 2, INPUTS, [1, 2], [3, 4], [5, 6], [7, 8], [9, 10], **keys)


def test_the_last_command_in_another_order_is_refused(tmp_path: Path) -> None:
    section = {"model": "p.onnx", "joints": ["hip", "knee"], "observation": [{"last_target": True}]}
    sinks = {"legs": Sink(2, ("knee", "hip"))}
    with pytest.raises(ConfigError, match="`joints: policy` beside it: its elements are joints"):
        composed(tmp_path, section, {"a": 1}, {"p.onnx": passthrough(2)}, outputs=sinks)


def test_a_difference_with_elements_that_are_missing_is_refused(tmp_path: Path) -> None:
    inputs: Inputs = {"measured": ["knee", "hip"], "wanted": ["hip", "toe"]}
    with pytest.raises(ConfigError, match=r"observation\[0\].minus: found 'wanted', whose elements go by "
                       "other names; expected 'wanted' with elements 'knee'; it has hip or toe"):  # fmt: skip
        _observed(tmp_path, [{"input": "measured", "minus": "wanted"}], 2, inputs, [1, 2], [1, 2])


def test_a_name_that_two_elements_have_selects_neither(tmp_path: Path) -> None:
    groups = {"both": [{"input": "pos"}, {"input": "vel"}]}
    inputs: Inputs = {"pos": ["hip", "knee"], "vel": ["hip", "knee"]}
    terms = [{"group": "both", "select": ["knee"]}]
    with pytest.raises(ConfigError, match=r"\[0\]: found 'knee'; expected an index: 2 elements"):
        _observed(tmp_path, terms, 1, inputs, [1, 2], [3, 4], groups=groups)


def test_a_pose_of_other_joints_is_not_taken_by_its_order(tmp_path: Path) -> None:
    pose = {"joints": ["hip", "knee"], "default_joint_pos": [1.0, 2.0]}
    inputs: Inputs = {"pos": ["knee", "toe"]}
    with pytest.raises(ConfigError, match="elements that are joints of the policy"):
        _observed(
            tmp_path, [{"input": "pos", "minus": "default_joint_pos"}], 2, inputs, [1, 2], **pose
        )


def test_the_last_command_is_picked_by_the_names_of_the_outputs(tmp_path: Path) -> None:
    section = {
        "model": "p.onnx",
        "joints": ["hip", "knee"],
        "observation": [
            {"last_target": True, "joints": "policy", "named": "{}_q"},
            {"last_target": True, "select": ["ankle_q"]},
        ],
        "action": {"to": ["hip_q", "knee_q", "ankle_q"]},
    }
    sinks = {"legs": Sink(2, ("knee_q", "hip_q")), "feet": Sink(1, ("ankle_q",))}
    graph = composed(tmp_path, section, {"a": 1}, {"p.onnx": passthrough(3)}, outputs=sinks)
    command = Runner(graph).step([0], last_command=[1, 2, 3])
    assert command.tolist() == [1, 2, 3]  # hip, knee, ankle observed; knee, hip, ankle commanded


def test_names_of_the_last_command_are_judged_when_the_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "p.onnx").write_bytes(passthrough(1))
    path = tmp_path / "leg.yaml"
    text = """
loops:
  leg:
    class: soft
    rate_hz: 50
    inputs: {a: {mailbox: [0]}}
    policy: {model: p.onnx, observation: [{last_target: true, select: [NAME]}]}
    outputs: {legs: {mailbox: true, names: [hip_q], safe: 0}}
"""
    path.write_text(text.replace("NAME", "hip_q"))
    load(path)
    path.write_text(text.replace("NAME", "hip_p"))
    with pytest.raises(ConfigError, match="found 'hip_p'; expected a field of last_target: hip_q"):
        load(path)


def test_the_whole_last_command_counts_in_the_size_of_an_observation(tmp_path: Path) -> None:
    section = {"model": "p.onnx", "observation": [{"last_target": True, "minus": [1, 2, 3]}]}
    graph = composed(tmp_path, section, {"a": 1}, {"p.onnx": passthrough(3)})
    assert Runner(graph).step([0], last_command=np.ones(3)).tolist() == [0, -1, -2]


def test_what_is_shown_of_elements_is_what_their_names_say(tmp_path: Path) -> None:
    """A difference by names, the last command of a joint, an orientation seen from another."""
    (tmp_path / "p.onnx").write_bytes(passthrough(12))
    path = tmp_path / "leg.yaml"
    path.write_text("""
loops:
  leg:
    class: soft
    rate_hz: 50
    inputs:
      measured: {mailbox: [0, 0], names: [knee, hip]}
      wanted: {mailbox: [0, 0, 0], names: [hip, toe, knee]}
      q: {mailbox: [1, 0, 0, 0]}
      goal: {mailbox: [1, 0, 0, 0]}
    policy:
      model: p.onnx
      joints: [hip, knee]
      observation:
        - {input: measured, joints: policy, minus: wanted}
        - {last_target: true, joints: [knee], named: "{}_q"}
        - {rotation: q, relative_to: goal}
      action: {to: [a, b, c, d, e, f, g, h, i, j, hip_q, knee_q]}
    outputs: {y: {mailbox: true, names: [a, b, c, d, e, f, g, h, i, j, hip_q, knee_q], safe: 0}}
""")
    config = load(path)
    loop = config.loops["leg"]
    policy = loop.policy.load(partial(config.where, "loops", "leg", "policy"))
    inputs, outputs = assumed_inputs(config, "leg", policy), assumed_outputs(loop, policy)
    sinks = {"y": Sink(12, tuple(signal.name for signal in outputs["y"]))}
    rows = table(loop.policy, policy, inputs, outputs, sinks).observations["policy.obs"]
    assert [(row.source, row.formula.text) for row in rows[:4]] == [
        ("measured[1]", "x - wanted.hip"),
        ("measured[0]", "x - wanted.knee"),
        ("last_target[11]", "x"),
        ("rotation(q, goal)[0]", "x"),
    ]


def test_a_residual_is_added_to_the_element_of_the_same_name(tmp_path: Path) -> None:
    section = {
        "model": "p.onnx",
        "joints": ["hip", "knee"],
        "observation": [{"input": "a"}],
        "action": {"joints": "policy", "plus": "reference"},
    }
    inputs: Inputs = {"a": 2, "reference": ["knee", "toe", "hip"]}
    sinks = {"legs": Sink(2, ("knee", "hip"))}
    graph = composed(tmp_path, section, inputs, {"p.onnx": passthrough(2)}, outputs=sinks)
    assert Runner(graph).step([1, 2], [10, 20, 30]).tolist() == [2 + 10, 1 + 30]
    inputs = {"a": 2, "reference": 1}
    with pytest.raises(
        ConfigError, match=r"plus: found 'reference', which has 1; expected 2 elements"
    ):
        composed(tmp_path, section, inputs, {"p.onnx": passthrough(2)}, outputs=sinks)


def test_the_last_action_has_the_joints_that_the_action_says(tmp_path: Path) -> None:
    section = {
        "model": "p.onnx",
        "joints": ["hip", "knee"],
        "observation": [{"input": "ordered"}, {"last_action": True, "joints": "policy"}],
        "action": {"joints": ["knee", "hip"]},
    }
    weight = np.eye(4, 2, dtype=np.float32) + 10 * np.eye(4, 2, -2, dtype=np.float32)
    graph = composed(tmp_path, section, {"ordered": ["hip", "knee"]}, {"p.onnx": linear(weight)})
    runner = Runner(graph)
    assert runner.step([1, 2]).tolist() == [1, 2]  # knee, hip
    assert runner.step([0, 0]).tolist() == [20, 10]


def test_a_model_is_not_given_joints_in_the_order_of_the_machine(tmp_path: Path) -> None:
    term = {"model": "filter.onnx", "inputs": {"obs": "measured"}}
    section: dict[str, Any] = {
        "model": "p.onnx", "joints": ["hip", "knee"], "observation": [term]
    }  # fmt: skip
    models = {"p.onnx": passthrough(2), "filter.onnx": passthrough(2)}
    with pytest.raises(ConfigError, match="a group that says their order with `joints`"):
        composed(tmp_path, section, {"measured": ["knee", "hip"]}, models)
    section["groups"] = {"joints": [{"input": "measured", "joints": "policy"}]}
    section["observation"] = [{"model": "filter.onnx", "inputs": {"obs": "joints"}}]
    composed(tmp_path, section, {"measured": ["knee", "hip"]}, models)
