"""Which mistake a difference looks like: each known one is tried on the data, and told where it explains it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rtloop.config.problem import number
from rtloop.policy.cases import Cases
from rtloop.policy.show import PolicyTable
from rtloop.policy.trace import Trace, apart_by, differing

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

#: Of the elements of a part that differ, so many must be found elsewhere to call it another order.
MOST = 0.7


@dataclass(frozen=True)
class Part:
    """Elements of one name before the dot, in one array: what is done to one of them is done to all."""

    elements: tuple[tuple[str, int], ...]
    """Name and steps ago of each."""
    got: Array
    expected: Array
    scale: tuple[float, ...]


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
            )
            if not self._agrees(part.got, part.expected):
                yield prefix, part, columns

    def _hint(self, name: str, part: Part, columns: list[int]) -> str | None:
        everything = [(e.name, e.steps_ago) for e in self._known.observations[name]]
        return (
            self._explained(part)
            or self._turned(name, columns, part)
            or self._elsewhere(part, self._got.observations[name], everything)
        )

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
        )
        hint = self._explained(part) or self._elsewhere(part, part.got, part.elements)
        told = hint or "none of the usual mistakes explains it"
        return f"targets: what leads to them agrees, look at `action`: {told}"

    # --- what ---

    def _explained(self, part: Part) -> str | None:
        """By something that is done to every element of a part."""
        for mistake in (
            self._reordered, self._begun, self._negated, self._scaled, self._late, self._wound, self._clipped,
            self._moved, self._scaled_each,
        ):  # fmt: skip
            if hint := mistake(part):
                return hint
        return None

    def _reordered(self, part: Part) -> str | None:
        return self._elsewhere(part, part.got, part.elements, least=1.0)

    def _elsewhere(
        self, part: Part, got: Array, elements: Sequence[tuple[str, int]], least: float = MOST
    ) -> str | None:
        """The expected elements stand at other places of ``got``, whose elements are these."""
        import numpy as np

        moved: list[tuple[tuple[str, int], tuple[str, int]]] = []
        wrong = 0
        for index, (element, expected) in enumerate(
            zip(part.elements, part.expected.T, strict=True)
        ):
            if self._agrees(part.got[:, index], expected):
                continue
            wrong += 1
            if np.ptp(expected) <= self._tolerance:
                continue  # a constant may be any other constant
            apart = apart_by(got, np.broadcast_to(expected[:, None], got.shape))
            alike = np.flatnonzero((apart <= self._tolerance).all(axis=0))
            found = [elements[int(i)] for i in alike]
            if found:
                found.sort(key=lambda f: (f[0] != element[0], f[1] != element[1]))
                moved.append((element, found[0]))
        if not moved or len(moved) < least * wrong:
            return None
        return _order(moved, part)

    def _begun(self, part: Part) -> str | None:
        """Only what stands for steps before the first one differs."""
        import numpy as np

        ago = np.array([steps for _, steps in part.elements])
        early = np.arange(len(part.got))[:, None] < ago[None, :]
        if not early.any() or not self._agrees(part.got[~early], part.expected[~early]):
            return None
        if self._agrees(part.expected[early], np.zeros(int(early.sum()))):
            return "0 is expected before there were so many steps: `start: zero`"
        first = np.broadcast_to(
            np.stack([part.got[min(a, len(part.got) - 1), i] for i, a in enumerate(ago)]),
            part.got.shape,
        )
        if self._agrees(part.expected[early], first[early]):
            return "the first value is expected before there were so many steps: `start: first`"
        return "only the first steps differ: look at `start` of its history"

    def _negated(self, part: Part) -> str | None:
        if self._agrees(-part.got, part.expected):
            return "the other sign is expected: `scale: -1`, or one that is too many"
        return None

    def _scaled(self, part: Part) -> str | None:
        factor = _factor(part.got, part.expected)
        if factor is None or not self._agrees(factor * part.got, part.expected):
            return None
        if abs(factor) < 1e-6:
            return "0 is expected"
        return f"{number(_rounded(factor))} times as much is expected: a scale is missing, or one too many"

    def _late(self, part: Part) -> str | None:
        if self._agrees(part.got[:-1], part.expected[1:]) and len(part.got) > 2:
            return "the value of the step before is expected"
        if self._agrees(part.got[1:], part.expected[:-1]) and len(part.got) > 2:
            return "the value of the next step is expected: here it is one step old"
        return None

    def _wound(self, part: Part) -> str | None:
        import numpy as np

        turn = 2 * np.pi * np.array(part.scale)
        if not turn.all():
            return None
        turns = np.round((part.expected - part.got) / turn)
        if turns.any() and self._agrees(part.got + turns * turn, part.expected):
            return "whole turns of 2 pi apart: `wrap` is missing, one too many, or has other bounds"
        return None

    def _clipped(self, part: Part) -> str | None:
        import numpy as np

        for narrow, wide, told in (
            (part.expected, part.got, "expected is clipped, to"),
            (part.got, part.expected, "a clip is one too many, to"),
        ):
            low, high = narrow.min(axis=0), narrow.max(axis=0)
            bounded = ((narrow <= low) | (narrow >= high)).sum(axis=0) > 2
            if bounded.any() and self._agrees(np.clip(wide, low, high), narrow):
                lowest, highest = float(low.min()), float(high.max())
                return f"{told} [{number(_rounded(lowest))}, {number(_rounded(highest))}] at most"
        return None

    def _moved(self, part: Part) -> str | None:
        import numpy as np

        if len(part.got) < 3:
            return None
        by = np.median(part.expected - part.got, axis=0)
        if not self._agrees(part.got + by, part.expected):
            return None
        told = _listed([(name, float(b)) for (name, _), b in zip(part.elements, by, strict=True)])
        return f"moved by {told}: an offset, `minus` or default pose is another"

    def _scaled_each(self, part: Part) -> str | None:
        import numpy as np

        if len(part.got) < 4:
            return None
        factors, moves, fitted = [], [], []
        for got, expected in zip(part.got.T, part.expected.T, strict=True):
            if np.ptp(got) <= self._tolerance:
                factor, move = 1.0, float(np.median(expected - got))
            else:
                columns = np.stack([got, np.ones_like(got)], axis=1).astype(np.float64)
                (factor, move), *_ = np.linalg.lstsq(
                    columns, expected.astype(np.float64), rcond=None
                )
            factors.append(float(factor))
            moves.append(float(move))
            fitted.append(factor * got + move)
        if not self._agrees(np.stack(fitted, axis=1), part.expected):
            return None
        names = [name for name, _ in part.elements]
        told = f"scaled by {_listed(list(zip(names, factors, strict=True)), 1.0)}"
        if any(abs(move) > self._tolerance for move in moves):
            told += f", then moved by {_listed(list(zip(names, moves, strict=True)))}"
        return told

    def _turned(self, name: str, columns: list[int], part: Part) -> str | None:
        """An orientation is read in another order, or is that of the world in the body."""
        import numpy as np

        others: Mapping[str, tuple[Callable[[Array], Array], str]] = {
            "xyzw": (lambda q: np.roll(q, 1, axis=1), "is read with w first; `order: xyzw` fits"),
            "wxyz": (lambda q: np.roll(q, -1, axis=1), "is read with w last; `order: wxyz` fits"),
            "inverse": (
                lambda q: q * np.array([1, -1, -1, -1], np.float32),
                "is inverted: with the rotation from the world to the body it fits",
            ),
            "inverse, w last": (
                lambda q: q * np.array([-1, -1, -1, 1], np.float32),
                "is inverted: with the rotation from the world to the body it fits",
            ),
        }  # fmt: skip
        for key, quaternion in self._cases.inputs.items():
            if quaternion.shape[1] != 4:
                continue
            for change, told in others.values():
                inputs = {**self._cases.inputs, key: np.ascontiguousarray(change(quaternion))}
                again = self._run(inputs=inputs).observations[name][:, columns]
                if self._agrees(again, part.expected):
                    return f"'{key}' {told}"
        return None

    def _agrees(self, got: npt.ArrayLike, expected: npt.ArrayLike) -> bool:
        import numpy as np

        return not differing(np.asarray(got), np.asarray(expected), self._tolerance).any()


def _order(moved: Sequence[tuple[tuple[str, int], tuple[str, int]]], part: Part) -> str:
    """What kind of another order it is: (expected at, found at)."""
    places = {element: index for index, element in enumerate(part.elements)}
    apart = {places[b] - places[a] for a, b in moved if b in places}
    listed = ", ".join(f"'{_label(b)}' is expected where '{_label(a)}' is" for a, b in moved[:3])
    more = f" and {len(moved) - 3} more" if len(moved) > 3 else ""
    if all(a[0] == b[0] for a, b in moved):
        oldest = max(steps for _, steps in part.elements)
        newest = min(steps for _, steps in part.elements)
        if all(a[1] + b[1] == oldest + newest for a, b in moved):
            return "the history is in reverse order: the other end is the oldest step"
        return f"the history is in another order: {listed}{more}"
    if len(apart) == 1 and len(moved) > 1:
        return f"shifted by {abs(apart.pop())}: {listed}{more}"
    return f"the elements are in another order: {listed}{more}"


def _label(element: tuple[str, int]) -> str:
    name, ago = element
    return name if ago == 0 else f"{name}, {ago} ago"


def _factor(got: Array, expected: Array) -> float | None:
    import numpy as np

    square = float((got.astype(np.float64) ** 2).sum())
    return None if square == 0 else float((got.astype(np.float64) * expected).sum() / square)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")


def _listed(values: Sequence[tuple[str, float]], neutral: float = 0.0) -> str:
    """One number where all are the same, else the first few by name."""
    if len({_rounded(value) for _, value in values}) == 1:
        return number(_rounded(values[0][1]))
    other = [(name, value) for name, value in values if abs(value - neutral) > 1e-4]
    told = ", ".join(f"{name} {number(_rounded(value))}" for name, value in other[:4])
    return told + (f" and {len(other) - 4} more" if len(other) > 4 else "")
