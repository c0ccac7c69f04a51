"""A graph of steps: nodes and models in a chain, state of any type, what is checked, what was sent last."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import helper

from rtloop import core
from tests.core.conftest import MS, Rig, identity_graph, model_bytes, stall
from tests.core.steps import Steps, typed_model, vector

MakeRig = Callable[..., Rig]
REASON, EVENT = core.FAULT_REASONS, core.EVENTS


def encoder() -> bytes:
    """x float32 [1, 3] → features float16 [1, 3], steps int64 [1]."""
    return typed_model(
        [
            helper.make_node("Tanh", ["x"], ["t"]),
            helper.make_node("Cast", ["t"], ["features"], to=10),
            helper.make_node("Cast", ["x"], ["whole"], to=7),
            helper.make_node("ReduceMax", ["whole"], ["largest"], keepdims=0, axes=[0, 1]),
            helper.make_node("Reshape", ["largest", "one"], ["steps"]),
        ],
        {"x": ("float32", [1, 3])},
        {"features": ("float16", [1, 3]), "steps": ("int64", [1])},
        [helper.make_tensor("one", 7, [1], [1])],
    )


def policy() -> bytes:
    """features float64 [1, 3], steps int64 [1], is_on bool [1], gain uint8 [1] → y float32 [1, 3]."""
    return typed_model(
        [
            helper.make_node("Cast", ["features"], ["f"], to=1),
            helper.make_node("Cast", ["steps"], ["n"], to=1),
            helper.make_node("Cast", ["gain"], ["g"], to=1),
            helper.make_node("Add", ["f", "n"], ["s"]),
            helper.make_node("Mul", ["s", "g"], ["m"]),
            helper.make_node("Where", ["is_on", "m", "f"], ["y"]),
        ],
        {
            "features": ("float64", [1, 3]),
            "steps": ("int64", [1]),
            "is_on": ("bool", [1]),
            "gain": ("uint8", [1]),
        },
        {"y": ("float32", [1, 3])},
    )


def test_two_models_with_nodes_between_them_pass_on_every_type() -> None:
    steps = Steps()
    x = steps.input("x", 3)
    scale = steps.constant("scale", vector(2, 3, 4)[None])
    features, count = steps.tensor("features", 3, "float16"), steps.tensor("count", [1], "int64")
    steps.model(
        encoder(), {"x": steps.node("Mul", [x, scale], 3)}, {"features": features, "steps": count}
    )
    wide = steps.node("Cast", [features], 3, "float64")
    is_on = steps.tensor("is_on", [1], "bool")
    two = steps.constant("two", np.array([2]))
    steps.steps.append(core.Node("GreaterOrEqual", [count, two], is_on))
    gain = steps.constant("gain", np.array([200], np.uint8))
    y = steps.tensor("y", 3)
    steps.model(
        policy(), {"features": wide, "steps": count, "is_on": is_on, "gain": gain}, {"y": y}
    )
    command = steps.node("Gather", [y, steps.constant("order", np.array([2, 0, 1]))], 3)
    graph = steps.graph(command)

    first = onnxruntime.InferenceSession(encoder(), providers=["CPUExecutionProvider"])
    second = onnxruntime.InferenceSession(policy(), providers=["CPUExecutionProvider"])
    rng = np.random.default_rng(9)
    seen = set()
    for _ in range(50):
        values = rng.normal(0, 1, 3).astype(np.float32)
        f, n = first.run(None, {"x": (values * vector(2, 3, 4))[None]})
        on = n >= 2
        seen.add(bool(on[0]))
        right = second.run(
            None,
            {
                "features": f.astype(np.float64),
                "steps": n,
                "is_on": on,
                "gain": np.array([200], np.uint8),
            },
        )[0]
        assert graph.run([values]).tobytes() == right[0, [2, 0, 1]].tobytes()
        assert graph.tensor(features).tobytes() == f.tobytes()
        assert graph.tensor(is_on).tolist() == on.tolist()
    assert seen == {False, True}


def counting(of_applied: bool = False) -> core.Graph:
    """y = x + a count that starts at 5, int64; beside it a flag that turns on once x exceeds 1, float16 x."""
    steps = Steps()
    x = steps.input("x", 1)
    count = steps.constant("count", np.array([[5]]))
    flag = steps.tensor("flag", 1, "bool")
    last_x = steps.constant("last_x", np.array([[0.5]], np.float16))
    one = steps.constant("one", np.array([1]))
    following = steps.node("Add", [count, one], 1, "int64")
    large = steps.node("Greater", [x, steps.constant("limit", vector(1))], 1, "bool")
    steps.feedback = [
        (count, following, of_applied),
        (flag, steps.node("Or", [flag, large], 1, "bool"), False),
        (last_x, steps.node("Cast", [x], 1, "float16"), False),
    ]
    y = steps.node("Add", [x, steps.node("Cast", [count], 1)], 1)
    return steps.graph(y)


def test_state_of_any_type_starts_from_its_constant_and_returns_there() -> None:
    graph = counting()
    start = graph.state()
    assert {name: (v.dtype.name, v.tolist()) for name, v in start.items()} == {
        "count": ("int64", [[5]]),
        "flag": ("bool", [[False]]),
        "last_x": ("float16", [[0.5]]),
    }
    assert [graph.run([vector(x)]).item() for x in (0, 2, 0.25)] == [5, 8, 7.25]
    assert {name: v.tolist() for name, v in graph.state().items()} == {
        "count": [[8]],
        "flag": [[True]],
        "last_x": [[0.25]],
    }
    graph.warm_up(3)
    assert graph.state() == start
    graph.run([vector(2)])
    graph.reset()
    assert graph.state() == start
    assert graph.run([vector(0)]).item() == 5


def test_state_of_any_type_can_be_set() -> None:
    graph, replayed = counting(), counting()
    for x in (3, 4):
        graph.run([vector(x)])
    replayed.set_state(graph.state())
    assert replayed.state() == graph.state()
    assert replayed.run([vector(1)]) == graph.run([vector(1)]) == 8
    graph.set_state({"count": vector(-3)})  # convertible
    assert graph.run([vector(1)]) == -2
    with pytest.raises(ValueError, match="'count' has 1 values, got 2"):
        graph.set_state({"count": np.array([1, 2])})
    with pytest.raises(ValueError, match="no state 'y'; it has: count, flag, last_x"):
        graph.set_state({"y": vector(1)})


def test_state_of_applied_commands_follows_only_those() -> None:
    graph = counting(of_applied=True)
    assert [graph.run([vector(0)], applied=False).item() for _ in range(3)] == [5, 5, 5]
    assert [graph.run([vector(0)]).item() for _ in range(3)] == [5, 6, 7]


def test_a_history_moves_on_by_one_sample_in_each_run() -> None:
    steps = Steps()
    x = steps.input("x", 2)
    history = steps.constant("history", vector(0, 0, 1, 1, 2, 2)[None])
    newer = steps.node("Gather", [history, steps.constant("newer", np.arange(2, 6))], 4)
    following = steps.node("Concat", [newer, x], 6)
    steps.feedback = [(history, following, False)]
    graph = steps.graph(following)
    assert graph.run([vector(3, 3.5)]).tolist() == [1, 1, 2, 2, 3, 3.5]
    assert graph.run([vector(4, 4.5)]).tolist() == [2, 2, 3, 3.5, 4, 4.5]


def inverse(*checked: str) -> core.Graph:
    """y = min(1 / x, 10), twice: a clip that hides the infinite."""
    steps = Steps()
    x = steps.input("x", 2)
    found = {"inverse": steps.node("Div", [steps.constant("one", vector(1)), x], 2)}
    found["half"] = steps.node("Cast", [found["inverse"]], 2, "float16")
    found["double"] = steps.node("Cast", [found["inverse"]], 2, "float64")
    steps.checked = [found[name] for name in checked]
    return steps.graph(steps.node("Min", [found["inverse"], steps.constant("ten", vector(10))], 2))


@pytest.mark.parametrize("checked", ["inverse", "half", "double"])
def test_the_command_is_no_number_where_what_is_checked_is_not_finite(checked: str) -> None:
    assert inverse().run([vector(0, 2)]).tolist() == [10, 0.5]
    graph = inverse(checked)
    for x, is_finite in ((2, True), (0, False), (-0.0, False), (np.nan, False), (-4, True)):
        command = graph.run([vector(2, x)])
        assert np.isfinite(command).all() == is_finite
        assert np.isnan(command).all() == (not is_finite)
    assert np.isfinite(inverse("double").run([vector(1e-30, 1)])).all()
    assert np.isnan(inverse("half").run([vector(1e-5, 1)])).all(), (
        "infinite in half precision alone"
    )


def test_what_is_not_finite_ends_the_loop(make_rig: MakeRig) -> None:
    steps = Steps()
    x = steps.input("x", 1)
    steps.checked = [steps.node("Div", [steps.constant("one", vector(1)), x], 1)]
    hidden = steps.node("Min", [steps.checked[0], steps.constant("ten", vector(10))], 1)
    rig = make_rig(graph=steps.graph(hidden))
    rig.start(2.0)
    assert rig.loop.step()
    assert rig.command() == 0.5
    rig.put(0.0)
    assert not rig.loop.step()
    assert rig.loop.status()["fault_reason"] == REASON["non_finite"]
    assert rig.records()[-1]["events"] & EVENT["non_finite"]
    assert rig.command() == -1.0, "the safe command"


def relative() -> core.Graph:
    """y = what was sent last + x."""
    steps = Steps()
    x = steps.input("x", 1)
    steps.last_command = steps.tensor("last_command", 1)
    return steps.graph(steps.node("Add", [steps.last_command, x], 1))


def test_the_last_command_is_what_the_caller_says() -> None:
    graph = relative()
    assert graph.run([vector(1)], last_command=vector(5)) == 6
    assert graph.run([vector(1)]) == 6, "it stays what it was"
    graph.reset()
    assert graph.run([vector(1)]) == 1
    with pytest.raises(ValueError, match="got 2 values, expected 1"):
        graph.run([vector(1)], last_command=vector(1, 2))
    with pytest.raises(ValueError, match="does not read the last command"):
        identity_graph(1).run([vector(1)], last_command=vector(1))


def test_the_last_command_starts_at_the_safe_one_and_is_limited_as_it_left(
    make_rig: MakeRig,
) -> None:
    limits = core.OutputConfig(
        1, min=[-3.0], max=[2.0], max_rate_per_s=[1000.0], safe=[-1.0], default_value=[-2.0]
    )
    rig = make_rig(graph=relative(), outputs=[limits])
    rig.run(6, value=0.75)
    assert rig.sent().tolist() == [-0.25, 0.5, 1.25, 2.0, 2.0, 2.0]
    rig.put(-30.0)
    rig.loop.step()
    assert rig.sent()[-1] == 1.0, "1000 per second and no faster"
    rig.put(-0.5)
    rig.loop.step()
    assert rig.sent()[-1] == 0.5, "from what left, not from what was computed"
    rig.loop.end()
    rig.start(0.25)
    rig.loop.step()
    assert rig.sent()[-1] == -0.75, "a new activation starts at the safe command"


def test_the_last_command_is_the_default_after_a_miss_and_stays_when_held(
    make_rig: MakeRig,
) -> None:
    for default_on_miss, right in ((True, [1, 2, -2, -1, 0]), (False, [1, 2, 2, 3, 4])):
        rig = make_rig(
            graph=relative(),
            loop_class=core.LoopClass.firm,
            default_on_miss=default_on_miss,
            fault_on_broken_limit=False,
            outputs=[core.OutputConfig(1, safe=[0.0], default_value=[-2.0])],
            stalls=[stall("infer", 2, 3 * MS // 2)],
        )
        rig.run(5, value=1.0)
        assert rig.sent().tolist() == right


def table_model(*values: float) -> bytes:
    """y = values[x]: an index that the table lacks is an error of ONNX Runtime, while it runs."""
    rows = helper.make_tensor("rows", 1, [len(values)], values)
    nodes = [
        helper.make_node("Cast", ["x"], ["index"], to=7),
        helper.make_node("Gather", ["rows", "index"], ["y"]),
    ]
    return model_bytes(nodes, 1, [rows])


def test_the_words_of_whichever_model_failed_first_are_kept() -> None:
    steps = Steps()
    x = steps.input("x", 1)
    middle, y = steps.tensor("middle", 1), steps.tensor("y", 1)
    steps.model(table_model(0, 1, 2, 3), {"x": x}, {"y": middle})
    steps.model(table_model(5, 6), {"x": middle}, {"y": y})
    graph = steps.graph(steps.node("Neg", [y], 1))
    assert graph.run([vector(1)]) == -6
    with pytest.raises(RuntimeError, match="refused to run the graph: .*idx=3"):
        graph.run([vector(3)])
    with pytest.raises(RuntimeError, match="idx=3"):
        graph.run([vector(4)])
    graph.reset()
    with pytest.raises(RuntimeError, match="idx=4"):
        graph.run([vector(4)])


def test_what_a_model_refuses_is_refused_at_configure_time() -> None:
    model = model_bytes([helper.make_node("Identity", ["x"], ["y"])], 3)

    def build(dtype: str, size: int, name: str = "x", model: bytes = model) -> None:
        steps = Steps()
        x = steps.constant("x", np.zeros((1, size), dtype))
        y = steps.tensor("y", 3)
        steps.model(model, {name: x}, {"y": y})
        steps.graph(y)

    build("float32", 3)
    with pytest.raises(RuntimeError, match="cannot run the graph: .*[Dd]imension"):
        build("float32", 4)
    with pytest.raises(RuntimeError, match="cannot run the graph: .*float"):
        build("float64", 3)
    with pytest.raises(RuntimeError, match="cannot run the graph: .*nope"):
        build("float32", 3, "nope")
    with pytest.raises(RuntimeError, match="cannot load the graph"):
        build("float32", 3, model=b"no model")


def test_a_tensor_can_be_read_as_a_copy_of_its_own() -> None:
    graph = counting()
    graph.run([vector(2)])
    count = graph.tensor(1)
    assert count.tolist() == [[6]]
    count[0, 0] = 99
    assert graph.tensor(1).tolist() == [[6]]
    with pytest.raises(IndexError, match="the graph has 12 tensors"):
        graph.tensor(12)


class Broken(Steps):
    """x → y = x + one, with a state; a test breaks one thing in it."""

    def __init__(self) -> None:
        super().__init__()
        self.x = self.input("x", 2)
        self.one = self.constant("one", vector(1))
        self.state = self.tensor("s", 2)
        self.y = self.node("Add", [self.x, self.one], 2, name="y")
        self.feedback = [(self.state, self.y, False)]


def undone(s: Broken) -> None:
    s.steps.insert(0, core.Node("Neg", [s.y], s.tensor("early", 2)))


def written_twice(s: Broken) -> None:
    s.steps.append(core.Node("Neg", [s.x], s.y))


def into_constant(s: Broken) -> None:
    s.steps.append(core.Node("Identity", [s.one], s.one))


def wrong_constant(s: Broken) -> None:
    s.constants[s.one] = np.array([1.0])


def short_constant(s: Broken) -> None:
    s.constants[s.state] = vector(1)


def whole_input(s: Broken) -> None:
    s.inputs.append(s.tensor("n", 1, "int64"))


def whole_command(s: Broken) -> None:
    s.y = s.node("Cast", [s.y], 2, "int64", "z")


def state_of_state(s: Broken) -> None:
    other = s.tensor("other", 2)
    s.feedback.append((other, s.state, False))


def two_of_a_name(s: Broken) -> None:
    s.feedback.append((s.tensor("s", 2), s.y, False))


def other_size(s: Broken) -> None:
    s.feedback.append((s.tensor("other", 1), s.y, False))


def long_last_command(s: Broken) -> None:
    s.last_command = s.tensor("last", 3)


def checked_whole(s: Broken) -> None:
    s.checked = [s.node("Cast", [s.y], 2, "int32", "z")]


def outside(s: Broken) -> None:
    s.checked = [77]


def constant_outside(s: Broken) -> None:
    s.constants[77] = vector(1)


def strange_type(s: Broken) -> None:
    s.tensor("c", 1, "complex64")


def command_of_input(s: Broken) -> None:
    s.y = s.x


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            undone,
            r"'y' \(float32, 2 elements\) is an input of a step, but nothing before that yields",
        ),
        (written_twice, "'y' .* is the output of a step and the output of a step: .* one origin"),
        (into_constant, "'one' .* is the output of a step and a constant"),
        (wrong_constant, "tensor 'one' is float32, its constant is float64"),
        (short_constant, r"'s' .* is given 4 bytes: it has 8"),
        (whole_input, r"'n' \(int64, 1 element\) is an input of the loop: that is float32"),
        (whole_command, "'z' .* is the command: that is float32"),
        (state_of_state, "'other' .* is a state that becomes the state 's'"),
        (two_of_a_name, "'s' .* is a state, like another of its name"),
        (other_size, "'other' .* is a state that becomes 'y' .*: both have one type and one size"),
        (long_last_command, r"'last' .* is the last command: that is like the command, 'y'"),
        (checked_whole, "'z' .* float32, float64 or float16 can be"),
        (outside, "tensor 77 is checked, but there are 4 tensors"),
        (constant_outside, "tensor 77 is a constant, but there are 4 tensors"),
        (strange_type, "'complex64' is no element type; there are: float32, "),
        (
            command_of_input,
            "'x' .* is the command and an input of the loop: the command is the output",
        ),
    ],
)
def test_parts_that_do_not_fit_are_refused_by_name(
    change: Callable[[Broken], Any], message: str
) -> None:
    assert Broken().graph(3).run([vector(1, 2)]).tolist() == [2, 3]
    steps = Broken()
    change(steps)
    with pytest.raises(ValueError, match=message):
        steps.graph(steps.y)
