"""The table of a policy says what its graph does, element by element."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import pytest

from rtloop.config import load, loads
from rtloop.policy.onnx_file import with_feedback
from rtloop.policy.opened import Opened, opened
from rtloop.policy.trace import trace
from tests.policy.models import Value, linear, recurrent, save

CONFIG = Path(__file__).with_name("shown.yaml")
#: Of the observation: frame (3 + 2) three times, joints 3, spare 1, gyro 3 twice, last action 2, gravity 3.
SIZE = 30


@pytest.fixture
def shown(tmp_path: Path) -> Opened:
    random = np.random.default_rng(5)
    (tmp_path / "policy.onnx").write_bytes(linear(random.normal(size=(SIZE, 3)).astype(np.float32)))
    (tmp_path / "arm.yaml").write_text(CONFIG.read_text())
    return opened(load(tmp_path / "arm.yaml"), "arm")


def _inputs(shown: Opened, steps: int) -> dict[str, npt.NDArray[np.float32]]:
    random = np.random.default_rng(6)
    return {
        key: (2 * random.normal(size=(steps, len(signals)))).astype(np.float32)
        for key, signals in shown.inputs.items()
    }


def _value(formula: str, **values: float) -> float:
    """What a formula says: ``clip`` and ``wrap`` are what numpy and the rules of terms mean by them."""
    names = {
        "clip": lambda x, low, high: min(max(x, low), high),
        "wrap": lambda x, low, high: (x - low) % (high - low) + low,
    }
    plain = re.sub(r"(\w+)\.(\w+)", r"\1__\2", formula.replace("·", "*"))
    plain = re.sub(r"(\d+)__(\d+)", r"\1.\2", plain)
    return float(eval(plain, {"__builtins__": {}}, {**names, **values}))


def test_the_formulas_are_what_the_graph_computes(shown: Opened) -> None:
    steps = 6
    inputs = _inputs(shown, steps)
    got = trace(shown.assembled.graph, shown.assembled.runner, inputs, np.zeros(5, np.float32))
    seen = got.observations["policy.obs"]
    checked = 0
    for element in shown.table.observations["policy.obs"]:
        name, index = re.fullmatch(r"(.+)\[(\d+)\]", element.source).groups()  # type: ignore[union-attr]
        if name not in (*inputs, "constant", "last_action"):
            continue
        checked += 1
        constant = np.zeros((steps, 2), np.float32)
        sources = {**inputs, "constant": constant, "last_action": got.raw}
        for step in range(steps):
            ago = element.steps_ago + (name == "last_action")
            at = step - ago if element.start != "first" else max(0, step - ago)
            if at < 0:
                assert seen[step, element.index] == 0
                continue
            x = float(sources[name][at][int(index)])
            expected = _value(element.formula.text, x=x, waist__2=float(inputs["gyro"][at][2]))
            assert seen[step, element.index] == pytest.approx(expected, abs=1e-5)
    assert checked == SIZE - 3  # gravity is no formula of one number
    for commanded in shown.table.command:
        if not commanded.source:
            assert (got.targets[:, commanded.index] == 7.5).all()
            continue
        name, index = re.fullmatch(r"(.+)\[(\d+)\]", commanded.source).groups()  # type: ignore[union-attr]
        source = got.raw if name == "policy.action" else inputs[name]
        for step in range(steps):
            value = float(source[step][int(index)])
            assert got.targets[step, commanded.index] == pytest.approx(
                _value(commanded.formula.text, x=value, y=value), abs=1e-5
            )


def test_every_element_has_its_name_term_and_slot(shown: Opened) -> None:
    rows = shown.table.observations["policy.obs"]
    assert [row.index for row in rows] == list(range(SIZE))
    assert [(r.name, r.steps_ago, r.slot) for r in rows[:6]] == [
        ("gyro.0", 2, 0),
        ("gyro.1", 2, 0),
        ("gyro.2", 2, 0),
        ("constant.0", 2, 0),
        ("constant.1", 2, 0),
        ("gyro.0", 1, 1),
    ]
    assert [(r.name, r.source, str(r.formula)) for r in rows[15:19]] == [
        ("motors.c", "motors[2]", "(x - 0.3) · 0.5"),
        ("motors.a", "motors[0]", "(x + 0.1) · 0.5"),
        ("motors.b", "motors[1]", "(x - 0.2) · 0.5"),
        ("motors.spare_pos", "motors[3]", "wrap(x - waist.2, -1, 1)"),
    ]
    assert [(r.name, r.steps_ago) for r in rows[19:23]] == [
        ("gyro.0", 2), ("gyro.0", 0), ("gyro.1", 2), ("gyro.1", 0),
    ]  # fmt: skip
    assert str(rows[0].formula) == "clip(x · 0.25 + 0.5, -1, 1) · 2"
    assert (rows[0].formula.scale, rows[0].formula.clip) == (0.5, (-1, 1))
    assert str(rows[4].formula) == "-0.5 · 2"
    assert rows[0].term == ("observation", 0)
    assert rows[0].label == "gyro.0, 2 steps ago"
    assert rows[27].source == "projected_gravity(quat)[0]"


def test_every_element_of_the_command_has_its_source(shown: Opened) -> None:
    assert [(c.name, c.source, c.joint, str(c.formula)) for c in shown.table.command] == [
        ("arm.a_target", "policy.action[0]", "a", "y · 0.25 - 0.1"),
        ("arm.idle", "", "", "7.5"),
        ("arm.c_target", "policy.action[2]", "c", "y · 0.25 + 0.3"),
        ("body.b_target", "policy.action[1]", "b", "y · 0.25 + 0.2"),
        ("body.waist_target", "gyro[2]", "", "y · 3"),
    ]


def test_as_json_it_has_every_element(shown: Opened) -> None:
    told = json.loads(json.dumps(shown.table.as_dict()))
    element = told["observations"]["policy.obs"][0]
    assert element["formula"] == "clip(x · 0.25 + 0.5, -1, 1) · 2"
    assert element["term"] == "observation[0]"
    assert (element["scale"], element["clip"], element["steps_ago"]) == (0.5, [-1, 1], 2)
    assert len(told["observations"]["policy.obs"]) == SIZE
    assert len(told["command"]) == 5


def test_what_was_concluded_is_told(tmp_path: Path) -> None:
    model = onnx.ModelProto.FromString(recurrent(2, 4, 2)[0])
    onnx.helper.set_model_props(
        model, {"joint_names": "hip,knee", "default_joint_pos": "0.100,0.200"}
    )
    (tmp_path / "policy.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "a.yaml").write_text(
        "loops: {a: {class: soft, rate_hz: 50, inputs: {quat: {mailbox: [1, 0, 0, 0]}, "
        "q: {mailbox: [0, 0], names: [knee, hip]}}, policy: {model: policy.onnx, "
        "terminations: {bad_orientation: {limit_angle: 0.5, orientation: quat}}, "
        "observation: [{input: q, joints: policy, minus: default_joint_pos}]}, "
        "outputs: {t: {mailbox: true, names: [hip, knee], safe: 0}}}}"
    )
    table = opened(load(tmp_path / "a.yaml"), "a").table
    assert any("h_in: h_out" in note and "guessed" in note for note in table.notes)
    assert any("joints are those of the model's metadata (2)" in note for note in table.notes)
    assert any("default_joint_pos is that of the model's metadata" in note for note in table.notes)
    assert any("bad_orientation: the body is tilted by more than 0.5 rad" in n for n in table.notes)
    rows = table.observations["policy.obs"]
    assert [(r.name, r.source, str(r.formula)) for r in rows] == [
        ("q.hip", "q[1]", "x - 0.1"),
        ("q.knee", "q[0]", "x - 0.2"),
    ]


def test_the_graph_as_one_file_does_in_onnxruntime_what_the_core_does(
    shown: Opened, tmp_path: Path
) -> None:
    """With nothing but what the file says of its state."""
    path = tmp_path / "composed.onnx"
    graph = shown.assembled.graph
    path.write_bytes(with_feedback(graph, [0.0] * 5))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    told = {p.key: json.loads(p.value) for p in onnx.load(path).metadata_props}
    fed, initial = told["rtloop.feedback"], told["rtloop.initial"]
    shapes = {node.name: (node.shape, node.type) for node in session.get_inputs()}
    types = {"tensor(float)": np.float32, "tensor(bool)": bool, "tensor(int64)": np.int64}
    state = {
        name: np.array(
            initial.get(name, np.zeros(shapes[name][0])), types[shapes[name][1]]
        ).reshape(shapes[name][0])
        for name in fed
    }
    inputs = _inputs(shown, 8)
    expected = trace(graph, shown.assembled.runner, inputs, np.zeros(5, np.float32))
    for step in range(8):
        feed = {f"input/{key}": array[None, step] for key, array in inputs.items()}
        action, *after = session.run(["action", *fed.values()], {**feed, **state})
        np.testing.assert_allclose(action[0], expected.targets[step], rtol=2e-4, atol=2e-5)
        state = dict(zip(fed, after, strict=True))


def test_what_else_is_done_to_an_action_stands_behind_its_formula(tmp_path: Path) -> None:
    (tmp_path / "policy.onnx").write_bytes(linear(np.eye(2, dtype=np.float32)))
    (tmp_path / "a.yaml").write_text(
        "loops: {a: {class: soft, rate_hz: 50, inputs: {q: {mailbox: [0, 0]}}, policy: {model: policy.onnx, "
        "observation: [{input: q}], action: {scale: 0.5, smooth: 0.8, relative: true, from: q}}, "
        "outputs: {t: {mailbox: true, size: 2, safe: 0}}}}"
    )
    (first, _) = opened(load(tmp_path / "a.yaml"), "a").table.command
    assert str(first.formula) == "y · 0.5; {from: q, relative: true, smooth: 0.8}"


def test_what_no_term_fills_and_what_groups_hold_is_told(tmp_path: Path) -> None:
    element = onnx.TensorProto.FLOAT
    integer = onnx.TensorProto.INT64
    nodes = [
        onnx.helper.make_node("Cast", ["step"], ["number"], to=element),
        onnx.helper.make_node("Add", ["number", "rate"], ["sum"]),
        onnx.helper.make_node("Add", ["sum", "memory"], ["kept"]),
        onnx.helper.make_node("Add", ["kept", "obs"], ["action"]),
    ]
    inputs: list[Value] = [
        ("obs", element, [1, 2]), ("memory", element, [1, 2]), ("rate", element, [1, 2]),
        ("step", integer, [1, 1]),
    ]  # fmt: skip
    outputs: list[Value] = [("action", element, [1, 2]), ("kept", element, [1, 2])]
    (tmp_path / "actor.onnx").write_bytes(save(nodes, inputs, outputs, {}))
    (tmp_path / "filter.onnx").write_bytes(linear(np.eye(2, dtype=np.float32)))
    (tmp_path / "a.yaml").write_text("""\
loops:
  a:
    class: soft
    rate_hz: 50
    inputs: {q: {mailbox: [0, 0], names: [hip, knee]}}
    policy:
      groups: {bias: [{input: q, scale: 0.5, offset: 1}]}
      models:
        filter: {model: filter.onnx, observation: [{output: actor.action, start: answer}]}
        actor:
          model: actor.onnx
          observations: {obs: [{output: filter.action, minus: bias}]}
          constants: {rate: [16000, 1]}
          counters: {step: 3}
          state: {memory: kept}
      action_output: action
    outputs: {t: {mailbox: true, size: 2, safe: 0}}
""")
    table = opened(load(tmp_path / "a.yaml"), "a").table
    assert set(table.notes) >= {
        "actor.rate is always [16000, 1]",
        "actor.step counts the runs, from 3",
        "actor.memory is actor.kept of the run before, and begins with 0",
        "group: bias.hip = q[0] · 0.5 + 1, bias.knee = q[1] · 0.5 + 1",
    }
    assert [e.steps_ago for e in table.observations["filter.obs"]] == [1, 1]  # it runs before
    assert [e.steps_ago for e in table.observations["actor.obs"]] == [0, 0]
    assert str(table.observations["actor.obs"][0].formula) == "x - bias.hip"


@pytest.mark.parametrize(
    ("keys", "note"),
    [
        ("every: 4", "every 4: it runs in every so-many-th cycle; in those between its last target is "),
        ("every: 2, between: interpolate", "cycle; in those between what is commanded lies on the st"),
    ],
)  # fmt: skip
def test_what_is_commanded_between_two_runs_is_said(keys: str, note: str) -> None:
    text = (
        "loops:\n  leg:\n    class: soft\n    rate_hz: 100\n    inputs: {m: {mailbox: [0]}}\n"
        f"    policy: {{observation: [{{input: m}}], {keys}}}\n"
        "    outputs: {o: {mailbox: true, size: 1, safe: 0}}\n"
    )
    (told,) = [n for n in opened(loads(text), "leg").table.notes if "every" in n]
    assert note in told
    plain = opened(loads(text.replace(f", {keys}", "")), "leg").table.notes
    assert plain == ("no model: what is observed is the action",)
