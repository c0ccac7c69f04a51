"""The section ``switch`` of a loop with several policies: which of them acts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated

from pydantic import Field, Strict

from rtloop.config.problem import Keys, Problem, any_of, unknown
from rtloop.config.section import Section
from rtloop.config.values import Element, Name
from rtloop.ports.port import InputSection

_Names = Annotated[tuple[Name, ...], Strict(False)]


class SwitchConfig(Section):
    """Which of several policies acts: the one whose number, from 0 in the file's order, a selector has."""

    input: Name = Field(description="the input that has the selector")
    element: Element | None = Field(
        default=None, description="its name or index, where that input has several elements"
    )
    blend_s: float = Field(
        ge=0,
        le=600,
        description="from the command that stands when a policy takes over along a straight line to its own",
    )
    transitions: dict[Name, _Names] | None = Field(
        default=None,
        description="which policies may follow each, a list by name; null is every other one",
    )

    def following(self, policies: Sequence[str]) -> list[list[int]]:
        """By the number of each policy: the numbers of those that may follow it."""
        numbers = {name: number for number, name in enumerate(policies)}
        if self.transitions is None:
            return [[n for n in numbers.values() if n != number] for number in numbers.values()]
        return [[numbers[to] for to in self.transitions.get(name, ())] for name in policies]

    def told(self, policies: Sequence[str]) -> str:
        """For people: what selects, and what may follow what."""
        selector = self.input if self.element is None else f"{self.input}.{self.element}"
        ways = [
            f"{name} → {any_of([policies[to] for to in following])}"
            for name, following in zip(policies, self.following(policies), strict=True)
            if following
        ]
        listed = ", ".join(f"{number} {name}" for number, name in enumerate(policies))
        never = [f"{policies[number]} never acts" for number in self._never(policies)]
        return (
            f"'{selector}' selects the policy ({listed}), blended over {self.blend_s:g} s; "
            f"{'; '.join([*ways, *never]) or 'none follows'}"
        )

    def _never(self, policies: Sequence[str]) -> list[int]:
        """The policies that no way leads to from the first."""
        following, reached = self.following(policies), [0]
        for number in reached:
            reached += (to for to in following[number] if to not in reached)
        return [number for number in range(len(policies)) if number not in reached]

    def element_in(self, names: Sequence[str]) -> int | None:
        """The index of the selector among the elements ``names`` of its input; None where it is none."""
        if self.element is None:
            return 0 if len(names) == 1 else None
        if isinstance(self.element, int):
            return self.element if self.element < len(names) else None
        return names.index(self.element) if self.element in names else None

    def begins_at(self, inputs: Mapping[str, InputSection]) -> float | None:
        """The value that the selector begins with; None where something has to come first."""
        source = inputs[self.input]
        element = self.element_in(source.known_names or ())
        return source.initial[element] if source.initial and element is not None else None

    def wrong_element(self, here: Keys, names: Sequence[str]) -> Problem:
        """Of a selector that is none of the elements ``names`` of its input."""
        expected = f"one of {any_of(list(names))}, as the input has them"
        if self.element is None:
            return Problem(here, f"`element`: {expected}", f"an input of {len(names)} elements")
        return Problem((*here, "element"), expected)

    def rules(
        self, here: Keys, inputs: Mapping[str, InputSection], policies: Sequence[str]
    ) -> Iterator[Problem]:
        """Broken rules of the switch at ``here``, between these inputs and policies."""
        declared = (*here[:-1], "inputs")
        source = inputs.get(self.input)
        if source is None:
            yield unknown((*here, "input"), self.input, "input", list(inputs), declared)
        else:
            names = source.known_names
            if names is not None and self.element_in(names) is None:
                yield self.wrong_element(here, names)
        for name, following in (self.transitions or {}).items():
            at = (*here, "transitions", name)
            if name not in policies:
                wrong = unknown(at, name, "policy", list(policies), (*here[:-1], "policies"))
                yield Problem(
                    at, wrong.expected, f"the name '{name}'", wrong.nearest, wrong.judged, True
                )
            for place, to in enumerate(following):
                if to not in policies:
                    yield unknown(
                        (*at, place), to, "policy", list(policies), (*here[:-1], "policies")
                    )
                elif to == name or to in following[:place]:
                    yield Problem((*at, place), "each other policy once")
