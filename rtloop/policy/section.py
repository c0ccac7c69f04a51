"""The section ``policy`` of a loop, and its rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, PrivateAttr, Strict, StringConstraints

from rtloop.config.problem import Keys, Problem, each_of, guarded
from rtloop.config.values import (
    PYTHON_NAME,
    VECTOR_SIZE_MAX,
    ElementNames,
    ModelPath,
    Name,
    NumberList,
    Text,
)
from rtloop.policy.files import file_rules
from rtloop.policy.model_keys import BorderKeys
from rtloop.policy.terms.action import ActionTerm, Sink
from rtloop.policy.terms.elements import (
    DEFAULT_POSE,
    Elements,
    Joined,
    Pose,
    Scope,
    Vector,
    has_names,
    names_of,
)
from rtloop.policy.terms.joints import joint_names
from rtloop.policy.terms.term import TERMS, ObservationTerm
from rtloop.policy.terms.terminations import TerminationsConfig

if TYPE_CHECKING:
    from rtloop.errors import Place
    from rtloop.policy.composed import ComposedGraph
    from rtloop.policy.leapp import Binding
    from rtloop.policy.policy import Policy

Terms = Annotated[
    tuple[Annotated[ObservationTerm, TERMS], ...],
    Strict(False),
    Field(min_length=1, max_length=256),
]
_OF_A_MODEL = ("fix_dimensions", "state", "constants", "counters", "sha256")
#: The name of the only model of a policy.
ONLY = "policy"
#: What is observed where there is no model, which is then the action, as MODEL.INPUT.
OBSERVED = f"{ONLY}.observation"


class ModelKeys(BorderKeys):
    """A model, and what fills its inputs."""

    observation: Terms | None = Field(
        default=None,
        description="list of terms, concatenated in order into the only input that is observed",
    )
    observations: dict[Text, Terms] = Field(
        default={}, description="such a list for each of several inputs, by their names"
    )

    def observed(self) -> dict[str | None, tuple[Keys, Sequence[ObservationTerm]]]:
        """By the name of an input, None for the only one: where its terms stand, and the terms."""
        if self.observation is not None:
            return {None: (("observation",), self.observation)}
        return {name: (("observations", name), terms) for name, terms in self.observations.items()}

    def key_rules(self, here: Keys) -> Iterator[Problem]:
        """Broken rules between the keys of a model at ``here``."""
        if self.observation is not None and self.observations:
            expected = "either `observation`, for the only input, or `observations`, for several"
            yield Problem((*here, "observations"), expected, "both", at_key=True)


class ModelConfig(ModelKeys):
    """One of several models."""

    model: ModelPath = Field(description="ONNX file, relative to this file")


class PolicyConfig(ModelKeys):
    """The policy between inputs and outputs: ONNX models, or terms and controllers alone."""

    models: dict[Name, ModelConfig] = Field(
        default={}, description="several models, in the order in which they run; the last one acts"
    )
    python: Annotated[str, StringConstraints(pattern=PYTHON_NAME)] | None = Field(
        default=None,
        description="`MODULE:NAME` of a Python function in place of a model, in a soft or firm loop; the "
        "module lies beside this file, or in sys.path",
    )
    leapp: ModelPath | None = Field(
        default=None,
        description="YAML of a LEAPP bundle, relative to this file: its models, flows and initial values",
    )
    groups: dict[Name, Terms] = Field(
        default={}, description="named lists of terms: vectors that terms and actions may read"
    )
    joints: ElementNames | None = Field(
        default=None,
        description="the joints of the policy, in its order; null is what its metadata say",
    )
    default_joint_pos: NumberList | None = Field(
        default=None,
        description="the pose of the joints that an action of 0 commands; null is what the metadata say",
    )
    action_size: Annotated[int, Field(ge=1, le=VECTOR_SIZE_MAX)] | None = Field(
        default=None,
        description="how many values the policy answers; null is what its model has, and of a Python function "
        "as many as there are `joints`, or else elements of all outputs",
    )
    action_output: Text | None = Field(
        default=None, description="the output that is the action, where a model has several"
    )
    action: ActionTerm = Field(
        default_factory=ActionTerm,
        description="scale, offset, clip and place of the policy's output",
    )
    actions: Annotated[tuple[ActionTerm, ...], Strict(False), Field(max_length=64)] = Field(
        default=(), description="several such sections, in place of `action`"
    )
    every: int = Field(
        default=1,
        ge=1,
        le=10_000,
        description="the policy runs in every so-many-th cycle of the loop; limits and outputs in each",
    )
    between: Literal["hold", "interpolate"] = Field(
        default="hold",
        description="what is commanded in the cycles between: the target of the policy, or what lies on the "
        "straight line to it, which it reaches when the policy runs again",
    )
    terminations: TerminationsConfig = Field(
        default_factory=TerminationsConfig,
        description="what ends the loop: safe command and FAULT",
    )
    backend: Literal["ort", "aot"] = Field(
        default="ort",
        description="what runs the models: onnxruntime, or C compiled ahead of time, where that works",
    )
    aot_cache: ModelPath | None = Field(
        default=None,
        description="folder of compiled models, relative to this file; null is the user's own cache",
    )

    _binding: Binding | None = PrivateAttr(None)
    _n_commanded: int | None = PrivateAttr(None)

    # --- what it says ---

    def bind(self, inputs: Mapping[str, Elements], outputs: Mapping[str, Elements]) -> None:
        """Finds the inputs and outputs of its bundle, if it has one, among those of the loop.

        A bundle that cannot be read stays unbound, which the rules report.
        """
        counts = [output.element_count for output in outputs.values()]
        known = [count for count in counts if count is not None]
        self._n_commanded = sum(known) if known and len(known) == len(counts) else None
        if self.leapp is not None:
            from rtloop.policy.leapp import bound

            self._binding = bound(self.leapp, inputs, outputs, self.observations)

    @property
    def binding(self) -> Binding | None:
        """The bundle in its place in the loop; None where there is none."""
        return self._binding

    @property
    def answered_size(self) -> int | None:
        """How many values a Python function is to answer; None where nothing says."""
        return self.action_size or (len(self.joints) if self.joints else self._n_commanded)

    @property
    def sections(self) -> dict[str, tuple[Keys, ModelKeys, Path]]:
        """By the name of a model: where it stands in this section, its section, its file."""
        if self._binding is not None:
            return self._binding.sections
        if self.model is not None:
            return {ONLY: ((), self, self.model)}
        if self.python is not None:
            return {ONLY: ((), self, Path(self.python))}
        return {name: (("models", name), model, model.model) for name, model in self.models.items()}

    @property
    def action_terms(self) -> dict[Keys, ActionTerm]:
        """By where they stand in this section."""
        is_written = self.model_fields_set & {"action", "actions"}
        if self._binding is not None and self._binding.actions and not is_written:
            return dict(self._binding.actions)
        written: dict[Keys, ActionTerm] = {("action",): self.action}
        if self.actions:
            written = {("actions", index): term for index, term in enumerate(self.actions)}
        if self._binding is not None:
            return {keys: self._binding.completed(term) for keys, term in written.items()}
        return written

    @property
    def terms(self) -> dict[Keys, Sequence[ObservationTerm]]:
        """Every list of terms, by where it stands in this section."""
        lists: dict[Keys, Sequence[ObservationTerm]] = {}
        models: dict[Keys, ModelKeys] = {("models", name): m for name, m in self.models.items()}
        for at, section in {(): self, **models}.items():
            lists |= {(*at, *keys): terms for keys, terms in section.observed().values()}
        if self._binding is not None:
            lists |= self._binding.terms
        return lists | {("groups", name): terms for name, terms in self.groups.items()}

    def size_by_order(self, scope: Scope, outputs: Mapping[str, Sink]) -> int | None:
        """How many elements the outputs together must have; None where values go to them by name.

        ``scope`` knows the models.
        """
        first, *more = self.action_terms.values()
        if more or self.actions:
            return None
        has_names = any(sink.names is not None for sink in outputs.values())
        if has_names and first.targets(scope) is not None:
            return None
        return first.size(scope)

    def scope(
        self,
        inputs: Mapping[str, Elements],
        here: Keys,
        policy: Policy | None = None,
        outputs: Iterable[Elements] = (),
    ) -> Scope:
        """What the terms of this section, which stands at ``here``, can refer to."""
        joints, pose = self.joints, self.default_joint_pos
        named = joints if pose is not None and len(joints or ()) == len(pose) else None
        scope = Scope(
            inputs,
            Vector(),
            (*here[:2], "inputs"),
            groups=self.groups,
            groups_at=(*here, "groups"),
            joints=joints,
            pose=None if pose is None else Pose(pose, named),
            command=Joined(tuple(outputs)),
        )
        if policy is None:
            return scope
        known = policy.known_in(scope)
        if not policy.stages:
            known = replace(known, action=self._observed(known))
        return replace(known, action=Vector(known.action.element_count, self._raw_names(known)))

    def _observed(self, scope: Scope) -> Vector:
        """What is observed as the action, of a policy without models: its names are those of the terms, or of
        the joints where they are as many."""
        observed, joints = scope.joined(self.observation or ()), scope.joints
        names = names_of(observed.element_names)
        if names is None or len({*names}) < len(names):
            fit = joints is not None and len(joints) == observed.element_count
            names = joints if fit else None
        return Vector(observed.element_count, names)

    def _raw_names(self, scope: Scope) -> tuple[str, ...] | None:
        """What the elements of the raw action are called: the joints that actions say, or the policy's."""
        size = scope.action.element_count or 0
        names: list[str | None] = [*(scope.action.element_names or (None,) * size)]
        for action in self.action_terms.values():
            if action.joints is None or action.group is not None or action.output is not None:
                continue
            joints = joint_names(action.joints, scope.joints) or ()
            places = [e for e in action.select or range(size) if isinstance(e, int) and e < size]
            for place, joint in zip(places, joints, strict=False):
                names[place] = joint
        called = [name for name in names if name is not None]
        return tuple(called) if len({*called}) == size else None

    # --- rules ---

    def rules(
        self, here: Keys, inputs: Mapping[str, Elements], outputs: Mapping[str, Elements]
    ) -> Iterator[Problem]:
        """Every broken rule of the policy at ``here``, between the loop's inputs and outputs."""
        if self.leapp is None:
            yield from self._broken(here, inputs, outputs)
            return
        from rtloop.policy.leapp import at_the_bundle, bundle_rules

        yield from bundle_rules(self, here, inputs, outputs)
        for problem in self._broken(here, inputs, outputs):
            yield at_the_bundle(here, problem)

    def _broken(
        self, here: Keys, inputs: Mapping[str, Elements], outputs: Mapping[str, Elements]
    ) -> Iterator[Problem]:
        loop = here[:2]
        yield from self._model_rules(here)
        if not outputs:
            expected = "at least one output for the action of the policy"
            judged = ((*loop, "outputs"),)
            yield Problem(here, expected, "no outputs", judged=judged, at_key=True)
        yield from self._name_rules(here, inputs)
        scope = self.scope(inputs, here, outputs=outputs.values())
        yield from self.term_rules(here, scope)
        counts = [output.element_count for output in outputs.values()]
        known = [count for count in counts if count is not None]
        total = sum(known) if known and len(known) == len(counts) else None
        are_named = self.joints is not None or any(has_names(o) for o in outputs.values())
        for keys, term in self.action_terms.items():
            at = (*here, *keys)
            lengths = [len(v) for v in term.vectors.values() if isinstance(v, tuple)]
            if term.select is not None:
                yield from term.shape_rules(at, len(term.select), "select", (*at, "select"))
            elif self.actions or term.group is not None or term.output is not None:
                yield from term.shape_rules(at, None, "outputs", (*loop, "outputs"))
            else:
                # Where elements have names, values may be of some of them; of more there are none.
                fits = total is None or max(lengths, default=0) <= total
                size = None if are_named and fits else total
                yield from term.shape_rules(at, size, "outputs", (*loop, "outputs"))
            yield from term.rules(at, scope, None, None)

    def term_rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        """Every broken rule of every term, as far as ``scope`` tells."""
        circle = _circle(self.groups)
        if circle is not None:
            expected = "groups that do not read each other in a circle"
            yield Problem((*here, "groups", circle), expected, f"'{circle}', which reads itself")
            return
        broken = [
            problem
            for keys, terms in self.terms.items()
            for index, term in enumerate(terms)
            for at in [(*here, *keys, index)]
            for problem in guarded((*at, term.kind), term.rules(at, scope))
        ]
        yield from broken
        if self._binding is not None and not broken:
            from rtloop.policy.leapp import term_name_rules

            yield from term_name_rules(self, here, scope)
        yield from self.terminations.rules((*here, "terminations"), scope)

    def _model_rules(self, here: Keys) -> Iterator[Problem]:
        keys = ("model", "models", "leapp", "python")
        given = [key for key in keys if getattr(self, key)]
        beside = [
            key
            for key in (*_OF_A_MODEL, "observations", "action_output", "action_size")
            if getattr(self, key)
        ]
        if len(given) > 1 or (not given and (self.observation is None or beside)):
            expected = "exactly one of `model`, `models`, `leapp` and `python`"
            if not given:
                expected += ", or `observation` alone: what is observed is the action"
            judged = tuple((*here, key) for key in (*keys, "observation"))
            found = each_of(given) if given else "none of them"
            if beside and not given:
                found += f" beside {each_of(beside)}"
            yield Problem(here, expected, found, judged=judged, at_key=True)
        if self.leapp is not None:
            yield from file_rules((*here, "leapp"), self.leapp, ".yaml")
        for at, section, path in self.sections.values():
            if self.python is None:
                yield from file_rules((*here, *at, "model"), path)
            yield from section.key_rules((*here, *at))
            said = section.observation is not None or "observations" in section.model_fields_set
            if not said and self.leapp is None:
                expected = "`observation`, a list of terms, or `observations`, one for each input, {} for none"
                judged = ((*here, *at, "observation"), (*here, *at, "observations"))
                found = "a model that observes nothing"
                yield Problem((*here, *at), expected, found, judged=judged, at_key=True)
        if self.python is not None:
            yield from self._function_rules(here)
        if self.every == 1 and self.between == "interpolate":
            expected = "`every` beside it, of 2 cycles or more: there are none between"
            judged = ((*here, "every"),)
            yield Problem((*here, "between"), expected, "interpolate", judged=judged, at_key=True)
        for its, action in self.action_terms.items():
            limit = action.torque_limit
            if limit is not None and limit.stays_cut and self.between == "interpolate":
                cut = (*here, *its, "torque_limit", "stays_cut")
                expected = "`between: hold`: a target that moves in each cycle cannot stay cut"
                yield Problem(cut, expected, "true", judged=((*here, "between"),))
        if self.actions and "action" in self.model_fields_set:
            expected = "either `action` or `actions`"
            yield Problem((*here, "actions"), expected, "both", at_key=True)
        if self.models and self.model is None:
            for key in (*_OF_A_MODEL, "observation", "observations"):
                if getattr(self, key):
                    expected = f"no {key} beside `models`: each of them has its own"
                    yield Problem((*here, key), expected, at_key=True)

    def _function_rules(self, here: Keys) -> Iterator[Problem]:
        """What a model has, and a Python function has not."""
        judged = ((*here, "python"),)
        for key in (
            "observations", "fix_dimensions", "state", "constants", "counters", "sha256",
            "action_output", "aot_cache",
        ):  # fmt: skip
            if getattr(self, key):
                expected = f"no {key} beside `python`: a function takes one vector and answers one"
                yield Problem((*here, key), expected, judged=judged, at_key=True)
        if self.backend != "ort":
            expected = "no backend beside `python`: export the function as a model to compile it"
            yield Problem((*here, "backend"), expected, judged=judged)
        if self.answered_size is None:
            expected = (
                "`action_size` beside it, how many values it answers: no `joints` say so, and not "
            )
            expected += "all outputs say how many elements they have"
            yield Problem(judged[0], expected, judged=((*here, "action_size"), (*here, "joints")))

    def _name_rules(self, here: Keys, inputs: Mapping[str, Elements]) -> Iterator[Problem]:
        for name in (name for name in (*inputs, *self.groups) if name == DEFAULT_POSE):
            keys = (*here[:2], "inputs", name) if name in inputs else (*here, "groups", name)
            yield Problem(keys, "another name: this one is that of the pose", at_key=True)
        for name in self.groups:
            if name in inputs:
                expected = "a name that no input of the loop has"
                yield Problem((*here, "groups", name), expected, f"the name '{name}'", at_key=True)
        for position, joint in enumerate(self.joints or ()):
            if joint in (self.joints or ())[:position]:
                yield Problem((*here, "joints", position), "each joint once")
        pose, joints = self.default_joint_pos, self.joints
        if pose is not None and joints is not None and len(pose) != len(joints):
            expected = f"{len(joints)} as in 'joints'"
            yield Problem((*here, "default_joint_pos"), expected, judged=((*here, "joints"),))

    # --- what it becomes ---

    def load(self, where: Callable[..., Place]) -> Policy:
        """The policy, read and tried. ``where`` gives the place of keys of this section.

        Raises ConfigError.
        """
        from rtloop.policy.policy import load

        return load(self, where)

    def compose(
        self,
        inputs: Mapping[str, int | Sequence[str]],
        where: Callable[..., Place],
        policy: Policy | None = None,
        outputs: Mapping[str, Sink] | None = None,
        period_s: Fraction | None = None,
    ) -> ComposedGraph:
        """The graph of the loop. ``inputs`` are the names of the elements of each of its inputs, or
        their number.

        ``where`` gives the place of keys of this section; ``policy`` is what :meth:`load` gave, where that is
        known already; ``outputs`` are what the command is for, None for whatever takes all of the action;
        ``period_s`` is the nominal period of the loop. Raises ConfigError.
        """
        from rtloop.policy.compose import composed

        return composed(policy or self.load(where), self, inputs, outputs, period_s, where)


def _circle(groups: Mapping[str, Sequence[ObservationTerm]]) -> str | None:
    """A group that reads itself, over others or not; None where there is none."""
    reads = {
        name: {other for term in terms for other in term.reads_all() if other in groups}
        for name, terms in groups.items()
    }
    for name in reads:
        seen: set[str] = set()
        rest = list(reads[name])
        while rest:
            other = rest.pop()
            if other == name:
                return name
            if other not in seen:
                seen.add(other)
                rest += reads[other]
    return None
