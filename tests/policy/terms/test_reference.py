"""Any terms, shapes, histories and orders, in groups of groups, over many steps: against numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rtloop.policy import Sink
from tests.policy.models import Runner, linear
from tests.policy.terms.harness import Beside, composed
from tests.policy.terms.reference import Reference

JOINTS = ["hip", "knee", "ankle", "toe"]
ROBOT = ["ankle", "hip", "waist", "toe", "knee"]
POSE = [0.1, -0.2, 0.3, 0.4]
INPUTS: dict[str, int | Sequence[str]] = {
    "pos": [f"{name}_pos" for name in ROBOT],
    "vel": ROBOT,
    "quat": 4,
    "goal": 4,
    "angles": 3,
    "gyro": ["x", "y", "z"],
    "command": 3,
}
TARGETS = ["a", "b", "c"]
PERIODS = [Fraction(1, 50), Fraction(3, 250), Fraction(1, 60)]
_number = st.floats(-4.0, 4.0, width=16)
_mounts = st.lists(st.floats(-3.0, 3.0, width=16), min_size=3, max_size=3)


@dataclass
class Drawn:
    """A term, and how many values it has in one step and in all."""

    term: dict[str, Any]
    width: int
    size: int


def _values(size: int, numbers: st.SearchStrategy[float] = _number) -> st.SearchStrategy[Any]:
    return numbers | st.lists(numbers, min_size=size, max_size=size)


@st.composite
def _clips(draw: st.DrawFn, size: int) -> list[Any]:
    if draw(st.booleans()):
        return sorted(draw(st.lists(_number, min_size=2, max_size=2, unique=True)))
    low = draw(st.lists(_number, min_size=size, max_size=size))
    above = draw(st.lists(st.floats(0.5, 3.0, width=16), min_size=size, max_size=size))
    return [low, [a + b for a, b in zip(low, above, strict=True)]]


@st.composite
def _histories(draw: st.DrawFn) -> Any:
    if draw(st.booleans()):
        return draw(st.integers(1, 6))
    keys = {"steps": st.lists(st.integers(0, 9), min_size=1, max_size=6)}
    start = st.sampled_from(["first", "zero"])
    return draw(st.fixed_dictionaries(keys, optional={"start": start, "interleave": st.booleans()}))


@st.composite
def _phases(draw: st.DrawFn) -> dict[str, Any]:
    of = draw(st.sampled_from(["period_s", "frequency_hz"]))
    speed = st.sampled_from([0.5, 0.25, 0.3, 0.7, 1.5, 1.25, 2.0])
    phase: dict[str, Any] = {of: draw(speed)}
    if draw(st.booleans()):
        phase["offsets"] = draw(
            st.lists(st.sampled_from([0.0, 0.25, 0.3, 0.5]), min_size=1, max_size=3)
        )
    if draw(st.booleans()):
        phase["first_step"] = draw(st.integers(0, 100))
    if draw(st.booleans()):
        hold = {"command": st.just("command"), "below": st.just(0.1)}
        each = st.sampled_from([[[0, 1], [2]], [[1]], [[2], [0]]])
        more = {"each": each, "at": st.sampled_from([0.0, 0.5, 0.3]), "restart": st.booleans()}
        phase["hold"] = draw(st.fixed_dictionaries(hold, optional=more))
    show = draw(st.lists(st.sampled_from(["sin", "cos", "ramp"]), min_size=1, max_size=3))
    return {"phase": phase, "show": show}


@st.composite
def _of_rotations(draw: st.DrawFn, can_relate: bool) -> dict[str, Any]:
    keys = {"align_yaw": st.booleans(), "show": st.sampled_from(["matrix", "6d"])}
    term: dict[str, Any] = draw(st.fixed_dictionaries({}, optional=keys))
    if can_relate and draw(st.booleans()):
        term["relative_to"] = "goal"
        term["expressed_in"] = draw(st.sampled_from(["body", "world"]))
    return term


@st.composite
def _sources(draw: st.DrawFn, groups: dict[str, int], n_actions: int) -> Drawn:
    """A source, and what it is of its elements that is observed."""
    orders = st.sampled_from(["wxyz", "xyzw"])
    kind = draw(
        st.sampled_from(
            ["input", "joints", "last_action", "last_target", "phase", "constant", "projected_gravity",
             "euler_xyz", "rotation", "rotation", "rotated", *(["group"] * 2 if groups else [])]
        )
    )  # fmt: skip
    if kind == "joints":
        joints = draw(st.just("policy") | st.permutations(JOINTS).map(lambda p: list(p[:2])))
        count = 4 if joints == "policy" else 2
        term: dict[str, Any] = {"input": "vel", "joints": joints}
        if draw(st.booleans()):
            term = {"input": "pos", "joints": joints, "named": "{}_pos"}
            term |= draw(
                st.sampled_from(
                    [{}, {"minus": "default_joint_pos"}, {"offset": "default_joint_pos"}]
                )
            )
        return Drawn(term, count, count)
    names: Sequence[str] | None = None
    if kind == "input":
        name = draw(st.sampled_from(sorted(INPUTS)))
        elements = INPUTS[name]
        names = None if isinstance(elements, int) else elements
        term, count = {"input": name}, elements if isinstance(elements, int) else len(elements)
    elif kind == "group":
        name = draw(st.sampled_from(sorted(groups)))
        term, count = {"group": name}, groups[name]
    elif kind == "constant":
        numbers = draw(st.lists(_number, min_size=1, max_size=4))
        term, count = {"constant": numbers}, len(numbers)
    elif kind == "phase":
        term = draw(_phases())
        count = len(term["show"]) * len(term["phase"].get("offsets", [0.0]))
    elif kind == "rotated":
        by = st.fixed_dictionaries({"mount": _mounts}) | st.fixed_dictionaries(
            {"into": st.just("quat"), "order": orders}
        )
        term, count = {"rotated": "gyro", **draw(by)}, 3
    elif kind in ("projected_gravity", "euler_xyz", "rotation"):
        order = draw(st.sampled_from(["wxyz", "xyzw", "rpy"]))
        term = {kind: "angles" if order == "rpy" else "quat", "order": order}
        term |= draw(st.fixed_dictionaries({}, optional={"mount": _mounts}))
        count = 3
        if kind == "rotation":
            term |= draw(_of_rotations(can_relate=order != "rpy"))
            count = 6 if term.get("show") == "6d" else 9
    else:
        term, count = {kind: True}, n_actions
    # Whole, `vel` would be refused: its joints are those of the policy in another order.
    if draw(st.booleans()) or term == {"input": "vel"}:
        elements_of = st.lists(st.integers(0, count - 1), min_size=1, max_size=6, unique=True)
        select = draw(elements_of)
        if names is not None and draw(st.booleans()):
            term["select"] = [names[i] for i in select]
        else:
            term["select"] = select
        count = len(select)
    return Drawn(term, count, count)


def _vectors(term: Mapping[str, Any]) -> list[Any]:
    """What may be subtracted by its order: `command`, without names, from all that no name put into another."""
    if "group" in term or "joints" in term or "last_action" in term or "last_target" in term:
        return [0.0]
    has_names = "constant" not in term and isinstance(
        INPUTS.get(term.get("input", ""), ()), Sequence
    )
    if not has_names:
        return ["command", "gyro"]
    return [0.0] if "select" in term else ["command"]


@st.composite
def _answers(draw: st.DrawFn) -> Drawn:
    output = draw(st.sampled_from(["encoder.action", "policy.action"]))
    return Drawn({"output": output}, len(TARGETS), len(TARGETS))


@st.composite
def _terms(
    draw: st.DrawFn, groups: dict[str, int], n_actions: int, has_answers: bool = False
) -> Drawn:
    drawn = draw(_answers() if has_answers else _sources(groups, n_actions))
    term, width = drawn.term, drawn.width
    chance = st.integers(0, 3).map(lambda n: n == 0)
    if "minus" not in term and draw(chance):
        term["minus"] = draw(_values(width))
        if width == 3 and draw(st.booleans()):
            term["minus"] = draw(st.sampled_from(_vectors(term)) | _number)
    if draw(chance):
        term["wrap"] = draw(st.sampled_from([[-3.14159, 3.14159], [0.01, 6.28], [-0.7, 1.1]]))
    if draw(chance):
        term["scale"] = draw(_values(width))
    if "offset" not in term and draw(chance):
        term["offset"] = draw(_values(width))
    if draw(chance):
        term["clip"] = draw(_clips(width))
    size = width
    if draw(chance):
        term["history"] = draw(_histories())
        history = term["history"]
        size *= history if isinstance(history, int) else len(history["steps"])
    return Drawn(term, width, size)


@st.composite
def _groups(draw: st.DrawFn) -> tuple[dict[str, list[Any]], dict[str, int]]:
    """Groups, and how many values they have."""
    groups: dict[str, list[Any]] = {}
    sizes: dict[str, int] = {}
    for number in range(draw(st.integers(0, 2))):  # the second may read the first
        terms = draw(st.lists(_terms(sizes, len(TARGETS)), min_size=1, max_size=3))
        if sum(drawn.size for drawn in terms) > 200:
            continue
        groups[f"group{number}"] = [drawn.term for drawn in terms]
        sizes[f"group{number}"] = sum(drawn.size for drawn in terms)
    return groups, sizes


@st.composite
def _observations(
    draw: st.DrawFn, sizes: dict[str, int], has_answers: bool = False
) -> tuple[list[Any], int]:
    observation = draw(st.lists(_terms(sizes, len(TARGETS)), min_size=1, max_size=4))
    if has_answers:
        observation += draw(st.lists(_terms(sizes, len(TARGETS), True), min_size=1, max_size=2))
    return [d.term for d in observation], sum(d.size for d in observation)


@st.composite
def _policies(draw: st.DrawFn) -> tuple[dict[str, list[Any]], list[Any], int]:
    groups, sizes = draw(_groups())
    return groups, *draw(_observations(sizes))


@st.composite
def _chains(draw: st.DrawFn) -> tuple[dict[str, list[Any]], dict[str, tuple[list[Any], int]]]:
    """Groups, and what each of two models observes, answers included: of this step or of the one before."""
    groups, sizes = draw(_groups())
    models = ("encoder", "policy")
    return groups, {name: draw(_observations(sizes, has_answers=True)) for name in models}


def _samples(random: np.random.Generator) -> dict[str, Any]:
    """Of one step; the command stands in every other one, and does not in the other."""
    command = random.normal(size=3) * random.choice([0.0, 1.0]) * random.choice([1.0, 0.0, 1.0], 3)
    return {
        "pos": random.normal(size=5).astype(np.float32),
        "vel": random.normal(size=5).astype(np.float32),
        "quat": (random.normal(size=4) * random.choice([1.0, 3.0])).astype(np.float32),
        "goal": random.normal(size=4).astype(np.float32),
        "angles": random.uniform(-1.5, 1.5, 3).astype(np.float32),
        "gyro": random.normal(size=3).astype(np.float32),
        "command": np.where(np.abs(command) < 0.2, 0, command).astype(np.float32),
    }


@settings(max_examples=200, deadline=None)
@given(
    policy=_policies(),
    period_s=st.sampled_from(PERIODS),
    seed=st.integers(0, 2**32 - 1),
    discarded=st.sets(st.integers(0, 14), max_size=5),
)
def test_any_observation_is_what_numpy_makes_of_it(
    policy: tuple[dict[str, list[Any]], list[Any], int],
    period_s: Fraction,
    seed: int,
    discarded: set[int],
) -> None:
    groups, observation, size = policy
    random = np.random.default_rng(seed)
    with TemporaryDirectory() as folder:
        beside = Beside(
            Path(folder), observation, INPUTS, size=size, groups=groups, joints=JOINTS, pose=POSE,
            n_actions=len(TARGETS), period_s=period_s, outputs={"out": Sink(3, tuple(TARGETS))},
        )  # fmt: skip
    for step in range(15):
        if step == 11:
            beside.reset()
        target = random.normal(size=3).astype(np.float32)
        applied = step not in discarded
        observed, expected = beside.step(_samples(random), applied=applied, last_target=target)
        np.testing.assert_allclose(observed, expected, rtol=2e-4, atol=2e-4, err_msg=f"step {step}")


@settings(max_examples=80, deadline=None)
@given(
    chain=_chains(),
    seed=st.integers(0, 2**32 - 1),
    discarded=st.sets(st.integers(0, 14), max_size=5),
)
def test_any_chain_of_two_models_is_what_numpy_makes_of_it(
    chain: tuple[dict[str, list[Any]], dict[str, tuple[list[Any], int]]],
    seed: int,
    discarded: set[int],
) -> None:
    groups, observed = chain
    random = np.random.default_rng(seed)
    weights = {
        name: random.normal(0, 0.5 / size, (size, len(TARGETS))).astype(np.float32)
        for name, (_, size) in observed.items()
    }
    section = {
        "groups": groups,
        "models": {
            name: {"model": f"{name}.onnx", "observation": terms}
            for name, (terms, _) in observed.items()
        },
        "joints": JOINTS,
        "default_joint_pos": POSE,
        "action": {"to": TARGETS},
    }
    files = {f"{name}.onnx": linear(weight) for name, weight in weights.items()}
    sinks = {"out": Sink(3, tuple(TARGETS))}
    with TemporaryDirectory() as folder:
        graph = composed(Path(folder), section, INPUTS, files, outputs=sinks)
    runner = Runner(graph)
    numbers = {name: number for number, name in enumerate(graph.tensors)}
    names_of = {name: list(e) for name, e in INPUTS.items() if not isinstance(e, int)}
    reference = Reference([], groups, names_of, JOINTS, POSE, PERIODS[0])
    for step in range(15):
        if step in (0, 11):
            runner.reset()
            reference.reset()
            last_action = np.zeros(3)
            reference.outputs = {f"{name}.action": np.zeros(3) for name in observed}
        samples, target = _samples(random), random.normal(size=3).astype(np.float32)
        applied = step not in discarded
        last = target if graph.last_command else None
        runner.step(*samples.values(), applied=applied, last_command=last)
        reference.begin(samples, last_action, target.astype(np.float64))
        for name, (terms, _) in observed.items():
            expected = reference.joined(terms)
            got = runner.core.tensor(numbers[graph.observations[f"{name}.obs"]]).reshape(-1)
            np.testing.assert_allclose(
                got, expected, rtol=2e-4, atol=2e-4, err_msg=f"{name}, {step}"
            )
            answer = got.astype(np.float64) @ weights[name]
            reference.outputs[f"{name}.action"] = answer
        reference.end()
        if applied:
            last_action = reference.outputs["policy.action"]
