"""Observation terms, policy and action term as one ONNX graph: the order of its steps.

The user's nodes stay untouched: rtloop's own nodes produce the value the policy reads and consume
the value it writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rtloop.config.problem import Keys, Problem, guarded, number, printable, written
from rtloop.config.section import Section
from rtloop.errors import ConfigError, Finding, Place
from rtloop.policy.composed import ComposedGraph
from rtloop.policy.graph_builder import GraphBuilder
from rtloop.policy.inspect import Policy, load_policy
from rtloop.policy.shaping import emitted, selected, shaped
from rtloop.policy.terms.action import ActionTerm
from rtloop.policy.terms.elements import Scope, Vector
from rtloop.policy.terms.inputs import every_input
from rtloop.policy.terms.term import ObservationTerm


def _written(*keys: str | int) -> Place:
    return Place(key=written(keys))


def compose(
    model: str | Path | bytes | Policy,
    inputs: Mapping[str, int | Sequence[str]],
    observation: Sequence[ObservationTerm] = (),
    action: ActionTerm | None = None,
    state: Mapping[str, str] | None = None,
    fix_dimensions: Mapping[str, int] | None = None,
    *,
    where: Callable[..., Place] = _written,
) -> ComposedGraph:
    """Builds the graph of a loop from the user's policy, which is loaded here or was already.

    ``inputs`` maps the names of the loop's inputs to the names of their elements, or to their
    number where they have none. ``observation`` terms are concatenated in order; without any, all
    inputs are. ``state`` and ``fix_dimensions``: see :func:`rtloop.policy.load_policy`. ``where``
    tells for keys of the section ``policy``, as ``"observation", 0, "scale"``, where that stands.

    Raises ConfigError when the policy, a term, or their sizes are wrong.
    """
    import onnx

    policy = model if isinstance(model, Policy) else load_policy(model, state, fix_dimensions)
    vectors = {name: _vector(name, elements) for name, elements in inputs.items()}
    scope = Scope(vectors, Vector(policy.action.size))
    terms = tuple(observation) or every_input(inputs)
    action = ActionTerm() if action is None else action
    _check(terms, action, scope, where)
    sizes = _sizes(terms, scope, policy, where)

    builder = GraphBuilder(policy, {name: v.element_count or 0 for name, v in vectors.items()})
    observed = selected(builder, terms, emitted(builder, terms, scope, where), scope)
    parts = list(zip(terms, sizes, strict=True))
    builder.add_policy(shaped(builder, observed, parts, "term"))
    command = shaped(builder, builder.raw_action, [(action, policy.action.size)], "action")
    command = _guarded(builder, command, observed, policy.observation.size, "guard")
    if action.clip is not None:
        raw_size = policy.action.size
        command = _guarded(builder, command, builder.raw_action, raw_size, "action_guard")
    composed, output, feedback = builder.finished(command)
    try:
        onnx.checker.check_model(composed, full_check=True)
    except Exception as error:  # of many types; onnxruntime takes some models that onnx does not
        text = printable(" ".join(str(error).split()))
        found = f"a policy that onnx's checker refuses ({text})"
        expected = "a model that is whole: export it again"
        raise ConfigError([Finding.of(where("model"), found, expected)]) from error
    return ComposedGraph(
        model=composed.SerializeToString(deterministic=True),
        inputs=tuple(builder.inputs.values()),
        action=output,
        feedback=feedback,
        sha256=policy.sha256,
        observation_size=policy.observation.size,
    )


def _guarded(builder: GraphBuilder, command: str, seen: str, seen_size: int, label: str) -> str:
    """Adds 0 * ``seen``, which is NaN when an element is not finite.

    Without it a clip, of ours or of the policy, or Min and Max of onnxruntime before 1.20, would
    turn a broken sample into a plausible command. One Gemm is the cheapest node that does this.
    """
    import numpy as np

    zeros = builder.constant(np.zeros((seen_size, builder.action_size), np.float32), label)
    return builder.node("Gemm", [seen, zeros, command], f"{label}ed")


def _vector(name: str, elements: int | Sequence[str]) -> Vector:
    names = None if isinstance(elements, int) else tuple(elements)
    vector = Vector(elements if isinstance(elements, int) else len(elements), names)
    if vector.element_count is None or vector.element_count < 1:
        size = vector.element_count
        raise ConfigError(f"input {name!r} has size {size}; it must be at least 1")
    return vector


def _check(
    terms: Sequence[ObservationTerm], action: ActionTerm, scope: Scope, where: Callable[..., Place]
) -> None:
    """The rules of the terms once more, now that all sizes and names are known."""
    if not terms:
        raise ConfigError("the loop has no input to observe; add one under `inputs`")
    sections = {"observation": terms, "action": action}
    problems = list(_problems(terms, action, scope))
    if problems:
        raise ConfigError([_finding(problem, sections, where) for problem in problems])


def _problems(
    terms: Sequence[ObservationTerm], action: ActionTerm, scope: Scope
) -> Iterator[Problem]:
    for index, term in enumerate(terms):
        here = ("observation", index)
        yield from guarded((*here, term.kind), term.rules(here, scope))
    size, keys = scope.action.element_count, ("action",)
    yield from action.shape_rules(keys, size, "the policy's output", keys)


def _finding(problem: Problem, sections: Mapping[str, Any], where: Callable[..., Place]) -> Finding:
    found = problem.found or _found(sections, problem.keys)
    return Finding.of(where(*problem.keys), found, problem.expected, problem.nearest)


def _found(value: Any, keys: Keys) -> str:
    for key in keys:
        value = getattr(value, str(key)) if isinstance(value, Section) else value[key]
    if isinstance(value, tuple):
        return f"a list of {len(value)}"
    return f"'{value}'" if isinstance(value, str) else number(value)


def _sizes(
    terms: Sequence[ObservationTerm], scope: Scope, policy: Policy, where: Callable[..., Place]
) -> list[int]:
    """The number of values of each term; together they fill what the policy reads."""
    sizes = [term.size(scope) or 0 for term in terms]
    total = sum(sizes)
    if total != policy.observation.size:
        parts = ", ".join(f"{t.label}: {size}" for t, size in zip(terms, sizes, strict=True))
        found = f"an observation of {total} values ({parts})"
        expected = f"{policy.observation.size}, the size of the policy's input {policy.observation}"
        raise ConfigError([Finding.of(where("observation"), found, expected)])
    return sizes
