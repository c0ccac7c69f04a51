"""The models of a bundle, read and tried, as the stages of a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from rtloop.config.problem import any_of
from rtloop.errors import ConfigError, Finding, Place
from rtloop.policy.leapp.bundle import Bundle, BundleModel, BundleTensor, Port, read_bundle
from rtloop.policy.model_file import PolicyTensor
from rtloop.policy.policy import Policy, models_of_terms
from rtloop.policy.roles import Stage, read_stage
from rtloop.policy.section import PolicyConfig


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
    acts, output = _acting(section, binding.bundle, where)
    action = next(stage for stage in stages if stage.name == acts).file.outputs[output]
    models = models_of_terms(section, where)
    bundle = binding.bundle
    names = {".".join(port): bundle.output(port).names_of_one_step for port in bundle.answers}
    return Policy(
        tuple(stages),
        action,
        acts=acts,
        models_of_terms=models,
        output_names={output: told for output, told in names.items() if told is not None},
        bundle_rate_hz=bundle.frequency_hz,
    )


def _acting(section: PolicyConfig, bundle: Bundle, where: Callable[..., Place]) -> Port:
    """The output that is the action: the first that leaves, else the first that an action names."""
    if bundle.outputs:
        return bundle.outputs[0]
    for keys, action in section.action_terms.items():
        for port in bundle.answers:
            if action.output in (".".join(port), port[1]):
                return port
        known = any_of([".".join(port) for port in bundle.answers])
        found = "nothing" if action.output is None else f"'{action.output}'"
        raise ConfigError(
            [Finding.of(where(*keys, "output"), found, f"an output of the bundle: {known}")]
        )
    raise ConfigError("a bundle without outputs needs an action")


def _refuse_other(stage: Stage, model: BundleModel, place: Place) -> None:
    """A file that is not the bundle's, or does not have the tensors that the bundle says."""
    if stage.file.file_sha256 != model.sha256:
        found = f"'{model.path}', whose sha256 is {stage.file.file_sha256}"
        expected = (
            f"the file of sha256 {model.sha256}: it was exchanged, or its bundle is another's"
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
