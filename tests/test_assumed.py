"""What a device must have, by configuration and policy, where nobody has asked it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rtloop.assembly import assemble
from rtloop.assumed import assumed_inputs, assumed_outputs
from rtloop.config import Config, loads
from rtloop.errors import ConfigError
from rtloop.policy import load_policy
from tests.policy.models import linear, passthrough
from tests.policy.terms.harness import place

TEXT = """\
links: {{one: {{device: ./a}}, two: {{device: ./b}}}}
loops:
  a:
    class: soft
    rate_hz: 100
    inputs: {{u: {{link: one}}, v: {{link: two}}, known: {{mailbox: [0, 0]}}}}
    policy:
      model: policy.onnx
      observation: [{terms}]
      {keys}
    outputs: {{{outputs}}}
"""


def configured(
    folder: Path, terms: str, outputs: str = "y: {link: one, safe: 0}", keys: str = ""
) -> Config:
    (folder / "policy.onnx").touch()
    text = TEXT.format(terms=terms, outputs=outputs, keys=keys)
    return loads(text, str(folder / "a.yaml"))


def names(folder: Path, terms: str, size: int, keys: str = "") -> dict[str, list[str]]:
    policy = load_policy(passthrough(size))
    found = assumed_inputs(configured(folder, terms, keys=keys), "a", policy)
    return {key: [signal.name for signal in signals] for key, signals in found.items()}


def test_an_input_that_is_read_whole_has_what_the_others_leave(tmp_path: Path) -> None:
    found = names(tmp_path, "{input: u}, {input: known}, {previous_action: true, select: [0]}", 7)
    assert found == {"u": ["0", "1", "2", "3"], "v": ["0"], "known": ["0", "1"]}


def test_what_is_selected_is_there(tmp_path: Path) -> None:
    found = names(tmp_path, "{input: u, select: [rate, 4, angle]}, {input: v, select: [2]}", 4)
    assert found["u"] == ["rate", "angle", "2", "3", "4"]
    assert found["v"] == ["0", "1", "2"]


def test_of_an_input_that_is_read_whole_and_in_part_the_part_is_there(tmp_path: Path) -> None:
    found = names(tmp_path, "{input: u}, {input: u, select: [angle]}", 5)
    assert found["u"] == ["angle", "1", "2", "3"]


@pytest.mark.parametrize(
    ("term", "size", "found"),
    [
        ("{projected_gravity: v}", 3, 4),
        ("{projected_gravity: v, order: rpy}", 3, 3),
        ("{euler_xyz: v, select: [yaw]}", 1, 4),
        ("{rotation: v, show: 6d}", 6, 4),
        ("{rotated: v, mount: [0, 0, 0]}", 3, 3),
    ],
)
def test_what_is_an_orientation_has_as_many_elements(
    tmp_path: Path, term: str, size: int, found: int
) -> None:
    assumed = names(tmp_path, f"{{input: u}}, {term}", size + 2)
    assert assumed["u"] == ["0", "1"]
    assert assumed["v"] == [str(index) for index in range(found)]


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ("action: {joints: [hip, knee], start: {ramp_s: 1, from: v, to: 0}}", ["hip", "knee"]),
        ("action: {relative: true, from: v}", ["0", "1"]),
        (
            "action: {joints: [a, b], torque_limit: {stiffness: 1, limit: 1, position: v}}",
            ["a", "b"],
        ),
        (
            "terminations: {joint_pos_out_of_limit: {position: v, joints: [hip], min: 0, max: 1}}",
            ["hip"],
        ),
        (
            "terminations: {joint_pos_out_of_limit: {position: v, min: 0, max: [1, 2, 3]}}",
            ["0", "1", "2"],
        ),
        ("terminations: {bad_orientation: {orientation: v, limit_angle: 1}}", list("0123")),
    ],
)
def test_what_an_action_or_a_termination_measures_is_there(
    keys: str, found: list[str], tmp_path: Path
) -> None:
    assert names(tmp_path, "{input: known}", 2, keys)["v"] == found


def test_several_inputs_share_what_is_left(tmp_path: Path) -> None:
    found = names(tmp_path, "{input: u}, {input: v}", 9)
    assert len(found["u"]) + len(found["v"]) == 9
    found = names(tmp_path, "{input: u}, {input: v}", 140)
    assert [len(found["u"]), len(found["v"])] == [128, 12]


@pytest.mark.parametrize(
    ("terms", "size", "found"),
    [
        (
            "{input: u}, {input: v}, {input: known}",
            3,
            "at least 4 values, whatever the size of 'u', 'v'",
        ),
        ("{input: u}", 129, "at most 128 values, whatever the size of 'u'"),
        (
            "{input: u}, {input: u}",
            3,
            "either more or fewer than 3 values, whatever the size of 'u'",
        ),
        (
            "{input: u}, {input: u, select: [a, b]}",
            3,
            "at least 4 values, whatever the size of 'u'",
        ),
    ],
)
def test_an_observation_that_no_device_can_fill_is_refused(
    terms: str, size: int, found: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        names(tmp_path, terms, size)
    assert str(caught.value).startswith(
        f"{tmp_path}/a.yaml:9:20: loops.a.policy.observation: found an observation of {found}; "
        f"expected {size}, the size of the policy's input 'obs' float32[1, {size}]"
    )


@pytest.mark.parametrize(
    ("outputs", "sizes"),
    [
        ("y: {link: one, safe: 0}", [5]),
        ("y: {link: one, safe: [0, 0, 0]}", [3]),
        ("y: {link: one, safe: 0}, m: {mailbox: true, size: 2, safe: 0}", [3, 2]),
        ("y: {link: one, safe: 0}, z: {link: two, safe: 0}", [4, 1]),
        ("y: {link: one, safe: 0}, m: {mailbox: true, size: 7, safe: 0}", [1, 7]),
    ],
)
def test_outputs_take_the_action_as_far_as_they_can(
    outputs: str, sizes: list[int], tmp_path: Path
) -> None:
    loop = configured(tmp_path, "{input: u}", outputs).loops["a"]
    found = assumed_outputs(loop, load_policy(passthrough(5)))
    assert [len(signals) for signals in found.values()] == sizes


@pytest.mark.parametrize(
    ("policy", "n_observed", "n_actions", "outputs"),
    [
        ("observation: [{input: u}, {last_target: true}]", 6, 2, "y: {link: one, safe: 0}"),
        (
            "observation: [{phase: {period_s: 1, hold: {command: u, below: 0.1, each: [[2, 3]]}}}]",
            2, 2, "y: {link: one, safe: 0}",
        ),
        ("observation: [{constant: [0, 0, 0, 0], minus: u}]", 4, 4, "y: {link: one, safe: 0}"),
        ("observation: [{input: u, minus: v}]", 4, 4, "y: {link: one, safe: 0}"),
        (
            "{joints: [a, b], observation: [{input: u, joints: policy, minus: v}]}",
            2, 2, "y: {link: one, safe: 0}",
        ),
        (
            "{groups: {g: [{input: u}]}, observation: [{group: g, select: [angle, 5]}]}",
            2, 2, "y: {link: one, safe: 0}",
        ),
        (
            "{joints: [pole], groups: {g: [{input: u}], h: [{group: g}]}, observation: "
            '[{group: h, joints: policy, named: "{}_angle"}, {group: h, joints: policy, named: "{}_rate"}]}',
            2, 2, "y: {link: one, safe: 0}",
        ),
        ("{observation: [{input: u}], action: {plus: v}}", 3, 3, "y: {link: one, safe: 0}"),
        (
            "{joints: [a, b], observation: [{input: u}], action: {select: [1, 0], plus: v}}",
            2, 2, "y: {link: one, safe: 0}",
        ),
        ("{observation: [{input: u}], actions: [{select: [0]}]}", 4, 4, "y: {link: one, safe: [0]}"),
        ("{observation: [{input: u}], action: {select: [0]}}", 4, 4, "y: {link: one, safe: [0]}"),
        (
            "{observation: [{input: known}], groups: {g: [{input: known}]}, action: {group: g}}",
            2, 3, "y: {mailbox: true, size: 2, safe: 0}",
        ),
        (
            "{observation: [{input: u}], action: {to: [force]}}",
            1, 1, "y: {link: one, min: [-1], max: [1], safe: [0.0]}",
        ),
        (
            "{observation: [{input: u}], groups: {g: [{input: u, select: [angle]}]}, actions: [{group: g}]}",
            2, 1, "y: {link: one, safe: 0}",
        ),
        (
            "observation: [{last_target: true, select: [force]}, {input: u}]",
            3, 2, "y: {link: one, safe: 0}",
        ),
        (
            "{observation: [{input: u}], action: {to: [b]}}",
            2, 1, "y: {link: one, safe: [0, 0, 0]}",
        ),
        (
            "{observation: [{input: u}], action: {to: [b, a]}}",
            2, 2, "y: {link: one, safe: [0.0]}, z: {link: two, safe: [0]}",
        ),
    ],
)  # fmt: skip
def test_a_loop_that_some_device_could_run_is_no_error(
    policy: str, n_observed: int, n_actions: int, outputs: str, tmp_path: Path
) -> None:
    weight = np.zeros((n_observed, n_actions), np.float32)
    (tmp_path / "policy.onnx").write_bytes(linear(weight))
    keys = policy.removeprefix("{").removesuffix("}") if policy.startswith("{") else policy
    text = TEXT.replace("      observation: [{terms}]\n      {keys}\n", "").replace(
        "policy:\n      model: policy.onnx", "policy: {{model: policy.onnx, {keys}}}"
    )
    config = loads(text.format(keys=keys, outputs=outputs), str(tmp_path / "a.yaml"))
    loop = config.loops["a"]
    loaded = loop.policy.load(place)
    inputs, told = assumed_inputs(config, "a", loaded), assumed_outputs(loop, loaded)
    assemble(config, "a", inputs, told, loaded, are_assumed=True)
