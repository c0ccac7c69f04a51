"""Where the first mistake is, and what it looks like."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from rtloop.policy.cases import Cases
from rtloop.policy.mistakes.order import elsewhere, reordered
from rtloop.policy.mistakes.orientation import turned
from rtloop.policy.mistakes.part import Part
from rtloop.policy.mistakes.shape import clipped, moved, negated, scaled, scaled_each, wound
from rtloop.policy.mistakes.steps import begun, late
from rtloop.policy.show import PolicyTable
from rtloop.policy.trace import Trace, differing

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

#: In the order in which they are tried.
MISTAKES: tuple[Callable[[Part], str | None], ...] = (
    reordered, begun, negated, scaled, late, wound, clipped, moved, scaled_each,
)  # fmt: skip


class Mistakes:
    """Tries mistakes on what was got, with what the policy remembers of itself set right."""

    def __init__(
        self,
        known: PolicyTable,
        cases: Cases,
        got: Trace,
        run: Callable[..., Trace],
        tolerance: float,
    ) -> None:
        """``run`` steps the policy again, through other ``inputs``."""
        self._known = known
        self._cases = cases
        self._got = got
        self._run = run
        self._tolerance = tolerance

    def hints(self) -> list[str]:
        """What explains differences, in the order of cause."""
        wrong = [
            name
            for name, expected in self._cases.observations.items()
            if not self._agrees(self._got.observations[name], expected)
        ]
        raw, targets = self._cases.raw, self._cases.targets
        if wrong:
            return self._of_observations(wrong)
        if raw is not None and not self._agrees(self._got.raw, raw):
            return [self._of_answer(raw)]
        if targets is not None and not self._agrees(self._got.targets, targets):
            return [self._of_targets(targets)]
        return []

    # --- where ---

    def _of_observations(self, wrong: Sequence[str]) -> list[str]:
        """Parts with the same explanation share a line; what follows from another one is left out."""
        told: dict[tuple[str, str], list[str]] = {}
        unexplained: dict[str, str] = {}
        models: set[str] = set()
        for name in wrong:
            for prefix, part, columns in self._parts(name):
                if prefix.partition(".")[0] in models:
                    continue  # the answer of a model that observed something else
                hint = self._hint(name, part, columns)
                if hint is None:
                    unexplained.setdefault(prefix, name)
                else:
                    told.setdefault((name, hint), []).append(prefix)
            models.add(name.partition(".")[0])
        lines = [f"{name}: {', '.join(parts)}: {hint}" for (name, hint), parts in told.items()]
        explained = {prefix for parts in told.values() for prefix in parts}
        return lines + [
            f"{name}: {prefix}: none of the usual mistakes explains it"
            for prefix, name in unexplained.items()
            if prefix not in explained
        ]

    def _parts(self, name: str) -> Iterator[tuple[str, Part, list[int]]]:
        """The parts of an observation that differ, and their columns."""
        got, expected = self._got.observations[name], self._cases.observations[name]
        elements = self._known.observations[name]
        prefixes = [element.name.rpartition(".")[0] for element in elements]
        for prefix in dict.fromkeys(prefixes):
            columns = [index for index, other in enumerate(prefixes) if other == prefix]
            part = Part(
                tuple((elements[i].name, elements[i].steps_ago) for i in columns),
                got[:, columns],
                expected[:, columns],
                tuple(elements[i].formula.scale for i in columns),
                self._tolerance,
            )
            if not self._agrees(part.got, part.expected):
                yield prefix, part, columns

    def _hint(self, name: str, part: Part, columns: list[int]) -> str | None:
        everything = [(e.name, e.steps_ago) for e in self._known.observations[name]]
        return (
            _explained(part)
            or turned(part, self._cases.inputs, self._again(name, columns))
            or elsewhere(part, self._got.observations[name], everything)
        )

    def _again(self, name: str, columns: list[int]) -> Callable[[Mapping[str, Array]], Array]:
        """These columns of an observation, of other inputs."""

        def observed(inputs: Mapping[str, Array]) -> Array:
            return self._run(inputs=inputs).observations[name][:, columns]

        return observed

    def _of_answer(self, raw: Array) -> str:
        if not self._cases.observations:
            return "raw: with `obs_…` in the cases, the element that differs would have a name"
        if self._agrees(self._got.raw[:1], raw[:1]):
            return (
                "raw: every observation agrees, and so does the first answer: what the model carries from "
                "step to step is not what it was (`state` not fed back, or begun otherwise)"
            )
        return (
            "raw: every observation agrees and the answer does not: another model file, other "
            "`constants`, or another output of it"
        )

    def _of_targets(self, targets: Array) -> str:
        command = self._known.command
        part = Part(
            tuple((element.name, 0) for element in command),
            self._got.targets,
            targets,
            tuple(element.formula.scale for element in command),
            self._tolerance,
        )
        hint = _explained(part) or elsewhere(part, part.got, part.elements)
        told = hint or "none of the usual mistakes explains it"
        return f"targets: what leads to them agrees, look at `action`: {told}"

    def _agrees(self, got: npt.ArrayLike, expected: npt.ArrayLike) -> bool:
        import numpy as np

        return not differing(np.asarray(got), np.asarray(expected), self._tolerance).any()


def _explained(part: Part) -> str | None:
    """By something that is done to every element of a part."""
    return next((hint for mistake in MISTAKES if (hint := mistake(part))), None)
