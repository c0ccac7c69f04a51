"""What a model itself tells: what goes in, what comes out, and which of it is state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rtloop.policy.importing import exploy, holosoma, mjlab
from rtloop.policy.importing.training import Training
from rtloop.policy.model_file import ModelFile, PolicyTensor, read_model
from rtloop.policy.roles import guessed_pairs

_ACTION_NAMES = ("action", "actions")


@dataclass(frozen=True)
class Sides:
    """A model between what it reads and what it answers."""

    path: Path
    file: ModelFile
    training: Training
    """As its metadata and the names of its tensors tell."""
    state: Mapping[str, str]
    observed: Mapping[str, PolicyTensor]
    constants: Mapping[str, PolicyTensor]
    """Inputs that are no numbers of a sensor, by their type."""
    action: PolicyTensor
    is_action_named: bool
    """Whether it must be named, because there are other outputs."""
    is_action_sure: bool


def sides_of(path: Path, fix_dimensions: Mapping[str, int]) -> Sides:
    """Reads a model and what it tells. Raises ConfigError."""
    file = read_model(path, fix_dimensions)
    pairs = guessed_pairs(file, set(), set())
    state = {before.name: after.name for before, after in pairs}
    answers = {n: t for n, t in file.outputs.items() if n not in state.values()} or dict(
        file.outputs
    )
    rest = {name: tensor for name, tensor in file.inputs.items() if name not in state}
    training = _told(path.name, file, rest, answers)
    rest = {name: tensor for name, tensor in rest.items() if name not in training.counters}
    told = training.observations.keys()
    constants = {n: t for n, t in rest.items() if "float" not in t.dtype and n not in told}
    named = [tensor for name, tensor in answers.items() if name.lower() in _ACTION_NAMES]
    acts = [action.output for action in training.actions if action.output in answers]
    action = answers[acts[0]] if acts else (named or list(answers.values()))[0]
    return Sides(
        path,
        file,
        training,
        state,
        {name: tensor for name, tensor in rest.items() if name not in constants},
        constants,
        action,
        is_action_named=len(answers) > 1 and len(named) != 1,
        is_action_sure=bool(acts) or len(named) == 1 or len(answers) == 1,
    )


def _told(
    name: str,
    file: ModelFile,
    inputs: Mapping[str, PolicyTensor],
    outputs: Mapping[str, PolicyTensor],
) -> Training:
    metadata = file.metadata
    if exploy.is_exploy(file.inputs):
        sizes = {key: tensor.size for key, tensor in inputs.items()}
        return exploy.read(metadata, sizes, {k: t.size for k, t in outputs.items()}, name)
    if holosoma.is_holosoma(metadata):
        return holosoma.read(metadata, name)
    if mjlab.is_mjlab(metadata):
        return mjlab.read(metadata, name)
    return Training()
