"""The models of a policy, read and tried, and what they tell of joints, sizes and names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from rtloop.config.problem import Keys, printable
from rtloop.errors import ConfigError, Finding, Place, do_each
from rtloop.policy.callable.function import PolicyFunction, load_function
from rtloop.policy.metadata import RATE, number_in
from rtloop.policy.model_file import ModelFile, PolicyTensor, nowhere
from rtloop.policy.roles import Stage, action_of, read_stage
from rtloop.policy.section import ONLY, ModelKeys, PolicyConfig
from rtloop.policy.terms.elements import Elements, Pose, Scope, Vector
from rtloop.policy.terms.term import ObservationTerm
from rtloop.policy.told import refuse_contradiction, refuse_unreadable, told_of_joints


@dataclass(frozen=True)
class Policy:
    """A policy that passed every check: its models, in the order in which they run.

    One without models answers what it observes.
    """

    stages: tuple[Stage, ...]
    action: PolicyTensor | None
    """The output of the last model that is the action, one vector; None without models."""
    joints: tuple[str, ...] | None = None
    """As the metadata of its models have them."""
    pose: tuple[float, ...] | None = None
    """``default_joint_pos``, likewise."""
    acts: str = ""
    """The name of the model that answers the action; empty for the last."""
    models_of_terms: Mapping[str, Stage] = field(default_factory=dict)
    """Of terms that are models: by ``ObservationTerm.source``."""
    output_names: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """What the elements of outputs are called, by ``MODEL.OUTPUT``, where a bundle says."""
    bundle_rate_hz: float | None = None
    """How often a bundle says that it is to run."""

    @property
    def acting(self) -> Stage | None:
        """The model that answers the action; None without models."""
        last = self.stages[-1] if self.stages else None
        return next((s for s in self.stages if s.name == self.acts), last)

    @property
    def function(self) -> PolicyFunction | None:
        """The Python function that answers in place of a model."""
        return None if self.acting is None else self.acting.file.function

    @property
    def observation(self) -> PolicyTensor | None:
        """The first input that terms fill: of the acting model, where it has one; None of none."""
        stages = () if self.acting is None else (self.acting, *self.stages)
        return next((tensor for stage in stages for tensor in stage.observed.values()), None)

    @property
    def state(self) -> tuple[tuple[PolicyTensor, PolicyTensor], ...]:
        """Inputs and the outputs that they are fed from, of all models."""
        return tuple(pair for stage in self.stages for pair in stage.state)

    @property
    def sha256(self) -> str:
        """Of the file of the acting model, followed by those of its weights; empty without models."""
        return "" if self.acting is None else self.acting.file.sha256

    @property
    def models_sha256(self) -> dict[str, str]:
        """The same of every model that runs: those of the policy, then those of terms, as ``term/NAME``."""
        found = {stage.name: stage.file.sha256 for stage in self.stages}
        for stage in self.models_of_terms.values():
            name, number = f"term/{stage.name}", 2
            while found.setdefault(name, stage.file.sha256) != stage.file.sha256:
                name, number = f"term/{stage.name}_{number}", number + 1
        return found

    @property
    def rate_hz(self) -> float | None:
        """How often it is to run, as its bundle or the metadata of one of its models say."""
        if self.bundle_rate_hz is not None:
            return self.bundle_rate_hz
        told = (number_in(stage.file.metadata, RATE) for stage in self.stages)
        return next((rate for rate in told if rate is not None), None)

    @property
    def unreadable_rate(self) -> str:
        """What the metadata of one of its models have in place of it, shortened; empty where none do."""
        texts = (dict(stage.file.metadata).get(RATE[0], "").strip() for stage in self.stages)
        return next((printable(text[:40]) for text in texts if text), "")

    @property
    def notes(self) -> list[str]:
        """What was concluded without being asked."""
        many = len(self.stages) > 1
        return [
            f"{stage.name}: {note}" if many else note
            for stage in self.stages
            for note in stage.notes
        ] + [
            f"{stage.name}: {note}"
            for stage in self.models_of_terms.values()
            for note in stage.notes
        ]

    def notes_in(self, section: PolicyConfig) -> list[str]:
        """The same, with what its section leaves to the metadata of its models."""
        told = [] if self.stages else ["no model: what is observed is the action"]
        if self.joints is not None and section.joints is None:
            told.append(f"joints are those of the model's metadata ({len(self.joints)})")
        if self.pose is not None and section.default_joint_pos is None:
            count = len(self.pose)
            told.append(f"default_joint_pos is that of the model's metadata ({count} values)")
        return [*self.notes, *told]

    def known_in(self, scope: Scope) -> Scope:
        """The scope, with what the models tell beside what the configuration says.

        The action of a policy without models is not known yet: its section says what is observed.
        """
        joints = scope.joints or self.joints
        pose = scope.pose
        if pose is None and self.pose is not None:
            pose = Pose(self.pose, joints if joints and len(joints) == len(self.pose) else None)
        elif pose is not None and pose.joints is None and len(joints or ()) == len(pose.values):
            pose = Pose(pose.values, joints)
        action = Vector()
        if self.acting is not None and self.action is not None:
            size = self.action.size
            named = self.output_names.get(f"{self.acting.name}.{self.action.name}")
            names = named or (joints if joints is not None and len(joints) == size else None)
            action = Vector(size, names)
        outputs: dict[str, Elements] = {
            (key := f"{stage.name}.{output.name}"): Vector(output.size, self.output_names.get(key))
            for stage in self.stages
            for output in stage.answers.values()
        }
        return replace(
            scope,
            action=action,
            outputs=outputs,
            joints=joints,
            pose=pose,
            are_models_known=True,
            models_of_terms=self.models_of_terms,
        )


def load(section: PolicyConfig, where: Callable[..., Place] = nowhere) -> Policy:
    """The policy of a section, ``where`` of which tells the place of its keys. Raises ConfigError."""
    if section.leapp is not None:
        from rtloop.policy.leapp.load import load_bundle

        return load_bundle(section, where)
    if section.python is not None:
        return _of_function(section, section.python, where)
    if not section.sections:
        return Policy((), None, models_of_terms=models_of_terms(section, where))
    stages = tuple(
        read_stage(
            name,
            path,
            keys,
            None if keys.observation is not None else tuple(keys.observations),
            where=partial(where, *at),
        )
        for name, (at, keys, path) in section.sections.items()
    )
    at = section.sections[stages[-1].name][0]
    action = action_of(stages[-1], section.action_output, where=partial(where, *at))
    _refuse_action_size(section, action, where)
    *others, last = stages
    last = replace(last, answers={**last.answers, action.name: action})  # though it may be state
    stages = (*others, last)
    refuse_unreadable(section, stages, where)
    told = told_of_joints(stages, partial(where, *at))
    refuse_contradiction(section, told, where)
    models = models_of_terms(section, where)
    return Policy(stages, action, told.joints, told.pose, models_of_terms=models)


def load_policy(
    model: str | Path | bytes,
    state: Mapping[str, str] | None = None,
    fix_dimensions: Mapping[str, int] | None = None,
    *,
    where: Callable[..., Place] = nowhere,
) -> Policy:
    """A policy of one model, from its path or the bytes of its file, whose only input is observed.

    Raises ConfigError when it cannot be used as it is.
    """
    keys = ModelKeys.model_construct(
        state=dict(state or {}), fix_dimensions=dict(fix_dimensions or {})
    )
    stage = read_stage(ONLY, model, keys, None, where=where)
    told = told_of_joints((stage,), where)
    return Policy((stage,), action_of(stage, None, where=where), told.joints, told.pose)


def _refuse_action_size(
    section: PolicyConfig, action: PolicyTensor, where: Callable[..., Place]
) -> None:
    if section.action_size not in (None, action.size):
        expected = f"{action.size}, the size of the policy's action {action}"
        found = str(section.action_size)
        raise ConfigError([Finding.of(where("action_size"), found, expected)])


def _of_function(section: PolicyConfig, name: str, where: Callable[..., Place]) -> Policy:
    """A policy that a Python function answers. How much it observes is known once it is composed."""
    import onnx

    size, place = section.answered_size or 1, where("python")
    function = load_function(
        name, Path(place.folder or Path(place.file).parent).absolute(), size, place
    )
    observed = {"observation": PolicyTensor("observation", (1, 0), "float32")}
    action = PolicyTensor("action", (1, size), "float32")
    answers = {action.name: action}
    file = ModelFile(
        onnx.ModelProto(), observed, answers, function.sha256, 0, {}, function=function
    )
    stage = Stage(ONLY, file, observed, {}, {}, (), answers, ())
    models = models_of_terms(section, where)
    return Policy((stage,), action, models_of_terms=models)


def models_of_terms(section: PolicyConfig, where: Callable[..., Place]) -> dict[str, Stage]:
    """The models of terms that are models, by the source of the term. Raises ConfigError with all that fail."""
    found: dict[str, Stage] = {}

    def load(at: Keys, term: ObservationTerm) -> None:
        stage = None if term.source in found else term.load_model(partial(where, *at))
        if stage is not None:
            found[term.source] = stage

    do_each(
        partial(load, (*keys, index), term)
        for keys, terms in section.terms.items()
        for index, term in enumerate(terms)
    )
    return found
