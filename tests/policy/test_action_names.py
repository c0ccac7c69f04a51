"""Which value of an action goes to which element, and what is added to it: by names, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from rtloop.config import loads
from rtloop.errors import ConfigError
from rtloop.policy import Sink
from rtloop.policy.opened import opened
from tests.policy.models import Runner, passthrough
from tests.policy.terms.harness import Inputs, composed

JOINTS = ["a", "b", "c"]
POSED = {"joints": JOINTS, "default_joint_pos": [10.0, 20.0, 30.0]}
INPUTS: Inputs = {
    "obs": JOINTS,
    "r": ["c", "b", "a"],
    "plain": 3,
    "other": ["x", "y", "z"],
    "one": 1,
}
SAMPLES = ([1, 2, 3], [300, 200, 100], [7, 8, 9], [4, 5, 6], [1000])
REVERSED = {"motors": Sink(3, ("c", "b", "a"))}


def _commanded(
    folder: Path,
    action: Any,
    outputs: Mapping[str, Sink] | None = None,
    n_actions: int = 3,
    **keys: Any,
) -> list[float]:
    observation = [{"input": "obs", "select": list(range(n_actions))}]
    key = "action" if isinstance(action, dict) else "actions"
    section = {"model": "p.onnx", "observation": observation, key: action, **keys}
    graph = composed(folder, section, INPUTS, {"p.onnx": passthrough(n_actions)}, outputs=outputs)
    return [float(value) for value in Runner(graph).step(*SAMPLES)]


def test_what_is_added_is_the_element_of_the_same_name(tmp_path: Path) -> None:
    action = {"joints": "policy", "plus": "r"}
    assert _commanded(tmp_path, action, REVERSED, joints=JOINTS) == [303, 202, 101]


def test_a_selected_value_goes_to_the_element_of_its_joint(tmp_path: Path) -> None:
    assert _commanded(tmp_path, {"select": [0, 1, 2]}, REVERSED, joints=JOINTS) == [3, 2, 1]
    assert _commanded(tmp_path, {"select": [2, 0, 1]}, REVERSED, joints=JOINTS) == [3, 2, 1]


def test_a_value_of_a_group_goes_to_the_element_of_its_name(tmp_path: Path) -> None:
    groups = {"g": [{"input": "obs"}]}
    assert _commanded(tmp_path, {"group": "g"}, REVERSED, groups=groups) == [3, 2, 1]


def test_the_pose_of_a_selected_value_is_that_of_its_joint(tmp_path: Path) -> None:
    action = {"select": [2, 1, 0], "offset": "default_joint_pos"}
    assert _commanded(tmp_path, action, REVERSED, 3, **POSED) == [33, 22, 11]


def test_a_residual_from_the_last_command_goes_by_its_names(tmp_path: Path) -> None:
    section = {
        "model": "p.onnx",
        "joints": JOINTS,
        "observation": [{"input": "obs"}],
        "groups": {"last": [{"last_target": True, "joints": "policy"}]},
        "action": {"plus": "last"},
    }
    graph = composed(tmp_path, section, INPUTS, {"p.onnx": passthrough(3)}, outputs=REVERSED)
    assert Runner(graph).step(*SAMPLES, last_command=[30, 20, 10]).tolist() == [33, 22, 11]


def test_the_last_command_in_another_order_is_told_as_it_stands(tmp_path: Path) -> None:
    section = {
        "model": "p.onnx",
        "joints": JOINTS,
        "observation": [{"last_target": True}],
        "action": {"joints": "policy"},
    }
    with pytest.raises(ConfigError, match="last_target: found 'true'; expected `joints: policy`"):
        composed(tmp_path, section, INPUTS, {"p.onnx": passthrough(3)}, outputs=REVERSED)


def test_a_group_of_another_size_is_commanded_by_a_plain_action(tmp_path: Path) -> None:
    groups = {"g": [{"input": "obs"}, {"input": "one"}]}
    outputs = {"plain": Sink(4)}
    assert _commanded(tmp_path, {"group": "g"}, outputs, groups=groups) == [1, 2, 3, 1000]
    assert _commanded(tmp_path, {"select": [2]}, {"plain": Sink(1)}) == [3]


PLAIN = {"plain": Sink(3)}


@pytest.mark.parametrize(
    ("action", "outputs", "keys", "complaint"),
    [
        ({"plus": "one"}, PLAIN, {}, r"action.plus: found 'one', which has 1; expected 3 elements"),
        (
            {"plus": "other"},
            REVERSED,
            {"joints": JOINTS},
            r"action.plus: .*'a', 'b', 'c'; it has x",
        ),
        ({"plus": "r"}, PLAIN, {"joints": ["a", "b"]}, r"action.plus: found 'r', with c, b or a"),
        (
            {"select": [2, 1, 0], "plus": "plain"},
            REVERSED,
            {"joints": JOINTS},
            "found 'plain', whose elements have no names",
        ),
        (
            {"group": "g"},
            {"motors": Sink(3, ("x", "y", "z"))},
            {"groups": {"g": [{"input": "obs"}]}},
            "outputs of the loop with elements 'a', 'b', 'c'; .*`to` which they are",
        ),
        (
            {"select": [2, 1, 0], "offset": "default_joint_pos"},
            PLAIN,
            {"default_joint_pos": [1.0, 2.0, 3.0], "groups": {}},
            "",
        ),
        (
            {"group": "g", "output": "action"},
            PLAIN,
            {"groups": {"g": [{"input": "obs"}]}},
            "either",
        ),
        ({"select": [0, 0, 1]}, PLAIN, {}, r"action.select\[1\]: .*each element once; one that"),
        (
            {"named": "{}_target"},
            REVERSED,
            {"joints": JOINTS},
            r"action.named: found 'a_target', 'b_target', 'c_target'",
        ),
        ({"from": "plain", "relative": True, "select": [2, 1, 0]}, REVERSED, POSED, "no names"),
    ],
)
def test_a_place_that_can_be_mistaken_is_refused(
    tmp_path: Path,
    action: dict[str, Any],
    outputs: Mapping[str, Sink],
    keys: dict[str, Any],
    complaint: str,
) -> None:
    if complaint:
        with pytest.raises(ConfigError, match=complaint):
            _commanded(tmp_path, action, outputs, **keys)
    else:
        _commanded(tmp_path, action, outputs, **keys)


def test_some_joints_of_the_policy_are_named(tmp_path: Path) -> None:
    outputs = {"motors": Sink(2, ("b", "a"))}
    with pytest.raises(ConfigError, match="2 values without names; expected `joints`, the joints"):
        _commanded(tmp_path, {}, outputs, n_actions=2, joints=JOINTS)
    action = {"joints": ["a", "b"]}
    assert _commanded(tmp_path, action, outputs, n_actions=2, joints=JOINTS) == [2, 1]
    assert _commanded(tmp_path, {}, {"motors": Sink(2, ("x", "y"))}, n_actions=2) == [1, 2]


def test_values_of_some_named_elements_may_be_fewer_than_the_outputs_have(tmp_path: Path) -> None:
    """What they are for is known once the metadata are read."""
    (tmp_path / "p.onnx").write_bytes(passthrough(3))
    text = """
loops:
  arm:
    class: soft
    rate_hz: 50
    inputs: {q: {mailbox: [0, 0, 0]}}
    policy: {model: p.onnx, observation: [{input: q}], action: {scale: SCALE}}
    outputs: {motors: {mailbox: true, names: [a, b, c, d], safe: 0}}
"""
    loads(text.replace("SCALE", "[1, 2, 3]"), str(tmp_path / "arm.yaml"))
    with pytest.raises(ConfigError, match="found a list of 5; expected 4 as in 'outputs'"):
        loads(text.replace("SCALE", "[1, 2, 3, 4, 5]"), str(tmp_path / "arm.yaml"))


TWO = {"left": Sink(2, ("q", "force")), "right": Sink(1, ("force",))}


def test_elements_of_one_name_are_commanded_by_that_of_their_output(tmp_path: Path) -> None:
    to = ["right.force", "left.q", "left.force"]
    assert _commanded(tmp_path, {"to": to}, TWO) == [2, 3, 1]
    actions = [
        {"select": [1, 2], "to": ["left.force", "q"]},
        {"select": [0], "to": ["right.force"]},
    ]
    assert _commanded(tmp_path, actions, TWO) == [3, 2, 1]


def test_a_name_that_several_outputs_have_is_told_with_theirs(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"it has q, left\.force or right\.force"):
        _commanded(tmp_path, {"to": ["force", "q", "right.force"]}, TWO)
    with pytest.raises(ConfigError, match=r"'q' is commanded twice\. OUTPUT\.q is that of one"):
        _commanded(tmp_path, {"to": ["q", "left.q", "right.force"]}, TWO)


def test_a_name_with_a_dot_of_its_own_is_that_element(tmp_path: Path) -> None:
    outputs = {"a": Sink(1, ("b.x",)), "b": Sink(2, ("x", "y"))}
    assert _commanded(tmp_path, {"to": ["b.x", "x", "b.y"]}, outputs) == [1, 2, 3]


def test_two_devices_of_one_firmware_are_told_apart_before_they_are_asked(tmp_path: Path) -> None:
    (tmp_path / "p.onnx").write_bytes(passthrough(2))
    text = """\
links: {one: {device: ./one}, two: {device: ./two}}
loops:
  l:
    class: soft
    rate_hz: 100
    inputs: {one: {link: one}, two: {link: two}}
    policy:
      model: p.onnx
      observation: [{input: one, select: [angle]}, {input: two, select: [angle]}]
      action: {to: [one.force, two.force]}
    outputs: {two: {link: two, safe: {force: 0}}, one: {link: one, safe: {force: 0}}}
"""
    known = opened(loads(text, str(tmp_path / "l.yaml")), "l")
    assert [(row.name, row.source) for row in known.table.command] == [
        ("two.force", "policy.action[1]"),
        ("one.force", "policy.action[0]"),
    ]
