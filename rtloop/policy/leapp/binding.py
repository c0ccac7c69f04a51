"""Which inputs and outputs of a loop are those of a bundle: by name, and by the names of their elements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtloop.config.problem import Keys, any_of
from rtloop.errors import ConfigError
from rtloop.policy.leapp.bundle import Bundle, BundleTensor, Port, read_bundle
from rtloop.policy.terms.action import ActionTerm, answer_called
from rtloop.policy.terms.elements import Elements, has_names
from rtloop.policy.terms.inputs import InputTerm
from rtloop.policy.terms.joints import unfound
from rtloop.policy.terms.term import ObservationTerm

if TYPE_CHECKING:
    import numpy.typing as npt

    from rtloop.policy.section import ModelKeys

#: By the kind of a tensor: what its input or output of a loop may be called beside its own name.
NAMES = {
    "state/joint/position": "joint_pos",
    "state/joint/velocity": "joint_vel",
    "state/joint/effort": "joint_effort",
    "state/body/linear_velocity": "base_lin_vel",
    "state/body/angular_velocity": "base_ang_vel",
    "state/body/rotation": "base_quat",
    "command/body/velocity": "command",
    "target/joint/position": "joint_pos_target",
    "target/joint/velocity": "joint_vel_target",
    "target/joint/torques": "joint_effort",
    "target/joint/effort": "joint_effort",
    "kp": "kp",
    "kd": "kd",
}
_SUFFIXES = {
    "target/joint/position": "pos",
    "target/joint/velocity": "vel",
    "target/joint/torques": "effort",
    "target/joint/effort": "effort",
}


@dataclass(frozen=True)
class Wire:
    """What feeds an input of a model from within."""

    source: str
    """The output, as ``MODEL.OUTPUT``."""
    initial: npt.NDArray[Any] | None = field(default=None, compare=False)
    """What it is before that ran first; None is zeros."""


@dataclass(frozen=True)
class Binding:
    """A bundle in its place in a loop."""

    bundle: Bundle
    observations: Mapping[str, Mapping[str, tuple[ObservationTerm, ...]]]
    """By model and input, for those that come from outside."""
    written: frozenset[Port]
    """Those of them that the configuration says itself."""
    wires: Mapping[str, Mapping[str, Wire]]
    actions: Mapping[Keys, ActionTerm]
    """By where they would stand in the section of the policy."""
    problems: tuple[tuple[str, str], ...]
    """What was found and what was expected, where something has no counterpart in the loop."""
    are_outputs_named: bool
    """Whether the elements of the loop's outputs have names, known or not yet."""

    @property
    def sections(self) -> dict[str, tuple[Keys, ModelKeys, Path]]:
        """By the name of a model: where it would stand in the section, what fills it, its file."""
        from rtloop.policy.section import ModelKeys

        return {
            name: (
                ("leapp", name),
                ModelKeys(observations=dict(self.observations[name])),
                model.path,
            )
            for name, model in self.bundle.models.items()
        }

    def port_of(self, action: ActionTerm) -> Port | None:
        """The output of the bundle that an action is made of; None where it is none, or is not known."""
        if action.group is not None:
            return None
        if action.output is None:
            return self.bundle.outputs[0] if self.bundle.outputs else None
        return self.port_called(action.output)

    def port_called(self, name: str) -> Port | None:
        """The output of ``MODEL.OUTPUT``, or of ``OUTPUT`` where only one model has it."""
        by_name = {".".join(port): port for port in self.bundle.answers}
        return by_name.get(answer_called(name, by_name) or "")

    def targets(self, port: Port) -> tuple[str, ...] | None:
        """How the outputs of the loop call the elements of an output; None where the order decides."""
        return target_names(self.bundle, port) if self.are_outputs_named else None

    def completed(self, action: ActionTerm) -> ActionTerm:
        """An action of the configuration, for the elements that the bundle says, if it names no others."""
        if action.joints is not None or {"to", "named"} & action.model_fields_set:
            return action
        port = self.port_of(action)
        names = None if port is None else self.targets(port)
        if names is None:
            return action
        picked = range(len(names)) if action.select is None else action.select
        if not all(isinstance(element, int) and element < len(names) for element in picked):
            return action
        to = tuple(names[element] for element in picked if isinstance(element, int))
        return action.with_values(to=to)

    @property
    def terms(self) -> dict[Keys, Sequence[ObservationTerm]]:
        """The terms that the configuration does not say itself, by where they would stand."""
        return {
            ("leapp", model, "observations", name): terms
            for model, inputs in self.observations.items()
            for name, terms in inputs.items()
            if (model, name) not in self.written
        }


def bound(
    path: Path,
    inputs: Mapping[str, Elements],
    outputs: Mapping[str, Elements],
    observations: Mapping[str, tuple[ObservationTerm, ...]],
) -> Binding | None:
    """The bundle of a path in its place; None where it cannot be read.

    ``observations`` are what the configuration says of some inputs, as ``INPUT`` or ``MODEL.INPUT``.
    """
    try:
        bundle = read_bundle(path)
    except ConfigError:
        return None
    problems: list[tuple[str, str]] = []
    known = {key for model, name in bundle.inputs for key in (f"{model}.{name}", name)}
    for key in observations.keys() - known:
        expected = f"an input of the bundle: {any_of(sorted(known))}"
        problems.append((f"observations of '{key}'", expected))
    observed: dict[str, dict[str, tuple[ObservationTerm, ...]]] = {n: {} for n in bundle.models}
    written: set[Port] = set()
    unused = observations.keys() & known
    arrived: dict[str, list[Port]] = {}
    for port in bundle.inputs:
        model, name = port
        written_at = next((k for k in (f"{model}.{name}", name) if k in observations), None)
        if written_at is not None:
            observed[model][name] = observations[written_at]
            written.add(port)
            unused -= {written_at}
        elif (term := _term(bundle.input(port), inputs, problems)) is not None:
            observed[model][name] = (term,)
            arrived.setdefault(term.input, []).append(port)
    for key in sorted(unused):
        expected = "no such entry: every model that has this input has one of its own"
        problems.append((f"observations of '{key}'", expected))
    for input_name, ports in arrived.items():
        _refuse_shared(bundle, input_name, ports, problems)
    wires: dict[str, dict[str, Wire]] = {name: {} for name in bundle.models}
    for target, source in bundle.sources.items():
        wires[target[0]][target[1]] = Wire(".".join(source), bundle.initial.get(target))
    are_named = any(has_names(section) for section in outputs.values())
    actions: dict[Keys, ActionTerm] = {
        ("leapp", "outputs", index): action
        for index, action in enumerate(_actions(bundle, are_named))
    }
    return Binding(bundle, observed, frozenset(written), wires, actions, tuple(problems), are_named)


def input_names(tensor: BundleTensor) -> tuple[str, ...]:
    """What an input of the loop may be called, the likeliest first; none where name and kind contradict."""
    if contradicts(tensor):
        return ()
    return tuple(dict.fromkeys(name for name in (tensor.name, NAMES.get(tensor.kind)) if name))


def contradicts(tensor: BundleTensor) -> bool:
    """Whether an input is called as something is that its kind is not: a velocity named ``joint_pos``."""
    meant = NAMES.get(tensor.kind, tensor.name)
    return meant != tensor.name and tensor.name in NAMES.values()


def target_names(bundle: Bundle, port: Port) -> tuple[str, ...] | None:
    """How the outputs of a loop call the elements of an output of the bundle; None where it names none.

    Where several name the same elements, they are told apart by what they are: ``hip_pos``, ``hip_kp``.
    """
    ports = dict.fromkeys((*bundle.commanded, port))
    tensors = {other: bundle.output(other) for other in ports}
    names = [name for tensor in tensors.values() for name in tensor.names_of_one_step or ()]
    if not names:
        return None
    tensor = tensors[port]
    own = tensor.names_of_one_step
    if own is None:
        numbered = tuple(f"{tensor.name}_{index}" for index in range(tensor.size))
        return numbered if tensor.size > 1 else (tensor.name,)
    if len(set(names)) == len(names):
        return own
    suffixes = [_SUFFIXES.get(other.kind, other.kind) for other in tensors.values()]
    suffix = _SUFFIXES.get(tensor.kind, tensor.kind)
    if not suffix or "/" in suffix or suffixes.count(suffix) > 1:
        suffix = tensor.name
    return tuple(f"{name}_{suffix}" for name in own)


def _term(
    tensor: BundleTensor, inputs: Mapping[str, Elements], problems: list[tuple[str, str]]
) -> InputTerm | None:
    if contradicts(tensor):
        expected = "`observations` for it: its name says one thing, and its kind another"
        problems.append((f"the bundle's input {tensor}", expected))
        return None
    if tensor.steps > 1:
        after = "" if tensor.step_ms is None else f" of {tensor.step_ms:g} ms"
        expected = f"`observations` for it, a term with `history` of {tensor.steps} steps{after}"
        problems.append((f"the bundle's input {tensor}, which has an axis of time", expected))
        return None
    name = next((name for name in input_names(tensor) if name in inputs), None)
    if name is None:
        wanted = " or ".join(f"'{candidate}'" for candidate in input_names(tensor))
        told = any_of(list(inputs)) if inputs else "none"
        problems.append(
            (
                f"the bundle's input {tensor}, and the loop's inputs {told}",
                f"an input {wanted}, or `observations` for it",
            )
        )
        return None
    elements = inputs[name]
    if tensor.element_names is None or not has_names(elements):
        return InputTerm(input=name)
    there = elements.element_names
    if there is None:  # only the device knows
        return InputTerm.model_validate({"input": name, "select": tensor.element_names})
    lacks = unfound(tensor.element_names, there, f"an input '{name}'")
    if lacks is not None:
        problems.append((f"the bundle's input {tensor}", lacks))
        return None
    return InputTerm.model_validate({"input": name, "select": tensor.element_names})


def _refuse_shared(
    bundle: Bundle, name: str, ports: Sequence[Port], problems: list[tuple[str, str]]
) -> None:
    """One input of the loop for two of the bundle, which nothing says are the same or parts of it."""
    for one, other in combinations(ports, 2):
        first, second = bundle.input(one), bundle.input(other)
        is_other_kind = first.kind and second.kind and first.kind != second.kind
        parts = {*(first.element_names or ())}, {*(second.element_names or ())}
        are_parts = all(parts) and not parts[0] & parts[1]
        if is_other_kind or (first.name != second.name and not are_parts):
            told = [f"{'.'.join(port)}{bundle.input(port).told}" for port in (one, other)]
            found = f"an input '{name}' for both {told[0]} and {told[1]}"
            expected = (
                "`observations` for one of them, or an input of its name: they are not the same"
            )
            problems.append((found, expected))
            return


def _actions(bundle: Bundle, are_named: bool) -> Iterator[ActionTerm]:
    for port in bundle.outputs:
        output, to = ".".join(port), target_names(bundle, port) if are_named else None
        keys = {"output": output} | ({} if to is None else {"to": to})
        yield ActionTerm.model_validate(keys)
