"""What each input and output of a model is for: observed, constant, counted, state, or answer."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from rtloop.config.problem import flow
from rtloop.errors import ConfigError, Finding, Place
from rtloop.policy.model_file import ModelFile, PolicyTensor, Source, nowhere, read_model
from rtloop.policy.trial import BORDER_TYPES

if TYPE_CHECKING:
    import numpy.typing as npt

    from rtloop.policy.leapp.binding import Wire

Constant = bool | int | float | tuple[bool | int | float, ...]
_ACTION_NAMES = ("action", "actions")
#: How exporters name what an input becomes: rsl_rl, exploy, silero-vad, and others.
_NEXT_NAMES: tuple[Callable[[str], str], ...] = (
    lambda name: name.removesuffix("in") + "out" if name.endswith(("_in", ".in", "/in")) else "",
    lambda name: f"{name}N",
    lambda name: f"{name}_out",
    lambda name: f"{name}_next",
    lambda name: f"next_{name}",
    lambda name: f"new_{name}",
)


class ModelKeys(Protocol):
    """What a section says of a model's inputs and outputs."""

    @property
    def fix_dimensions(self) -> Mapping[str, int]: ...
    @property
    def state(self) -> Mapping[str, str]: ...
    @property
    def constants(self) -> Mapping[str, Constant]: ...
    @property
    def counters(self) -> Mapping[str, int]: ...
    @property
    def sha256(self) -> str | None: ...


@dataclass(frozen=True)
class Stage:
    """A model in its place: what fills each of its inputs, and what its outputs are."""

    name: str
    file: ModelFile
    observed: Mapping[str, PolicyTensor]
    """Inputs that terms fill; each is one vector."""
    constants: Mapping[str, npt.NDArray[Any]]
    counters: Mapping[str, int]
    state: tuple[tuple[PolicyTensor, PolicyTensor], ...]
    answers: Mapping[str, PolicyTensor]
    """Outputs that are no state, and an action that the model also takes as its last."""
    notes: tuple[str, ...]
    """What was concluded without being asked."""
    wires: Mapping[str, Wire] = field(default_factory=dict)
    """Inputs that an output of a model of this policy feeds, of whatever shape and type."""


def read_stage(
    name: str,
    model: str | Path | bytes,
    keys: ModelKeys,
    observed: tuple[str, ...] | None,
    wires: Mapping[str, Wire] | None = None,
    *,
    where: Callable[..., Place] = nowhere,
    observed_at: str = "observations",
) -> Stage:
    """Reads a model and finds out what each of its inputs and outputs is for.

    ``observed`` names the inputs that values of the loop fill, as the key ``observed_at`` says, or None for
    the only one that is left; ``wires`` those that outputs of models feed. State pairs that are not given
    are guessed where their names leave no doubt. Raises ConfigError.
    """
    source = Source("policy" if isinstance(model, bytes) else str(model), where)
    file = read_model(
        model,
        keys.fix_dimensions,
        lambda inputs: _constants(keys.constants, inputs, source),
        where=where,
    )
    if keys.sha256 not in (None, file.sha256):
        told = "the model" if isinstance(model, bytes) else f"'{model}'"
        found = f"{told}, whose sha256 is {file.sha256}"
        expected = f"the file of sha256 {keys.sha256}: it was exchanged, or the key is out of date"
        raise ConfigError([Finding.of(where("sha256"), found, expected)])
    constants = _constants(keys.constants, file.inputs, source)
    for name_of_counter, first in keys.counters.items():
        _known("counters", "input", name_of_counter, file.inputs, source)
        _refuse_counter(file.inputs[name_of_counter], first, source)
    given = _given_pairs(file, keys.state, source)
    _refuse_filled_twice(keys, observed, observed_at, source)
    taken = {
        *constants,
        *keys.counters,
        *(before.name for before, _ in given),
        *(observed or ()),
        *(wires or ()),
    }
    guessed = guessed_pairs(file, taken, {after.name for _, after in given})
    pairs = (*given, *guessed)
    taken |= {before.name for before, _ in guessed}
    any_shape = wires is not None
    inputs = _observed(file, observed, observed_at, taken, source, any_shape=any_shape)
    fed = {after.name for before, after in pairs if not _is_last_action(before, after)}
    answers = {key: tensor for key, tensor in file.outputs.items() if key not in fed}
    notes = [f"state {flow({b.name: a.name})} was guessed from the names" for b, a in guessed]
    return Stage(
        name, file, inputs, constants, dict(keys.counters), pairs, answers or dict(file.outputs),
        (*file.notes, *notes), wires or {},
    )  # fmt: skip


def action_of(
    stage: Stage, output: str | None, *, where: Callable[..., Place] = nowhere
) -> PolicyTensor:
    """The output that is the action: the one that is named, the only one, or the one called so.

    Raises ConfigError.
    """
    source = Source(stage.name, where)
    if output is not None:
        _known("action_output", "output", output, stage.file.outputs, source)
        return _as_numbers(stage.file.outputs[output], source)
    candidates = list(stage.answers.values())
    if all(tensor.name.lower() not in _ACTION_NAMES for tensor in candidates):
        candidates += _could_be_its_last(stage, candidates)
    if len(candidates) > 1:
        # Exporters of actor-critic policies add the value and the log-probability.
        named = [tensor for tensor in candidates if tensor.name.lower() in _ACTION_NAMES]
        if len(named) != 1:
            raise source.wrong(
                f"one output must be the action, found {len(candidates)} "
                f"({', '.join(map(str, candidates))})",
                "name it: `action_output`; and name recurrent outputs under `state`",
            )
        candidates = named
    return _as_numbers(candidates[0], source)


def _could_be_its_last(stage: Stage, answers: Sequence[PolicyTensor]) -> list[PolicyTensor]:
    """State that may be the action, which the model takes as its last: as large as an answer, and by no name a
    memory of its own."""
    like = {(tensor.shape, tensor.dtype) for tensor in answers}
    return [
        after
        for before, after in stage.state
        if after.name not in stage.answers
        and (after.shape, after.dtype) in like
        and all(after.name != rule(before.name) for rule in _NEXT_NAMES)
    ]


def as_vector(tensor: PolicyTensor, source: Source) -> PolicyTensor:
    """The tensor, which has one axis that is longer than 1. Raises ConfigError."""
    if tensor.size == 0 or sum(length != 1 for length in tensor.shape) > 1:
        raise source.wrong(f"{tensor} is not a single vector", "its shape should be [1, n] or [n]")
    return tensor


def _as_numbers(tensor: PolicyTensor, source: Source) -> PolicyTensor:
    if tensor.dtype not in BORDER_TYPES:
        raise source.wrong(
            f"the action {tensor} is not of a type {', '.join(BORDER_TYPES)}", "export numbers"
        )
    return as_vector(tensor, source)


def _is_last_action(before: PolicyTensor, after: PolicyTensor) -> bool:
    """Whether a pair of state is the action, which stays an answer, in the cycle after."""
    return after.name.lower() in _ACTION_NAMES or "action" in before.name.lower()


def _refuse_filled_twice(
    keys: ModelKeys, observed: tuple[str, ...] | None, observed_at: str, source: Source
) -> None:
    fills = {
        observed_at: observed or (),
        "state": keys.state,
        "constants": keys.constants,
        "counters": keys.counters,
    }
    filled: dict[str, str] = {}
    for key, names in fills.items():
        for name in names:
            if name in filled:
                found = f"input {name!r} under `{filled[name]}` and under `{key}`"
                raise source.wrong(found, "one of them: each input is filled once", key)
            filled[name] = key


def _known(
    key: str, kind: str, name: str, there: Mapping[str, PolicyTensor], source: Source
) -> None:
    if name not in there:
        raise source.wrong(
            f"{key} names {kind} {name!r}, which the policy does not have",
            f"its {kind}s: {', '.join(map(repr, there))}",
            key,
        )


def _constants(
    constants: Mapping[str, Constant], inputs: Mapping[str, PolicyTensor], source: Source
) -> dict[str, npt.NDArray[Any]]:
    import numpy as np

    made = {}
    for name, value in constants.items():
        _known("constants", "input", name, inputs, source)
        tensor = inputs[name]
        values = value if isinstance(value, tuple) else (value,)
        if len(values) not in (1, tensor.size):
            found = f"constants: {name} has {len(values)} values"
            raise source.wrong(
                found, f"as many as {tensor} has, {tensor.size}, or one for all", "constants"
            )
        for number in values:
            if expected := _unfit(number, tensor.dtype):
                found = f"constants: {name} is {number}"
                raise source.wrong(found, f"{expected} for {tensor}", "constants")
        flat = np.broadcast_to(np.array(values, tensor.dtype), (tensor.size,))
        made[name] = flat.reshape(tensor.shape).copy()
    return made


def _unfit(number: bool | int | float, dtype: str) -> str:
    """What a type holds, where it does not hold this number; a fraction may be rounded to it."""
    import numpy as np

    kind = np.dtype(dtype)
    if kind == np.bool_:
        return "" if number in (0, 1) else "true or false"
    if np.issubdtype(kind, np.integer):
        limits = np.iinfo(kind)
        if number != int(number):
            return "whole numbers"
        if not limits.min <= int(number) <= limits.max:
            return f"whole numbers from {limits.min} to {limits.max}"
        return ""
    largest = float(np.finfo(kind).max)
    return "" if abs(number) <= largest else f"numbers of a size up to {largest:g}"


def _refuse_counter(tensor: PolicyTensor, first: int, source: Source) -> None:
    if tensor.size != 1 or tensor.dtype == "bool":
        found = f"counters: {tensor}"
        raise source.wrong(found, "an input of one number, which counts", "counters")
    expected = _unfit(first, tensor.dtype)
    if not expected and first > (most := largest_count(tensor.dtype)):
        expected = f"at most {most}, where it would stand still,"
    if expected:
        found = f"counters: {tensor.name} begins at {first}"
        raise source.wrong(found, f"{expected} for {tensor}", "counters")


def largest_count(dtype: str) -> int:
    """Where a counter of this type stands still: the largest number that it holds, as do all below it."""
    import numpy as np

    kind = np.dtype(dtype)
    if np.issubdtype(kind, np.integer):
        return int(np.iinfo(kind).max)
    return min(int(2 ** (np.finfo(kind).nmant + 1)), int(np.finfo(kind).max))


def _given_pairs(
    file: ModelFile, state: Mapping[str, str], source: Source
) -> tuple[tuple[PolicyTensor, PolicyTensor], ...]:
    pairs = []
    for name, fed_by in state.items():
        _known("state", "input", name, file.inputs, source)
        _known("state", "output", fed_by, file.outputs, source)
        before, after = file.inputs[name], file.outputs[fed_by]
        if (before.shape, before.dtype) != (after.shape, after.dtype):
            raise source.wrong(
                f"state {before} cannot be fed from {after}",
                "both must have the same shape and type",
                "state",
            )
        pairs.append((before, after))
    return tuple(pairs)


def guessed_pairs(
    file: ModelFile, taken: set[str], fed: set[str]
) -> tuple[tuple[PolicyTensor, PolicyTensor], ...]:
    """State by the names alone: inputs that are not ``taken``, and outputs that no other input is ``fed``."""
    pairs = []
    for name, before in file.inputs.items():
        if name in taken:
            continue
        matches = {
            after.name: after
            for rule in _NEXT_NAMES
            if (after := file.outputs.get(rule(name))) is not None
            and after.name not in fed
            and (after.shape, after.dtype) == (before.shape, before.dtype)
        }
        if len(matches) == 1:
            pairs += [(before, after) for after in matches.values()]
    return tuple(pairs)


def _observed(
    file: ModelFile,
    observed: tuple[str, ...] | None,
    observed_at: str,
    taken: set[str],
    source: Source,
    any_shape: bool,
) -> dict[str, PolicyTensor]:
    for name in observed or ():
        _known(observed_at, "input", name, file.inputs, source)
    rest = [tensor for name, tensor in file.inputs.items() if name not in taken]
    if observed is not None:
        if rest:
            raise _unfilled(rest, observed_at, source)
        tensors = {name: file.inputs[name] for name in observed}
        return tensors if any_shape else {n: as_vector(t, source) for n, t in tensors.items()}
    if len(rest) != 1:
        listed = ", ".join(map(str, rest)) or "none"
        raise source.wrong(
            f"exactly one input must be the observation, found {len(rest)} ({listed})",
            f"name recurrent inputs under `state: {flow({'<input>': '<output>'})}`, those that never "
            "change under `constants`, and several that are observed under `observations`",
        )
    return {rest[0].name: as_vector(rest[0], source)}


def _unfilled(rest: list[PolicyTensor], observed_at: str, source: Source) -> ConfigError:
    listed = ", ".join(map(str, rest))
    return source.wrong(
        f"inputs that nothing fills ({listed})",
        f"each under one of `{observed_at}`, `state`, `constants`, `counters`",
    )
