"""The section ``policy`` of a loop, and its rules."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, Strict

from rtloop.config.problem import Keys, Problem, guarded
from rtloop.config.section import Section
from rtloop.config.values import ModelPath, Text
from rtloop.policy.terms.action import ActionTerm
from rtloop.policy.terms.elements import Elements, Scope, Sized, Vector
from rtloop.policy.terms.term import TERMS, ObservationTerm

if TYPE_CHECKING:
    from rtloop.errors import Place
    from rtloop.policy.composed import ComposedGraph
    from rtloop.policy.inspect import Policy


class PolicyConfig(Section):
    """The ONNX policy between inputs and outputs."""

    model: ModelPath = Field(description="ONNX file, relative to this file")
    fix_dimensions: dict[Text, Annotated[int, Field(ge=1, le=2**31 - 1)]] = Field(
        default={}, description="names of dynamic dimensions and the size to fix them to"
    )
    observation: Annotated[tuple[Annotated[ObservationTerm, TERMS], ...], Strict(False)] = Field(
        min_length=1,
        max_length=256,
        description="list of terms, concatenated in order into the policy's observation input",
    )
    action: ActionTerm = Field(
        default_factory=ActionTerm, description="scale, offset and clip of the policy's output"
    )
    state: dict[Text, Text] = Field(
        default={}, description="recurrent state as pairs of graph input: graph output"
    )

    def rules(
        self, here: Keys, inputs: Mapping[str, Elements], outputs: Mapping[str, Sized]
    ) -> Iterator[Problem]:
        """Every broken rule of the policy at ``here``, between the loop's inputs and outputs."""
        loop = here[:-1]
        yield from _model_rules((*here, "model"), self.model)
        if not outputs:
            expected = "at least one output for the action of the policy"
            judged = ((*loop, "outputs"),)
            yield Problem(here, expected, "no outputs", judged=judged, at_key=True)
        scope = Scope(inputs, Vector(), (*loop, "inputs"))
        for index, term in enumerate(self.observation):
            at = (*here, "observation", index)
            yield from guarded((*at, term.kind), term.rules(at, scope))
        counts = [output.element_count for output in outputs.values()]
        known = [count for count in counts if count is not None]
        total = sum(known) if known and len(known) == len(counts) else None
        yield from self.action.shape_rules((*here, "action"), total, "outputs", (*loop, "outputs"))

    def load(self, where: Callable[..., Place]) -> Policy:
        """The policy, read and tried. ``where`` gives the place of keys of this section.

        Raises ConfigError.
        """
        from rtloop.policy.inspect import load_policy

        return load_policy(self.model, self.state, self.fix_dimensions, where=where)

    def compose(
        self,
        inputs: Mapping[str, Sequence[str]],
        where: Callable[..., Place],
        policy: Policy | None = None,
    ) -> ComposedGraph:
        """The graph of the loop. ``inputs`` are the names of the elements of each of its inputs.

        ``where`` gives the place of keys of this section; ``policy`` is what :meth:`load` gave, where that is
        known already. Raises ConfigError.
        """
        from rtloop.policy.compose import compose

        policy = policy or self.load(where)
        return compose(policy, inputs, self.observation, self.action, where=where)


def _model_rules(keys: Keys, model: Path) -> Iterator[Problem]:
    if os.path.isfile(model):
        if not os.access(model, os.R_OK):
            yield Problem(
                keys, f"read permission: chmod u+r {quote(str(model))}", f"'{model}', not readable"
            )
        return
    if os.path.isdir(model):
        yield Problem(keys, "an .onnx file", f"the folder '{model}'")
        return
    if os.path.exists(model):
        yield Problem(
            keys, "an .onnx file", f"'{model}', a pipe, socket or device and no regular file"
        )
        return
    try:
        names = sorted(n for n in os.listdir(model.parent)[:10_000] if n.endswith(".onnx"))
    except OSError:
        expected = f"the path of a file, relative to this one; there is no folder '{model.parent}'"
        yield Problem(keys, expected)
        return
    expected = f"a file in '{model.parent}'"
    if not names:
        expected += ", which holds no .onnx file"
    elif len(names) <= 5:
        expected += f", which holds {', '.join(names)}"
    nearest = get_close_matches(model.name, names, 1)
    yield Problem(keys, expected, nearest=f"'{nearest[0]}'" if nearest else None)
