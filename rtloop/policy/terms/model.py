"""A term that is a model: what no other kind of term computes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from rtloop.config.problem import Keys, Problem, any_of, unknown
from rtloop.config.values import ModelPath, Name, Text
from rtloop.errors import ConfigError, Finding, Place
from rtloop.policy.files import file_rules
from rtloop.policy.model_keys import BorderKeys
from rtloop.policy.terms.elements import Elements, Scope, Vector, in_other_order
from rtloop.policy.terms.term import TERMS, ObservationTerm

if TYPE_CHECKING:
    from rtloop.policy.graph_builder import GraphBuilder
    from rtloop.policy.roles import Stage


@TERMS.register
class ModelTerm(BorderKeys, ObservationTerm):
    """What a small model computes in every step, with a state of its own where it has one.

    It is read, tried and judged as a policy is, and runs in the policy's graph.
    """

    kind = "model"

    model: ModelPath = Field(description="ONNX file, relative to this file")
    inputs: dict[Text, Name] = Field(
        default={},
        description="of the model: the input of this loop, or the group, that fills each",
    )
    answer: Text | None = Field(
        default=None, description="the output that is observed, where the model has several"
    )

    @property
    def label(self) -> str:
        return f"model '{self.model.name}'"

    @property
    def prefix(self) -> str:
        return self.model.stem

    def reads(self) -> tuple[str, ...]:
        return tuple(self.inputs.values())

    def least_size(self, name: str, scope: Scope) -> int:
        stage = scope.models_of_terms[self.source]
        return max(stage.observed[i].size for i, source in self.inputs.items() if source == name)

    def load_model(self, where: Callable[..., Place]) -> Stage:
        from rtloop.policy.roles import read_stage

        stage = read_stage(
            self.model.stem, self.model, self, tuple(self.inputs), where=where, observed_at="inputs"
        )
        if self.answer not in stage.answers if self.answer else len(stage.answers) != 1:
            key = "answer" if self.answer else "model"
            known = any_of([repr(name) for name in stage.answers])
            found = repr(self.answer) if self.answer else f"{len(stage.answers)} outputs"
            expected = f"the output that is observed as `answer`: {known}"
            raise ConfigError([Finding.of(where(key), found, expected)])
        return stage

    def source_rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        stage = scope.models_of_terms.get(self.source)
        if stage is None:
            yield from file_rules((*here, self.kind), self.model)
        for name, source in self.inputs.items():
            keys, vector = (*here, "inputs", name), scope.vector(source)
            if vector is None:
                yield unknown(keys, source, "input or group", scope.vector_names, scope.inputs_at)
            elif stage is not None and vector.element_count not in (
                None,
                wanted := stage.observed[name].size,
            ):
                found = f"'{source}', which has {vector.element_count}"
                yield Problem(keys, f"{wanted} values, which the model reads there", found)
            elif source in scope.inputs and in_other_order(
                vector.element_names or (), scope.joints
            ):
                expected = (
                    "a group that says their order with `joints`: here it is not the policy's"
                )
                yield Problem(keys, expected, f"'{source}'")

    def elements(self, scope: Scope) -> Elements:
        stage = scope.models_of_terms.get(self.source)
        return Vector() if stage is None else Vector(stage.answers[self._answer(stage)].size)

    def emit(self, builder: GraphBuilder) -> str:
        from rtloop.policy.running import run_stage

        stage = builder.models_of_terms[self.source]
        observed = {
            name: builder.must_be_finite(builder.vector(source))
            for name, source in self.inputs.items()
        }
        answers = run_stage(builder, stage, observed)
        return builder.must_be_finite(answers[self._answer(stage)]())

    def _answer(self, stage: Stage) -> str:
        return self.answer or next(iter(stage.answers))
