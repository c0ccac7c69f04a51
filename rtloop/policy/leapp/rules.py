"""The rules of a policy that is a bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from rtloop.config.problem import Keys, Problem, any_of
from rtloop.errors import ConfigError
from rtloop.policy.leapp.bundle import read_bundle
from rtloop.policy.leapp.names import action_rules
from rtloop.policy.terms.elements import Elements

if TYPE_CHECKING:
    from rtloop.policy.section import PolicyConfig

_OF_THE_BUNDLE = ("fix_dimensions", "observation", "state", "constants", "counters", "sha256")


def bundle_rules(
    section: PolicyConfig,
    here: Keys,
    inputs: Mapping[str, Elements],
    outputs: Mapping[str, Elements],
) -> Iterator[Problem]:
    """Broken rules of the key ``leapp``, and of keys beside it."""
    keys, loop = (*here, "leapp"), here[:2]
    for key in _OF_THE_BUNDLE:
        if getattr(section, key):
            yield Problem((*here, key), f"no {key} beside `leapp`: the bundle has it", at_key=True)
    if section.action_output is not None:
        expected = "`output` of an action: the bundle names its outputs"
        yield Problem((*here, "action_output"), expected, at_key=True)
    if section.binding is not None:
        judged = ((*loop, "inputs"), (*loop, "outputs"), (*here, "observations"))
        for found, expected in section.binding.problems:
            yield Problem(keys, expected, found, judged=judged)
        bundle, said = section.binding.bundle, section.model_fields_set & {"action", "actions"}
        if not bundle.outputs and not said:
            answers = any_of([".".join(port) for port in bundle.answers])
            expected = f"`action: {{output: …}}`, which is {answers}"
            yield Problem(keys, expected, "a bundle all of whose outputs flow back", judged=judged)
        yield from action_rules(section, section.binding, here, outputs)
    elif section.leapp is not None and section.leapp.is_file():
        try:
            read_bundle(section.leapp)
        except ConfigError as error:
            yield Problem(keys, "a LEAPP bundle that can run here", f"one that cannot: {error}")


def at_the_bundle(here: Keys, problem: Problem) -> Problem:
    """A problem of what the bundle says, which stands nowhere in the file, at the key that names it."""
    keys = (*here, "leapp")
    if problem.keys[: len(keys)] != keys or problem.keys == keys:
        return problem
    is_file = problem.keys[-1] == "model"
    found = f"its model '{problem.keys[-2]}'" if is_file else "what the bundle says"
    return replace(problem, keys=keys, found=problem.found or found, at_key=False)
