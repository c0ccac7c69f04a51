"""Observation terms, models and action terms as one graph: the order of its steps.

The user's models stay untouched: rtloop's own nodes produce the values that they read and consume
those that they answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path

from rtloop.config.problem import written
from rtloop.errors import ConfigError, Finding, Place
from rtloop.policy.composed import ComposedGraph
from rtloop.policy.findings import refuse
from rtloop.policy.graph_builder import GraphBuilder
from rtloop.policy.placing import command_of
from rtloop.policy.policy import Policy, load_policy
from rtloop.policy.running import run_stage
from rtloop.policy.section import OBSERVED, PolicyConfig
from rtloop.policy.shaping import joined
from rtloop.policy.terms.action import ActionTerm, Sink
from rtloop.policy.terms.elements import Scope, Vector
from rtloop.policy.terms.inputs import every_input
from rtloop.policy.terms.joints import joint_names
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
    """Builds the graph of a loop around one model, which is loaded here or was already.

    ``inputs`` maps the names of the loop's inputs to the names of their elements, or to their
    number where they have none. ``observation`` terms are concatenated in order; without any, all
    inputs are. ``state`` and ``fix_dimensions``: see :func:`rtloop.policy.load_policy`. ``where``
    tells for keys of the section ``policy``, as ``"observation", 0, "scale"``, where that stands.

    Raises ConfigError when the policy, a term, or their sizes are wrong.
    """
    policy = model if isinstance(model, Policy) else load_policy(model, state, fix_dimensions)
    terms = tuple(observation) or every_input(inputs)
    if not terms:
        raise ConfigError("the loop has no input to observe; add one under `inputs`")
    section = PolicyConfig(model=Path("policy"), observation=terms, action=action or ActionTerm())
    return composed(policy, section, inputs, None, None, where)


def composed(
    policy: Policy,
    section: PolicyConfig,
    inputs: Mapping[str, int | Sequence[str]],
    outputs: Mapping[str, Sink] | None,
    period_s: Fraction | None,
    where: Callable[..., Place],
) -> ComposedGraph:
    """The graph of a loop of this period: its section, its models, and what its inputs and outputs are.

    ``outputs`` None is an output that takes all of the action. Raises ConfigError.
    """
    vectors = {name: _vector(name, elements) for name, elements in inputs.items()}
    every_action = section.scope(vectors, (), policy).action.element_count
    sinks = outputs or {"all": Sink(every_action or 0)}
    command = [Vector(sink.size, sink.names) for sink in sinks.values()]
    policy_s = None if period_s is None else period_s * section.every
    scope = replace(section.scope(vectors, (), policy, command), period_s=policy_s)
    refuse(section.term_rules((), scope), section, where)
    if not policy.stages:
        _refuse_endless(section, scope, where)
        _refuse_renamed(section, scope, where)

    builder = GraphBuilder(
        {name: vector.element_count or 0 for name, vector in vectors.items()},
        period_s=period_s,
        every=section.every,
        answers={f"{s.name}.{name}": a for s in policy.stages for name, a in s.answers.items()},
        group=lambda name: _group(builder, name, section, scope, where),
        models_of_terms=scope.models_of_terms,
    )
    builder.acts_with(scope.action.element_count or 0)
    builder.last_command_size = scope.command.element_count or 0
    observations: dict[str, str] = {}
    ran: dict[str, str] = {}  # by MODEL.OUTPUT
    for stage in policy.stages:
        at, keys, _ = section.sections[stage.name]
        observed = {}
        for name, (place, terms) in keys.observed().items():
            tensor = stage.observed[name or next(iter(stage.observed))]
            here = partial(where, *at, *place)
            value = joined(builder, terms, scope, here, f"observed/{stage.name}")
            if stage.file.function is None:  # which takes whatever is observed
                _refuse_size(terms, scope, tensor.size, str(tensor), here)
            observed[tensor.name] = builder.must_be_finite(value)
            observations[f"{stage.name}.{tensor.name}"] = observed[tensor.name]
        answered = run_stage(builder, stage, observed, ran)
        for name, answer in answered.items():
            builder.answered(f"{stage.name}.{name}", answer)
    if policy.acting is not None and policy.action is not None:
        builder.acted(builder.answer(f"{policy.acting.name}.{policy.action.name}"))
    else:
        here = partial(where, "observation")
        value = joined(builder, section.observation or (), scope, here, "observed")
        builder.acted(builder.node("Identity", [value], "raw_action"))
        observations[OBSERVED] = builder.raw_action
    builder.must_be_finite(builder.raw_action)
    value = command_of(builder, section, scope, outputs, where)
    with builder.blaming(where("terminations")), builder.each_cycle():
        terminations = section.terminations.emit(builder, scope)
    feedback = builder.fed_back()
    return ComposedGraph(
        tensors=builder.tensors,
        constants=builder.constants,
        steps=tuple(builder.steps),
        inputs=tuple(builder.inputs.values()),
        action=builder.tensors[value],
        feedback=feedback,
        checked=tuple(builder.checked),
        last_command=builder.last_command_tensor,
        sha256=policy.sha256,
        observation_size=_observation_size(builder, policy, observations),
        models_sha256=policy.models_sha256,
        observations=observations,
        raw_action=builder.raw_action,
        terminations=terminations,
        termination_sentences=section.terminations.sentences(scope),
        every=builder.every,
        cycles_since_due=builder.cycles_tensor,
    )


def _observation_size(
    builder: GraphBuilder, policy: Policy, observations: Mapping[str, str]
) -> int:
    if policy.function is not None:
        return sum(builder.size(tensor) for tensor in observations.values())
    return policy.observation.size if policy.observation else 0


def _group(
    builder: GraphBuilder,
    name: str,
    section: PolicyConfig,
    scope: Scope,
    where: Callable[..., Place],
) -> str:
    return joined(
        builder, section.groups[name], scope, partial(where, "groups", name), f"group/{name}"
    )


def _vector(name: str, elements: int | Sequence[str]) -> Vector:
    names = None if isinstance(elements, int) else tuple(elements)
    vector = Vector(elements if isinstance(elements, int) else len(elements), names)
    if vector.element_count is None or vector.element_count < 1:
        size = vector.element_count
        raise ConfigError(f"input {name!r} has size {size}; it must be at least 1")
    return vector


def _refuse_endless(section: PolicyConfig, scope: Scope, where: Callable[..., Place]) -> None:
    """Without a model what is observed is the action, so that no term of it can be as large as the action."""
    if scope.action.element_count is not None:
        return
    terms = enumerate(section.observation or ())
    index = next((index for index, term in terms if term.size(scope) is None), 0)
    found = "a part of the action as large as the action itself"
    expected = "`select` beside it: without a model, what is observed is the action"
    raise ConfigError([Finding.of(where("observation", index), found, expected)])


def _refuse_renamed(section: PolicyConfig, scope: Scope, where: Callable[..., Place]) -> None:
    """Without a model an action has what is observed: what is one joint there is no other joint behind it."""
    own = scope.joined(section.observation or ()).element_names or ()
    for keys, action in section.action_terms.items():
        if action.joints is None or action.group is not None:
            continue
        picked = action.select or range(len(own))
        said = joint_names(action.joints, scope.joints) or ()
        for element, joint in zip(picked, said, strict=False):
            name = own[element] if isinstance(element, int) and element < len(own) else joint
            if name != joint and name in (scope.joints or said):
                found = f"'{joint}' for what is observed as '{name}'"
                expected = "the joints in the order in which they are observed"
                raise ConfigError([Finding.of(where(*keys, "joints"), found, expected)])


def _refuse_size(
    terms: Sequence[ObservationTerm],
    scope: Scope,
    wanted: int,
    tensor: str,
    where: Callable[..., Place],
) -> None:
    """The terms together fill what the model reads."""
    sizes = [term.size(scope) or 0 for term in terms]
    if sum(sizes) != wanted:
        parts = ", ".join(f"{t.label}: {size}" for t, size in zip(terms, sizes, strict=True))
        found = f"an observation of {sum(sizes)} values ({parts})"
        expected = f"{wanted}, the size of the policy's input {tensor}"
        raise ConfigError([Finding.of(where(), found, expected)])
