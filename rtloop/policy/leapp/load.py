"""The models of a bundle, read and tried, as the stages of a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING

from rtloop.errors import ConfigError, Finding, Place
from rtloop.policy.leapp.bundle import BundleModel, BundleTensor, read_bundle
from rtloop.policy.model_file import PolicyTensor
from rtloop.policy.policy import Policy
from rtloop.policy.roles import Stage, read_stage
from rtloop.policy.section import PolicyConfig

if TYPE_CHECKING:
    pass


def load_bundle(section: PolicyConfig, where: Callable[..., Place]) -> Policy:
    """The policy of a section whose bundle was bound. Raises ConfigError."""
    binding = section.binding
    if binding is None:
        if section.leapp is not None:
            read_bundle(section.leapp)  # says why
        raise ConfigError(
            "a bundle is bound to the inputs and outputs of a loop: call `bind` first"
        )
    stages = []
    for name, (at, keys, path) in section.sections.items():
        observed, wires = tuple(keys.observations), binding.wires[name]
        place = partial(where, *at)
        stage = read_stage(name, path, keys, observed, wires, where=place)
        _refuse_other(stage, binding.bundle.models[name], place("model"))
        stages.append(stage)
    acts, output = binding.bundle.outputs[0]
    action = next(stage for stage in stages if stage.name == acts).file.outputs[output]
    return Policy(tuple(stages), action, acts=acts)


def _refuse_other(stage: Stage, model: BundleModel, place: Place) -> None:
    """A file that is not the bundle's, or does not have the tensors that the bundle says."""
    if stage.file.file_sha256 != model.sha256:
        found = f"'{model.path}', whose sha256 is {stage.file.file_sha256}"
        expected = (
            f"the file of sha256 {model.sha256}, as the bundle says: one of the two was exchanged"
        )
        raise ConfigError([Finding.of(place, found, expected)])
    for what, told, there in (
        ("inputs", model.inputs, stage.file.inputs),
        ("outputs", model.outputs, stage.file.outputs),
    ):
        if _listed(told) != _listed(there):
            found = f"'{model.path}' with the {what} {_listed(there)}"
            expected = f"{_listed(told)}, as the bundle says"
            raise ConfigError([Finding.of(place, found, expected)])


def _listed(tensors: Mapping[str, PolicyTensor] | Mapping[str, BundleTensor]) -> str:
    return ", ".join(f"'{t.name}' {t.dtype}{list(t.shape)}" for t in tensors.values())
