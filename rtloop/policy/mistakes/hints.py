"""Where the first mistake is, and what it looks like."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING

from rtloop.policy.cases import Cases
from rtloop.policy.mistakes.answer import other_answer
from rtloop.policy.mistakes.explained import explained
from rtloop.policy.mistakes.order import elsewhere
from rtloop.policy.mistakes.orientation import orientations, turned
from rtloop.policy.mistakes.part import Part, first_of
from rtloop.policy.mistakes.steps import smoothed
from rtloop.policy.policy import Policy
from rtloop.policy.show import ObservedElement, PolicyTable
from rtloop.policy.trace import Trace, differing

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

NOTHING = "none of the usual mistakes explains it"
#: More episodes in one file are not looked for.
EPISODES_MAX = 20


class Mistakes:
    """Tries mistakes on what was got, with what the policy remembers of itself set right."""

    def __init__(
        self,
        policy: Policy,
        known: PolicyTable,
        cases: Cases,
        got: Trace,
        run: Callable[..., Trace],
        tolerance: float,
        every: int = 1,
        is_relative: bool = False,
    ) -> None:
        """``run`` steps the policy again, through other ``inputs``, or with a reset where it ``begins`` anew.

        ``every`` is how many steps of the cases are one run of the policy; ``is_relative``, whether targets add
        to the last ones.
        """
        self._policy = policy
        self._known = known
        self._cases = cases
        self._got = got
        self._run = run
        self._tolerance = tolerance
        self._every = every
        self._is_relative = is_relative

    def hints(self) -> list[str]:
        """What explains differences, in the order of cause."""
        firsts = self._firsts(self._got)
        if not firsts:
            return []
        if begins := self._begins(firsts):
            told = first_of([str(step) for step in begins])
            return [
                f"with a reset before step {told} all agrees: it is another episode; write a file for each"
            ]
        array = min(
            firsts, key=lambda name: firsts[name]
        )  # of one step, the first in the order of cause
        observed = self._of_observations(firsts)
        if array == "targets":
            assert self._cases.targets is not None
            return [self._of_targets(self._cases.targets, firsts[array]), *observed]
        if array == "raw":
            assert self._cases.raw is not None
            return [self._of_answer(self._cases.raw, firsts), *observed]
        return observed

    # --- when ---

    def _firsts(self, got: Trace) -> dict[str, int]:
        """The first step that differs, of each array that does, in the order of cause."""
        pairs = [
            (name, got.observations[name], expected, self._every)
            for name, expected in self._cases.observations.items()
        ]
        if self._cases.raw is not None:
            pairs.append(("raw", got.raw, self._cases.raw, self._every))
        if self._cases.targets is not None:
            pairs.append(("targets", got.targets, self._cases.targets, 1))
        firsts = {}
        for name, values, expected, every in pairs:
            wrong = differing(values, expected, self._tolerance).any(axis=1)
            if wrong.any():
                firsts[name] = int(wrong.argmax()) * every
        return firsts

    def _begins(self, firsts: Mapping[str, int]) -> list[int]:
        """The steps before which a reset makes everything agree; none where there are no such."""
        begins: list[int] = []
        while firsts:
            first = min(firsts.values())
            if self._every > 1 or len(begins) == EPISODES_MAX or first <= max(begins, default=0):
                return []
            begins.append(first)
            firsts = self._firsts(self._run(inputs=self._cases.inputs, begins=begins))
        # One that is reset in nearly every step remembers nothing: that is no episode.
        return begins if 2 * len(begins) < self._cases.steps // 2 else []

    # --- where ---

    def _of_observations(self, firsts: Mapping[str, int]) -> list[str]:
        """Parts with the same explanation share a line; what may follow from another one is left out."""
        told: dict[tuple[str, str], list[str]] = {}
        unexplained: dict[tuple[str, str], int] = {}
        models: set[str] = set()
        for name in self._cases.observations:
            if name not in firsts:
                continue
            for prefix, part, columns in self._parts(name):
                if prefix.partition(".")[0] in models:
                    continue  # the answer of a model that observed something else
                hint = self._hint(name, part, columns)
                if hint is None:
                    wrong = differing(part.got, part.expected, self._tolerance).any(axis=1)
                    unexplained[name, prefix] = int(wrong.argmax()) * self._every
                else:
                    told.setdefault((name, hint), []).append(prefix)
            models.add(name.partition(".")[0])
        lines = [
            f"{name}: {', '.join(dict.fromkeys(parts))}: {hint}"
            for (name, hint), parts in told.items()
        ]
        explained_ones = {prefix for parts in told.values() for prefix in parts}
        first = min(firsts.values())
        more = "" if self._cases.raw is not None else "; with `raw` in the cases more is tried"
        return lines + [
            f"{name}: {prefix}: {NOTHING}{more}"
            for (name, prefix), step in unexplained.items()
            if prefix not in explained_ones and step == first
        ]

    def _parts(self, name: str) -> Iterator[tuple[str, Part, list[int]]]:
        """The parts of an observation that differ, and their columns: one for each term, of a group for each of
        those that it joins."""
        got, expected = self._got.observations[name], self._cases.observations[name]
        elements = self._known.observations[name]
        places = [(element.term, _prefix(element)) for element in elements]
        for place in dict.fromkeys(places):
            columns = [index for index, other in enumerate(places) if other == place]
            part = Part(
                tuple((elements[i].name, elements[i].steps_ago) for i in columns),
                got[:, columns],
                expected[:, columns],
                tuple(elements[i].formula.scale for i in columns),
                self._tolerance,
            )
            if part.wrong.any():
                yield place[1], part, columns

    def _hint(self, name: str, part: Part, columns: list[int]) -> str | None:
        elements = self._known.observations[name]
        everything = [(e.name, e.steps_ago) for e in elements]
        read = {
            key
            for index in columns
            for key in elements[index].reads
            if key != _prefix(elements[index])  # as it is
        }

        def observed(other: Mapping[str, Array]) -> Array:
            again = self._run(inputs={**self._cases.inputs, **other})
            return again.observations[name][:, columns]

        quaternions = orientations(self._cases.inputs, read)
        is_turned = partial(turned, inputs=quaternions, observed=observed)
        return explained(part, [is_turned]) or elsewhere(
            part, self._got.observations[name], everything
        )

    def _of_answer(self, raw: Array, firsts: Mapping[str, int]) -> str:
        part = self._all_of(self._got.raw, raw, [(name, 0) for name in self._known.raw])
        if not self._cases.observations:
            return "raw: with `obs_…` in the cases, the element that differs would have a name"
        if not self._policy.stages:
            return "raw: without a model it is what is observed, which agrees: the cases contradict themselves"
        told = other_answer(self._policy, self._cases, part) or explained(part)
        if told is None:
            told = "another model file, or other `constants`"
            if self._policy.state:
                told += ", or a state that was another"
            told = f"nothing that was tried explains it; it may be {told}"
        compared = "every observation"
        if len(self._cases.observations) < len(self._got.observations):
            compared += " that the cases have"
        until = "until" if self._cases.observations.keys() & firsts.keys() else "and"
        return f"raw: {compared} agrees {until} the answer does not: {told}"

    def _of_targets(self, targets: Array, first: int) -> str:
        command = self._known.command
        elements = [(element.name, 0) for element in command]
        scale = [element.formula.scale for element in command]
        part = self._all_of(self._got.targets, targets, elements, scale)
        # Where targets add to the last ones, another scale of what is added looks like an average.
        further = [] if self._is_relative else [smoothed]
        hint = explained(part, further) or elsewhere(part, part.got, part.elements)
        if self._cases.raw is not None:
            told = hint or f"{NOTHING} from step {first} on"
            return f"targets: what leads to them agrees, look at `action`: {told}"
        missing = "`raw`" if self._cases.observations else "`obs_…` and `raw`"
        if hint is None:
            return f"targets: what leads to them was not compared: with {missing} in the cases more is tried"
        return f"targets: {hint}; by `action` or by what leads to it, which was not compared ({missing})"

    def _all_of(
        self,
        got: Array,
        expected: Array,
        elements: list[tuple[str, int]],
        scale: list[float] | None = None,
    ) -> Part:
        scales = tuple(scale or [1.0] * len(elements))
        return Part(tuple(elements), got, expected, scales, self._tolerance)


def _prefix(element: ObservedElement) -> str:
    """What its source is called; the name of the element itself may have dots, too."""
    return element.source.partition("[")[0].partition("(")[0]
