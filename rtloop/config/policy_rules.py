"""Rules between keys of a policy: its file, its observation terms, its action."""

from __future__ import annotations

import os
from collections.abc import Iterator
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING

from rtloop.config.problem import Keys, Problem, number, same_length, unknown
from rtloop.config.values import VECTOR_SIZE_MAX

if TYPE_CHECKING:
    from rtloop.config.sections import ActionConfig, LoopConfig, ObservationTerm, PolicyConfig
    from rtloop.ports.port import InputSection


def policy_rules(here: Keys, policy: PolicyConfig, loop: LoopConfig) -> Iterator[Problem]:
    yield from _model(here, policy.model)
    if not loop.outputs:
        outputs = (*here[:-1], "outputs")
        expected = "at least one output for the action of the policy"
        yield Problem(here, expected, "no outputs", judged=(outputs,), at_key=True)
    for index, term in enumerate(policy.observation):
        yield from _term((*here, "observation", index), term, loop)
    yield from _action((*here, "action"), policy.action, loop)


def _model(here: Keys, model: Path) -> Iterator[Problem]:
    keys = (*here, "model")
    if os.path.isfile(model):
        if not os.access(model, os.R_OK):
            yield Problem(keys, f"read permission: chmod u+r {model}", f"'{model}', not readable")
        return
    if os.path.isdir(model):
        yield Problem(keys, "an .onnx file", f"the folder '{model}'")
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


def _term(here: Keys, term: ObservationTerm, loop: LoopConfig) -> Iterator[Problem]:
    judged = ((*here, "input"), (*here, "previous_action"))
    inputs = (*here[:2], "inputs")
    if (term.input is None) != term.previous_action:
        both = "both input and previous_action"
        found = "neither input nor previous_action" if term.input is None else both
        yield Problem(here, "exactly one of the two", found, judged=judged)
        return
    source = None
    if term.input is not None:
        source = loop.inputs.get(term.input)
        if source is None:
            known = list(loop.inputs)
            yield unknown((*here, "input"), term.input, "input", known, inputs)
            return
    yield from _select(here, term, source)
    vectors: dict[str, float | tuple[float, ...] | None] = {
        "scale": term.scale,
        "offset": term.offset,
    }
    if term.select is not None:
        yield from same_length(here, vectors, len(term.select), "select")
    elif source is not None and source.element_count is not None:
        size_from = f"inputs.{term.input}.{source.kind}"
        judged_input = (*inputs, str(term.input))
        yield from same_length(here, vectors, source.element_count, size_from, judged_input)
    else:
        yield from same_length(here, vectors, None, "")
    yield from _clip(here, term.clip)


def _select(here: Keys, term: ObservationTerm, source: InputSection | None) -> Iterator[Problem]:
    limit = VECTOR_SIZE_MAX if source is None else source.element_limit
    judged = ((*here[:2], "inputs", str(term.input)), (*here, "input"))
    for index, element in enumerate(term.select or ()):
        keys = (*here, "select", index)
        if term.select is not None and element in term.select[:index]:
            yield Problem(keys, "each element once")
        elif isinstance(element, str) and not (source is not None and source.named):
            expected = "an index from 0: only a link has named fields"
            yield Problem(keys, expected, judged=judged)
        elif isinstance(element, int) and element >= limit:
            known = source is not None and source.element_count is not None
            what = source.kind if source is not None and known else "vector"
            expected = f"an index below {limit}, the size of the {what}"
            yield Problem(keys, expected, judged=judged)


def _action(here: Keys, action: ActionConfig, loop: LoopConfig) -> Iterator[Problem]:
    outputs = (*here[:2], "outputs")
    counts = [sink.element_count for sink in loop.outputs.values()]
    known = [count for count in counts if count is not None]
    vectors: dict[str, float | tuple[float, ...] | None] = {
        "scale": action.scale,
        "offset": action.offset,
    }
    total = sum(known) if known and len(known) == len(counts) else None
    yield from same_length(here, vectors, total, "outputs", outputs if total else None)
    yield from _clip(here, action.clip)


def _clip(here: Keys, clip: tuple[float, float] | None) -> Iterator[Problem]:
    if clip is not None and not clip[0] < clip[1]:
        expected = "[lowest, highest] with lowest < highest"
        found = f"[{number(clip[0])}, {number(clip[1])}]"
        yield Problem((*here, "clip"), expected, found)
