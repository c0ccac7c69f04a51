"""What every element is that a policy observes, and every element that it commands.

Said from the configuration alone: nothing runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from typing import Any

import yaml

from rtloop.config.problem import Keys, written
from rtloop.policy.feeding import fed
from rtloop.policy.formula import Formula, as_text
from rtloop.policy.policy import Policy
from rtloop.policy.section import OBSERVED, PolicyConfig
from rtloop.policy.shaping import named_values
from rtloop.policy.terms.action import ActionTerm, Sink, placed
from rtloop.policy.terms.elements import DEFAULT_POSE, Scope, Vector
from rtloop.policy.terms.matching import Values, places
from rtloop.policy.terms.shape import Shape
from rtloop.policy.terms.term import ObservationTerm
from rtloop.ports.signal import Signal


@dataclass(frozen=True)
class ObservedElement:
    """One number of what a model observes."""

    index: int
    name: str
    """As ``joint_pos.knee``; it does not tell the step."""
    term: Keys
    """Where the term stands in the section ``policy``: ``("observation", 2)``."""
    source: str
    """What ``x`` is in the formula: ``joint_pos[3]``."""
    formula: Formula
    steps_ago: int
    slot: int
    """Its place in the history of its term; 0 without one."""
    start: str
    """What stands there before there were so many steps: ``first``, ``zero``; empty without a history."""
    unit: str
    """Of ``x``; empty where it has none or nobody tells."""
    reads: tuple[str, ...]
    """The inputs and groups that the source reads."""

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), "term": written(self.term), **self.formula.as_dict()}

    @property
    def label(self) -> str:
        """The name, and the step where it is not this one."""
        if self.steps_ago == 0:
            return self.name
        return f"{self.name}, {self.steps_ago} step{'s' if self.steps_ago > 1 else ''} ago"


@dataclass(frozen=True)
class CommandedElement:
    """One number of the command."""

    index: int
    name: str
    """As ``targets.knee``."""
    source: str
    """What ``y`` is in the formula: an element of the action; empty for a default."""
    joint: str
    formula: Formula
    unit: str
    min: float | None = None
    """Of its output, with the next two: what the core limits a command to; None is no limit."""
    max: float | None = None
    max_rate_per_s: float | None = None

    def as_dict(self) -> dict[str, Any]:
        return {**asdict(self), **self.formula.as_dict()}


@dataclass(frozen=True)
class PolicyTable:
    """All that goes in and out of the policy of a loop."""

    observations: Mapping[str, tuple[ObservedElement, ...]]
    """By model and input, as ``policy.obs``; without a model ``policy.observation``."""
    raw: tuple[str, ...]
    """The elements of the policy's answer: the names of its joints, where it has as many."""
    command: tuple[CommandedElement, ...]
    notes: tuple[str, ...]
    """What was concluded without being asked, and what came from the model's file."""

    def as_dict(self) -> dict[str, Any]:
        return {
            "observations": {
                name: [element.as_dict() for element in elements]
                for name, elements in self.observations.items()
            },
            "command": [element.as_dict() for element in self.command],
            "notes": list(self.notes),
        }


def table(
    section: PolicyConfig,
    policy: Policy,
    inputs: Mapping[str, Sequence[Signal]],
    outputs: Mapping[str, Sequence[Signal]],
    sinks: Mapping[str, Sink],
    period_s: Fraction | None = None,
) -> PolicyTable:
    """What the policy of a section that was composed observes and commands, between these elements."""
    vectors = {key: Vector(len(s), tuple(x.name for x in s)) for key, s in inputs.items()}
    command = [Vector(sink.size, sink.names) for sink in sinks.values()]
    scope = replace(section.scope(vectors, (), policy, command), period_s=period_s)
    units = {key: [signal.unit for signal in signals] for key, signals in inputs.items()}
    observations = {}
    for number, stage in enumerate(policy.stages):
        at, keys, _ = section.sections[stage.name]
        late = tuple(f"{name}." for name in dict.fromkeys(s.name for s in policy.stages[number:]))
        for name, (place, terms) in keys.observed().items():
            tensor = name or next(iter(stage.observed))
            rows = _joined(terms, scope, units, (*at, *place))
            observations[f"{stage.name}.{tensor}"] = tuple(
                replace(_awaited(row) if row.source.startswith(late) else row, index=index)
                for index, row in enumerate(rows)
            )
    if not policy.stages:
        rows = _joined(section.observation or (), scope, units, ("observation",))
        observations[OBSERVED] = tuple(replace(row, index=at) for at, row in enumerate(rows))
    commanded = tuple(_commanded(section, policy, scope, units, outputs, sinks))
    notes = (*policy.notes_in(section), *fed(policy), *_groups(section, scope, units))
    notes += (*defaults_told(commanded), *_between(section), *_ends(section, scope))
    return PolicyTable(observations, _answered(scope), commanded, notes)


def defaults_told(command: Sequence[CommandedElement]) -> list[str]:
    """Of the elements that no action commands: which they are, a sentence for each default."""
    by_default: dict[str, list[str]] = {}
    for element in command:
        if not element.source:
            by_default.setdefault(element.formula.text, []).append(element.name)
    return [
        f"no action commands {', '.join(names[:4])}"
        + (f" and {len(names) - 4} more" if len(names) > 4 else "")
        + (
            f": it stays at its default {default}"
            if len(names) == 1
            else f": they stay at {default}"
        )
        for default, names in by_default.items()
    ]


def group_elements(
    name: str, scope: Scope, units: Mapping[str, Sequence[str]]
) -> list[ObservedElement]:
    """The elements of a group. ``units`` are those of inputs, where they are known."""
    return _joined(scope.groups[name], scope, units, ("groups", name))


# --- observation ---


def _joined(
    terms: Sequence[ObservationTerm], scope: Scope, units: Mapping[str, Sequence[str]], here: Keys
) -> list[ObservedElement]:
    rows = []
    for number, term in enumerate(terms):
        rows += _observed(term, scope, units, (*here, number))
    return rows


def _observed(
    term: ObservationTerm, scope: Scope, units: Mapping[str, Sequence[str]], here: Keys
) -> list[ObservedElement]:
    """The elements of one term, those of its history included."""
    source = _source(term, scope, units, here)
    picked = [source[index] for index in term.indices(scope)]
    names = term.step_names(scope)
    if names is not None and not term.inner(scope):
        picked = [
            replace(row, name=f"{term.prefix}.{name}")
            for row, name in zip(picked, names, strict=True)
        ]
    formulas = _shaped(
        [row.formula for row in picked],
        term,
        named_values(term.offset, scope, names, len(picked)),
        less=_subtracted(term, scope, names, len(picked)),
        wrap=term.wrap,
    )
    shaped = [
        replace(row, formula=formula, term=here)
        for row, formula in zip(picked, formulas, strict=True)
    ]
    history = term.history
    if history is None:
        return shaped
    slots = [
        [
            replace(row, steps_ago=row.steps_ago + ago, slot=slot, start=history.start)
            for row in shaped
        ]
        for slot, ago in enumerate(history.steps)
    ]
    if history.interleave:
        slots = [list(element) for element in zip(*slots, strict=True)]
    return [row for rows in slots for row in rows]


def _source(
    term: ObservationTerm, scope: Scope, units: Mapping[str, Sequence[str]], here: Keys
) -> list[ObservedElement]:
    inner = term.inner(scope)
    if inner:
        return _joined(inner, scope, units, here)
    elements = term.elements(scope)
    count = elements.element_count or 0
    names = elements.element_names or tuple(map(str, range(count)))
    reads = term.reads()
    told: Sequence[str] = ()
    if term.declared_at(scope):
        told = units.get(term.prefix, ())
    what = (
        term.prefix if not reads or term.prefix in reads else f"{term.prefix}({', '.join(reads)})"
    )
    return [
        ObservedElement(
            index=index,
            name=f"{term.prefix}.{name}",
            term=here,
            source=f"{what}[{index}]",
            formula=Formula(as_text(term.fixed[index]) if term.fixed else "x"),
            steps_ago=0,
            slot=0,
            start="",
            unit=told[index] if index < len(told) else "",
            reads=reads,
        )
        for index, name in enumerate(names)
    ]


def _awaited(row: ObservedElement) -> ObservedElement:
    """Of a model that runs later: its answer of the cycle before."""
    return replace(row, steps_ago=row.steps_ago + 1, start=row.start or "zero")


def _groups(
    section: PolicyConfig, scope: Scope, units: Mapping[str, Sequence[str]]
) -> Iterator[str]:
    """What groups hold whose elements stand in formulas, subtracted or added."""
    terms = [term for listed in section.terms.values() for term in listed]
    named = [term.minus for term in terms] + [a.plus for a in section.action_terms.values()]
    for group in dict.fromkeys(name for name in named if name in scope.groups):
        rows = _joined(scope.groups[str(group)], scope, units, ("groups", str(group)))
        names = _element_names(str(group), scope)
        told = [
            f"{name} = {row.formula.of(row.source)}" for name, row in zip(names, rows, strict=False)
        ]
        yield f"group: {', '.join(told)}"


def _subtracted(
    term: ObservationTerm, scope: Scope, names: tuple[str, ...] | None, size: int
) -> Sequence[float | str]:
    """What `minus` says for each element."""
    minus = term.minus
    if isinstance(minus, str) and minus != DEFAULT_POSE:
        return _met(minus, term.values(scope), scope)
    return _each(named_values(minus, scope, names, size), size)


def _shaped(
    formulas: Sequence[Formula],
    shape: Shape,
    offset: float | tuple[float, ...],
    *,
    less: Sequence[float | str] = (),
    wrap: tuple[float, float] | None = None,
    plus: Sequence[str] = (),
) -> list[Formula]:
    """What is done to each element, in the order in which it is done."""
    size = len(formulas)
    scales, offsets = _each(shape.scale, size), _each(offset, size)
    clip = None if shape.clip is None else [_each(bound, size) for bound in shape.clip]
    done = []
    for index, formula in enumerate(formulas):
        if less:
            formula = formula.less(less[index])
        if wrap is not None:
            formula = formula.wrapped(*wrap)
        formula = formula.times(scales[index]).plus(offsets[index])
        if plus:
            formula = formula.plus(plus[index])
        if clip is not None:
            formula = formula.clipped(clip[0][index], clip[1][index])
        done.append(formula)
    return done


# --- command ---


def _commanded(
    section: PolicyConfig,
    policy: Policy,
    scope: Scope,
    units: Mapping[str, Sequence[str]],
    outputs: Mapping[str, Sequence[Signal]],
    sinks: Mapping[str, Sink],
) -> Iterator[CommandedElement]:
    values: list[CommandedElement] = []
    wanted, sizes = [], []
    for action in section.action_terms.values():
        rows = _action(action, policy, scope, units)
        wanted.append(action.targets(scope))
        sizes.append(len(rows))
        values += rows
    places = placed(wanted, sizes, sinks)
    signals = [(key, signal) for key, told in outputs.items() for signal in told]
    for index, ((key, signal), place) in enumerate(zip(signals, places, strict=True)):
        name = f"{key}.{signal.name}"
        if isinstance(place, int):
            yield replace(values[place], index=index, name=name, unit=signal.unit)
        else:
            default = Formula(as_text(float(place)), scale=0.0)
            yield CommandedElement(index, name, "", "", default, signal.unit)


def _action(
    action: ActionTerm, policy: Policy, scope: Scope, units: Mapping[str, Sequence[str]]
) -> list[CommandedElement]:
    if action.group is not None:
        inner = group_elements(action.group, scope, units)
        sources = [(row.source, replace(row.formula, text=row.formula.of("y"))) for row in inner]
    else:
        size = scope.action.element_count or 0
        name = OBSERVED
        if policy.acting is not None and policy.action is not None:
            name = f"{policy.acting.name}.{policy.action.name}"
        if action.output is not None:
            known = [key for key in scope.outputs if action.output in (key, key.partition(".")[2])]
            name = known[0]
            size = scope.outputs[name].element_count or 0
        sources = [(f"{name}[{index}]", Formula("y")) for index in range(size)]
    if action.select is not None:
        sources = [sources[index] for index in action.select if isinstance(index, int)]
    names = action.names(scope)
    size = len(sources)
    plus = action.plus
    formulas = _shaped(
        [formula for _, formula in sources],
        action,
        named_values(action.offset, scope, names, size),
        plus=[] if plus is None else _met(plus, action.values(scope, size), scope),
    )
    further = _further(action)
    return [
        CommandedElement(
            index=index,
            name="",
            source=source,
            joint=names[index] if names else "",
            formula=replace(formula, text=formula.text + further),
            unit="",
        )
        for index, ((source, _), formula) in enumerate(zip(sources, formulas, strict=True))
    ]


_IN_THE_FORMULA = {
    *Shape.model_fields,
    "output",
    "group",
    "select",
    "joints",
    "named",
    "to",
    "plus",
}


def _further(action: ActionTerm) -> str:
    """What else its section says, as it says it."""
    keys = action.model_fields_set - _IN_THE_FORMULA
    values = action.model_dump(mode="json", by_alias=True, exclude_unset=True, include=keys)
    if not values:
        return ""
    return "; " + yaml.safe_dump(values, default_flow_style=True, width=float("inf")).strip()


def _answered(scope: Scope) -> tuple[str, ...]:
    names = scope.action.element_names
    return names or tuple(map(str, range(scope.action.element_count or 0)))


def _between(section: PolicyConfig) -> Iterator[str]:
    if section.every == 1:
        return
    what = {
        "hold": "its last target is commanded",
        "interpolate": "what is commanded lies on the straight line to its target",
    }
    yield f"every {section.every}: it runs in every so-many-th cycle; in those between {what[section.between]}"


def _ends(section: PolicyConfig, scope: Scope) -> Iterator[str]:
    for sentence in section.terminations.sentences(scope):
        yield f"a run ends in FAULT by {sentence}"


# --- values of elements ---


def _met(vector: str, values: Values, scope: Scope) -> list[str]:
    """The elements of an input or group that belong to values, by their names there or their numbers."""
    names = _element_names(vector, scope)
    indices = places(values, scope.vector(vector) or Vector())
    return [names[index] for index in indices or range(len(names))]


def _element_names(vector: str, scope: Scope) -> list[str]:
    """Those of an input or group, with its own before each."""
    known = scope.vector(vector) or Vector()
    names = known.element_names or tuple(map(str, range(known.element_count or 0)))
    return [f"{vector}.{name}" for name in names]


def _each(values: float | tuple[float, ...], size: int) -> tuple[float, ...]:
    return values if isinstance(values, tuple) else (values,) * size
