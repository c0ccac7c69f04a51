"""What else a model answers to what it observed: with its state fed back or not, or at another output."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rtloop.config.problem import flow
from rtloop.policy.cases import Cases
from rtloop.policy.library import session
from rtloop.policy.mistakes.part import Part
from rtloop.policy.model_file import PolicyTensor
from rtloop.policy.policy import Policy
from rtloop.policy.roles import Stage, guessed_pairs

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

Pairs = Sequence[tuple[PolicyTensor, PolicyTensor]]


def other_answer(policy: Policy, cases: Cases, part: Part) -> str | None:
    """What makes the acting model answer what was expected of all runs; None where nothing does.

    Not tried where it reads the answers of other models, or something that the cases do not have.
    """
    stage, action = policy.acting, policy.action
    if stage is None or action is None or stage.file.function is not None:
        return None
    observed = {name: cases.observations.get(f"{stage.name}.{name}") for name in stage.observed}
    seen = {name: values for name, values in observed.items() if values is not None}
    if stage.wires or len(seen) < len(observed):
        return None
    for pairs, output, told in _others(stage, action):
        if part.fits(_answers(stage, seen, pairs, output, len(part.expected))):
            return told
    return None


def _others(stage: Stage, action: PolicyTensor) -> Iterator[tuple[Pairs, PolicyTensor, str]]:
    names = flow({before.name: after.name for before, after in stage.state})
    if stage.state:
        yield (), action, f"`state` {names} is fed back here, and was not there"
    taken = {*stage.observed, *stage.counters, *(before.name for before, _ in stage.state)}
    fed = {after.name for _, after in stage.state}
    if guessed := guessed_pairs(stage.file, taken, fed):
        names = flow({before.name: after.name for before, after in guessed})
        yield (*stage.state, *guessed), action, f"`state` not fed back: with {names} it fits"
    for name, output in stage.file.outputs.items():
        if name != action.name and output.size == action.size:
            yield stage.state, output, f"output '{name}' of the model fits: `action_output`"


def _answers(
    stage: Stage, seen: Mapping[str, Array], pairs: Pairs, output: PolicyTensor, runs: int
) -> Array:
    """What an output gives, run by run, with these pairs fed back; other state stands still."""
    import numpy as np

    model = session(stage.file.model)
    feed: dict[str, npt.NDArray[Any]] = {
        before.name: np.zeros(before.shape, before.dtype) for before, _ in stage.state
    }
    feed |= stage.constants
    answers = []
    for run in range(runs):
        for name, tensor in stage.observed.items():
            feed[name] = seen[name][run].astype(tensor.dtype).reshape(tensor.shape)
        for name, first in stage.counters.items():
            tensor = stage.file.inputs[name]
            feed[name] = np.full(tensor.shape, first + run, tensor.dtype)
        answer, *state = model.run([output.name, *(after.name for _, after in pairs)], feed)
        answers.append(answer.astype(np.float32).reshape(-1))
        for (before, _), value in zip(pairs, state, strict=True):
            feed[before.name] = value
    return np.stack(answers)
