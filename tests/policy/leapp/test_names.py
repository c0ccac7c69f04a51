"""What a bundle calls its elements counts, whatever is said beside it; mirrors leapp/names.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from rtloop.cli.check import check
from rtloop.errors import ConfigError
from rtloop.policy.leapp.binding import target_names
from rtloop.policy.leapp.bundle import read_bundle
from tests.policy.importing.loops import Loop, samples
from tests.policy.leapp.bundles import BundleMaker, Reference, tensor
from tests.policy.leapp.chain import (
    CMD,
    FLOAT,
    LOOP,
    NAMES,
    beside,
    chain,
    refused,
    written,
)
from tests.policy.models import save


def test_outputs_of_the_same_elements_are_told_apart_by_their_kind(tmp_path: Path) -> None:
    maker = BundleMaker(tmp_path, "chain")
    nodes = [
        helper.make_node("Mul", ["q", name], [name + "_out"]) for name in ("pos", "gain", "extra")
    ]
    weights = {
        "pos": np.array([2.0], np.float32),
        "gain": np.array([3.0], np.float32),
        "extra": np.array([4.0], np.float32),
    }
    sizes = [(name + "_out", FLOAT, [1, 2]) for name in ("pos", "gain", "extra")]
    model = save(nodes, [("q", FLOAT, [1, 2])], sizes, weights)
    maker.model(
        "policy",
        model,
        [tensor("q", [1, 2], kind="state/joint/position", element_names=["a", "b"])],
        [
            tensor("pos_out", [1, 2], kind="target/joint/position", element_names=[["a", "b"]]),
            tensor("gain_out", [1, 2], kind="kp", element_names=[["a", "b"]]),
            tensor("extra_out", [1, 2]),
        ],
    )
    maker.pipeline.update(
        {
            "inputs": {"policy": ["q"]},
            "outputs": {"policy": ["pos_out", "gain_out", "extra_out"]},
        }
    )
    maker.write()
    text = LOOP.replace(
        "joint_pos: {mailbox: [0, 0, 0, 0], names: [foot, hip, spare, knee]}",
        "joint_pos: {mailbox: [0, 0], names: [b, a]}",
    )
    text = text.replace("      cmd: {mailbox: [0, 0]}\n", "").replace(
        "      motors: {mailbox: true, names: [hip, knee, foot], safe: 0}",
        "      gains: {mailbox: true, names: [b_kp, a_kp, extra_out_0], safe: 0}\n"
        "      targets: {mailbox: true, names: [extra_out_1, a_pos, b_pos], safe: 0}",
    )
    written(tmp_path, text)
    assert check(tmp_path / "loop.yaml").error is None
    targets = Loop(tmp_path).step({"joint_pos": [10, 1]})
    assert targets["gains"].tolist() == [30, 3, 4]
    assert targets["targets"].tolist() == [40, 2, 20]


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            "observations: {joint_pos: [{input: joint_pos, select: [foot, hip, knee], scale: 2}]}",
            r"joint_pos\[0\].input: found 'foot' where the bundle's input encoder.joint_pos has 'hip'; "
            r"expected `select: \[hip, knee, foot\]`",
        ),
        (
            "observations: {policy.joint_pos: [{input: three}]}",
            r"found 'foot' where .* has 'hip'; expected `select: \[hip, knee, foot\]`",
        ),
        (
            "observations: {policy.joint_pos: [{input: joint_pos, select: [0, 1, 3]}]}",
            "found 'foot' where .* has 'hip'",
        ),
        (
            "observations: {policy.joint_pos: [{group: g}]}\n"
            "      groups: {g: [{input: joint_pos, select: [knee, hip, foot]}]}",
            "found 'knee' where .* has 'hip'",
        ),
        (
            "observations: {policy.joint_pos: [{input: motors}]}",
            "found 'm1' where .* has 'hip'; expected the same names, or `select` with the 3 elements",
        ),
        (
            "observations: {encoder.cmd: [{input: sticks, joints: [x, y], named: '{}_stick'}]}",
            "found 'x_stick' where the bundle's input encoder.cmd has 'y_stick'",
        ),
        (
            "action: {joints: [hip, knee, foot]}",
            "action.joints: found 'hip' where the bundle's output policy.action has 'foot'",
        ),
        (
            "action: {joints: policy}\n      joints: [hip, knee, foot]",
            "action.joints: found 'hip' where the bundle's output policy.action has 'foot'",
        ),
        (
            "action: {output: policy.action, to: [hip, knee, foot]}",
            "action.to: found 'hip' where the bundle's output policy.action has 'foot'",
        ),
        (
            "action: {output: encoder.latent}",
            "policy.action: found no action for the bundle's output policy.action, target/joint/position; "
            "expected `actions` for all that it commands: {output: policy.action}",
        ),
    ],
)
def test_what_is_said_beside_a_bundle_has_its_names(
    tmp_path: Path, keys: str, message: str
) -> None:
    more = "      three: {mailbox: [0, 0, 0], names: [foot, knee, hip]}\n"
    more += "      motors: {mailbox: [0, 0, 0], names: [m1, m2, m3]}\n"
    more += "      sticks: {mailbox: [0, 0], names: [x_stick, y_stick]}\n"
    text = LOOP.replace("    policy:\n", f"{more}    policy:\n")
    maker = chain(tmp_path)
    maker.data["models"]["encoder"]["inputs"][1]["element_names"] = ["y_stick", "x_stick"]
    error = refused(tmp_path, maker, beside(keys, text.replace("cmd: {mailbox: [0, 0]}", CMD)))
    with pytest.raises(ConfigError, match=message):
        raise ConfigError(error)


def test_an_entry_that_says_nothing_is_refused(tmp_path: Path) -> None:
    terms = "[{input: joint_pos, select: [hip, knee, foot]}]"
    keys = f"{{encoder.joint_pos: {terms}, policy.joint_pos: {terms}, joint_pos: {terms}}}"
    error = refused(tmp_path, chain(tmp_path), beside(f"observations: {keys}"))
    assert "observations of 'joint_pos'; expected no such entry" in error


def test_steps_of_an_output_are_counted_and_not_called_alike(tmp_path: Path) -> None:
    maker = chain(tmp_path)
    axes = ["__temporal_axis__", ["a"]]
    described = tensor("latent", [4, 1], kind="target/joint/position", element_names=axes)
    maker.data["models"]["encoder"]["outputs"][0] = described
    maker.data["models"]["policy"]["inputs"][0]["shape"] = [4, 1]
    maker.pipeline["outputs"]["encoder"] = ["latent"]
    names = target_names(read_bundle(maker.write()), ("encoder", "latent"))
    assert names == ("latent_0", "latent_1", "latent_2", "latent_3")


@pytest.mark.parametrize(
    ("keys", "scale", "offset"),
    [
        ("action: {scale: 2}", 2, [0, 0, 0]),
        ("action: {offset: [1, 2, 3]}", 1, [3, 2, 1]),
        (
            "action: {offset: default_joint_pos}\n      joints: [hip, knee, foot]\n"
            "      default_joint_pos: [1, 2, 3]",
            1,
            [1, 2, 3],
        ),
        ("action: {select: [2, 0, 1]}", 1, [0, 0, 0]),
        ("joints: [knee, foot, hip]", 1, [0, 0, 0]),
        (
            "observations: {joint_pos: [{input: joint_pos, select: [hip, knee, foot]}]}",
            1,
            [0, 0, 0],
        ),
        (
            "observations: {joint_pos: [{input: joint_pos, joints: policy}]}\n"
            "      joints: [hip, knee, foot]",
            1,
            [0, 0, 0],
        ),
    ],
)
def test_names_of_a_bundle_count_whatever_is_said_beside_it(
    tmp_path: Path, keys: str, scale: float, offset: list[float]
) -> None:
    maker = chain(tmp_path)
    maker.write()
    path = written(tmp_path, beside(keys))
    assert check(path).error is None
    loop, reference = Loop(tmp_path), Reference(maker)
    for step in range(3):
        given = samples(loop, step)
        joints = given["joint_pos"][[1, 3, 0]]
        inputs = {
            "encoder/joint_pos": joints, "encoder/cmd": given["cmd"], "policy/joint_pos": joints,
        }  # fmt: skip
        action = reference.step(inputs)["policy/action"][0, ::-1]
        np.testing.assert_allclose(
            loop.step(given)["motors"], scale * action + offset, rtol=1e-6, atol=1e-6
        )


def test_joints_of_an_action_are_compared_by_what_they_name(tmp_path: Path) -> None:
    maker = chain(tmp_path)
    output = maker.data["models"]["policy"]["outputs"][0]
    output["element_names"] = [f"{name}_q" for name in NAMES]
    maker.write()
    text = LOOP.replace("names: [hip, knee, foot]", "names: [hip_q, knee_q, foot_q]")
    keys = "joints: {}\n      action: {{joints: policy, named: '{{}}_q'}}"
    assert check(written(tmp_path, beside(keys.format("[hip, knee, foot]"), text))).error is None
    error = refused(tmp_path, maker, beside(keys.format("[foot, knee, hip]"), text))
    assert (
        "action.joints: found 'foot' where the bundle's output policy.action has 'hip_q'" in error
    )


def test_elements_that_the_loop_calls_otherwise_are_put_in_their_places_one_by_one(
    tmp_path: Path,
) -> None:
    chain(tmp_path).write()
    text = LOOP.replace("foot, hip, spare, knee", "m1, m2, m3, m4")
    select = "select: [m2, m4, m1]"
    assert (
        check(
            written(
                tmp_path,
                beside(f"observations: {{joint_pos: [{{input: joint_pos, {select}}}]}}", text),
            )
        ).error
        is None
    )


VELOCITY = "state/body/angular_velocity"


@pytest.mark.parametrize(
    ("described", "inputs", "message"),
    [
        (
            [tensor("imu_base", [1, 3], kind=VELOCITY), tensor("imu_head", [1, 3], kind=VELOCITY)],
            "base_ang_vel: {mailbox: [0, 0, 0]}",
            "an input 'base_ang_vel' for both policy.imu_base, .* and policy.imu_head.*`observations`",
        ),
        (
            [
                tensor("joint_pos", [1, 2], kind="state/joint/velocity"),
                tensor("q", [1, 2], kind="state/joint/position"),
            ],
            "joint_pos: {mailbox: [0, 0]}",
            "'joint_pos' .*velocity; expected `observations` for it: its name says one thing",
        ),
        (
            [tensor("q", [1, 3, 2], element_names=[None, "__temporal_axis__", ["a", "b"]])],
            "q: {mailbox: [0, 0], names: [a, b]}",
            "an axis of time; expected `observations` for it, a term with `history` of 3 steps",
        ),
        (
            [
                tensor("left", [1, 2], kind="state/joint/position", element_names=["a", "b"]),
                tensor("right", [1, 2], kind="state/joint/position", element_names=["c", "d"]),
            ],
            "joint_pos: {mailbox: [0, 0, 0, 0], names: [d, c, b, a]}",
            None,
        ),
    ],
)
def test_one_input_is_never_taken_for_two_things(
    tmp_path: Path, described: list[dict[str, Any]], inputs: str, message: str | None
) -> None:
    maker = BundleMaker(tmp_path, "chain")
    names, values = (
        [d["name"] for d in described],
        [(d["name"], FLOAT, d["shape"]) for d in described],
    )
    first = described[0]["shape"]
    node = helper.make_node("Sum", names, ["y"])
    out = tensor("y", first, element_names=None)
    maker.model("policy", save([node], values, [("y", FLOAT, first)], {}), described, [out])
    maker.pipeline.update({"inputs": {"policy": names}, "outputs": {"policy": ["y"]}})
    size = int(np.prod(first))
    text = (
        f"loops:\n  arm:\n    class: soft\n    rate_hz: 50\n    inputs:\n      {inputs}\n"
        f"    policy:\n      leapp: chain.yaml\n"
        f"    outputs:\n      y: {{mailbox: true, size: {size}, safe: 0}}\n"
    )
    if message is None:
        maker.write()
        written(tmp_path, text)
        assert Loop(tmp_path).step({"joint_pos": [1, 2, 3, 4]})["y"].tolist() == [4 + 2, 3 + 1]
        return
    with pytest.raises(ConfigError, match=message):
        raise ConfigError(refused(tmp_path, maker, text))


def test_a_target_that_flows_back_is_not_passed_over(tmp_path: Path) -> None:
    maker = chain(tmp_path)
    gains = tensor("latent", [1, 4], kind="kp", element_names=[[*NAMES, "toe"]])
    maker.data["models"]["encoder"]["outputs"][0] = gains
    maker.pipeline["outputs"] = {"encoder": ["latent"]}
    names = "[hip_kp, knee_kp, foot_kp, toe_kp, hip_pos, knee_pos, foot_pos]"
    text = LOOP.replace("names: [hip, knee, foot]", f"names: {names}, default: 0")
    commands = "{output: encoder.latent}, {output: policy.action}"
    error = refused(tmp_path, maker, text)
    assert "output policy.action, target/joint/position, only flows back; expected" in error
    assert f"expected `actions` for all that it commands: {commands}" in error
    one = refused(tmp_path, maker, beside("action: {output: policy.action}", text))
    assert "found no action for the bundle's output encoder.latent, kp" in one
    path = written(tmp_path, beside(f"actions: [{commands}]", text))
    assert check(path).error is None


def test_outputs_of_kinds_that_are_called_alike_go_by_their_own_names(tmp_path: Path) -> None:
    maker = chain(tmp_path)
    effort = tensor("latent", [1, 4], kind="target/joint/effort", element_names=[[*NAMES, "toe"]])
    maker.data["models"]["encoder"]["outputs"][0] = effort
    maker.data["models"]["policy"]["outputs"][0]["kind"] = "target/joint/torques"
    maker.pipeline["outputs"] = {"encoder": ["latent"], "policy": ["action"]}
    bundle = read_bundle(maker.write())
    assert (target_names(bundle, ("encoder", "latent")) or ())[0] == "hip_latent"
    assert target_names(bundle, ("policy", "action")) == (
        "foot_action",
        "knee_action",
        "hip_action",
    )


@pytest.mark.parametrize(
    ("side", "names", "message"),
    [
        ("inputs", [["hip", "hip", "knee"]], "each name once, not 'hip' twice"),
        ("inputs", [["hip", "knee"]], r"\[1, 3\] in all, or a list of 3 names"),
        ("inputs", ["hip", "knee"], "or a list of 3 names"),
        ("inputs", [["hip", "knee", "foot", "toe"]], "the names of each axis"),
        ("inputs", "hip", "str 'hip'; expected the names"),
        ("inputs", {"a": 1}, "the names of each axis"),
        ("inputs", [[1, 2, 3]], "the names of each axis"),
        ("inputs", [["hip", None, "foot"]], "the names of each axis"),
        ("outputs", [["hip", "knee"]], "the names of each axis"),
    ],
)
def test_broken_names_of_elements_are_refused(
    tmp_path: Path, side: str, names: Any, message: str
) -> None:
    """And never passed over, for then the order would decide between two sides that have names."""
    maker = chain(tmp_path)
    maker.data["models"]["policy"][side][-1]["element_names"] = names
    with pytest.raises(ConfigError, match=f"element_names: found .*{message}"):
        raise ConfigError(refused(tmp_path, maker))


@pytest.mark.parametrize(
    ("shape", "names", "told", "steps", "is_interleaved"),
    [
        ([1, 2], None, None, 1, False),
        ([1, 2], [[]], None, 1, False),
        ([1, 2], ["a", "b"], ("a", "b"), 1, False),
        ([2], [["a", "b"]], ("a", "b"), 1, False),
        ([1, 2], [None, ["a", "b"]], ("a", "b"), 1, False),
        ([1, 2, 2], [["l", "r"], ["a", "b"]], ("l_a", "l_b", "r_a", "r_b"), 1, False),
        ([1, 2, 2], [["a", "b"]], ("0_a", "0_b", "1_a", "1_b"), 1, False),
        ([1, 3, 2], [None, "__temporal_axis__", ["a", "b"]], ("a", "b"), 3, False),
        ([1, 2, 3], [None, ["a", "b"], "__temporal_axis__"], ("a", "b"), 3, True),
        ([1, 3, 2], [None, "__temporal_axis__", None], None, 3, False),
    ],
)
def test_names_are_those_of_all_axes(
    tmp_path: Path, shape: list[int], names: Any, told: Any, steps: int, is_interleaved: bool
) -> None:
    maker = chain(tmp_path)
    described = tensor("cmd", shape, element_names=names, temporal_period_ms=20.0)
    maker.data["models"]["encoder"]["inputs"][1] = described
    found = read_bundle(maker.write()).input(("encoder", "cmd"))
    assert (found.element_names, found.steps) == (told, steps)
    assert found.is_interleaved == is_interleaved
    assert found.step_ms == (20.0 if steps > 1 else None)
