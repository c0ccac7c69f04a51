"""A policy tried with made-up inputs: deterministic, finite, honest about a NaN, and does all of it count?

What is fed: *random* values within ±3, and *extreme* ones, each of -30, -1, 0, 1 and 30, which are more than
joints turn, and about as fast as they turn; in the first two steps all are 30, then all -30. An input of four
elements is a quaternion of length 1 in both. All of it from one seed, in one order: two checks find the same as
far as they come in the time that they have, and where that was not all, ``notes`` says so.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rtloop import core
from rtloop.config.problem import Keys
from rtloop.policy.composed import ComposedGraph
from rtloop.policy.library import session
from rtloop.policy.policy import Policy
from rtloop.policy.roles import Stage
from rtloop.policy.show import ObservedElement, PolicyTable
from rtloop.policy.trace import Trace, trace

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[np.float32]

RANDOM = 3.0
EXTREMES = (-30.0, -1.0, 0.0, 1.0, 30.0)
STEPS = 16
#: A state that grows by a fifth in each step is infinite after so many.
LONG_STEPS = 500
#: Less of them, where they would take longer.
LONG_S = 1.0
VALUES = f"values within ±{RANDOM:g}"
EXTREME_VALUES = f"extreme values within ±{EXTREMES[-1]:g}"
#: What an element is changed by to see whether it counts. An answer that is saturated, or has two values
#: only, changes where one element outweighs all others.
CHANGES = (1.0, 1e4, -1e4)
#: For all elements of inputs, and then of observations; what is not reached is not judged.
BUDGET_S = 0.5
#: A history is waited for, for so many steps at most, before a NaN counts as lost.
WAITED_MAX = 50


@dataclass(frozen=True)
class Probed:
    """Something that looks wrong, at keys of the section of the loop."""

    keys: Keys
    found: str
    expected: str


class Probes:
    """What is known of a policy, and the inputs to try it with."""

    def __init__(
        self,
        graph: ComposedGraph,
        runner: core.Graph,
        policy: Policy,
        table: PolicyTable,
        model_at: Keys,
    ) -> None:
        """``model_at``: where the section of the loop names the model that acts."""
        import numpy as np

        self._graph = graph
        self._runner = runner
        self._policy = policy
        self._table = table
        self._names = [spec.name.removeprefix("input/") for spec in graph.inputs]
        self._model_at = model_at
        self.notes: list[str] = []
        """What was not tried, once ``findings`` are through."""
        random = np.random.default_rng(0)
        self._random = self._inputs(
            [random.uniform(-RANDOM, RANDOM, (STEPS, spec.size)) for spec in graph.inputs]
        )
        extreme = [random.choice(EXTREMES, (STEPS, spec.size)) for spec in graph.inputs]
        for values in extreme:
            values[0], values[1] = EXTREMES[-1], EXTREMES[0]
        self._extreme = self._inputs(extreme)

    def findings(self) -> Iterator[Probed]:
        """Everything that looks wrong."""
        import numpy as np

        try:
            got, again = self._trace(self._random), self._trace(self._random)
        except RuntimeError as error:
            yield self._failed(VALUES, error)
            return
        extreme: list[Trace | Probed] = []
        for _ in range(2):
            try:
                extreme.append(self._trace(self._extreme))
            except RuntimeError as error:
                extreme.append(self._failed(EXTREME_VALUES, error))
        if not _are_the_same(got, again) or not _are_the_same(*extreme):
            found = "a policy that gives another command where it reads the same again"
            yield Probed(self._model_at, found, "no random numbers: export its mean action")
            return  # nothing else that is tried would tell
        yield from self._not_finite(VALUES, got)
        answers = [got.raw]
        if isinstance(extreme[0], Probed):
            yield extreme[0]
        else:
            yield from self._not_finite(EXTREME_VALUES, extreme[0])
            answers.append(extreme[0].raw)
        if self._policy.stages:  # a model's answer: terms may well be constant
            yield from self._constant_answers(np.concatenate(answers))
        if np.isfinite(got.targets).all():
            yield from self._growing()
            yield from self._lost_nans()
            yield from self._dead_elements(got)

    # --- what is fed ---

    def _inputs(self, values: Sequence[npt.NDArray[Any]]) -> dict[str, Array]:
        import numpy as np

        made = {}
        for name, array in zip(self._names, values, strict=True):
            if array.shape[1] == 4:
                array[~array.any(axis=1)] = 1
                array /= np.linalg.norm(array, axis=1, keepdims=True)
            made[name] = array.astype(np.float32)
        return made

    def _trace(self, inputs: Mapping[str, Array], steps: int = STEPS) -> Trace:
        import numpy as np

        first = np.zeros(self._graph.action.size, np.float32)
        return trace(self._graph, self._runner, inputs, first, steps=steps)

    # --- finite ---

    def _failed(self, what: str, error: RuntimeError) -> Probed:
        text = " ".join(str(error).split())
        expected = "an answer to whatever sensors may give: bound what Gather and its like read"
        return Probed(self._model_at, f"a model that fails for {what} ({text})", expected)

    def _not_finite(self, what: str, got: Trace) -> Iterator[Probed]:
        import numpy as np

        if np.isfinite(got.targets).all():
            return
        step = int(np.argmax(~np.isfinite(got.targets).all(axis=1)))
        place, where = self._model_at, "its answer"
        for name, seen in got.observations.items():
            wrong = np.flatnonzero(~np.isfinite(seen[step]))
            if wrong.size:
                element = self._table.observations[name][int(wrong[0])]
                place, where = ("policy", *element.term), f"'{element.label}'"
                break
        found = f"NaN or infinity in {where} for {what}, in step {step} of a trial"
        yield Probed(place, found, "finite values: a command that is not is a FAULT")

    def _growing(self) -> Iterator[Probed]:
        """What is finite in a few steps need not stay so, where something is carried from each to the next."""
        import numpy as np

        if not self._graph.feedback:
            return
        started = time.monotonic()
        self._trace(self._random)
        fit = int(LONG_S / max(time.monotonic() - started, 1e-9) * STEPS)
        again = min(LONG_STEPS, fit) // STEPS + 1
        longer = {name: np.tile(array, (again, 1)) for name, array in self._random.items()}
        try:
            yield from self._not_finite(VALUES, self._trace(longer, again * STEPS))
        except RuntimeError as error:
            yield self._failed(VALUES, error)

    # --- NaN ---

    def _lost_nans(self) -> Iterator[Probed]:
        """Elements of inputs that count, and whose NaN is not seen in the command."""
        import numpy as np

        waited = 1 + max(
            (e.steps_ago for row in self._table.observations.values() for e in row), default=0
        )
        waited = min(waited, WAITED_MAX)
        # A NaN is no small value: where all is 0, what asks for one answers otherwise.
        still = {name: array * (array.shape[1] == 4) for name, array in self._random.items()}
        bases = [(base, self._stepped(base, None, 0.0, waited)) for base in (self._random, still)]
        until_s = time.monotonic() + BUDGET_S
        lost: dict[str, list[int]] = {}
        for name in self._names:
            for index in range(self._random[name].shape[1]):
                if time.monotonic() > until_s:
                    break
                for base, usual in bases:
                    with_nan = self._stepped(base, (name, index), np.nan, waited)
                    if np.isnan(with_nan[-1]).any():
                        break
                    other = self._stepped(base, (name, index), 0.5, waited)
                    if _differ(usual, with_nan) or _differ(usual, other):
                        lost.setdefault(name, []).append(index)
                        break
        if time.monotonic() > until_s:
            self.notes.append(
                f"not every element was tried with a NaN: {BUDGET_S:g} s were not enough"
            )
        for name, indices in lost.items():
            elements = ", ".join(map(str, indices[:4])) + (" …" if len(indices) > 4 else "")
            found = (
                f"a NaN in input '{name}' (element {elements}) that leaves as a plausible command"
            )
            expected = "a NaN for a NaN, which is a FAULT: a policy that observes what decides"
            yield Probed(("inputs", name), found, expected)

    def _stepped(
        self,
        base: Mapping[str, Array],
        changed: tuple[str, int] | None,
        value: float,
        steps: int,
    ) -> list[Array]:
        """The commands of steps up to one with a NaN; in the first of them an element has this value."""
        import numpy as np

        self._runner.reset()
        last = np.zeros(self._graph.action.size, np.float32)
        commands: list[Array] = []
        for step in range(steps):
            inputs = [base[name][step % STEPS] for name in self._names]
            if step == 0 and changed is not None:
                at = self._names.index(changed[0])
                inputs[at] = inputs[at].copy()
                inputs[at][changed[1]] = value
            try:
                command = self._runner.run(inputs, True, last if self._graph.last_command else None)
            except RuntimeError:  # a model that refuses it: no plausible command
                command = np.full_like(last, np.nan)
            commands.append(command)
            if np.isnan(command).any():
                break
            last = command
        self._runner.reset()
        return commands

    # --- sensitivity ---

    def _constant_answers(self, answers: Array) -> Iterator[Probed]:
        """Extreme values are among what was observed: only they have zeros, which a bool may need to change."""
        import numpy as np

        constant = np.flatnonzero(np.ptp(answers, axis=0) == 0)
        if constant.size == 0:
            return
        names = _listed([f"'{self._table.raw[int(i)]}'" for i in constant])
        found = f"an action that depends on nothing that is observed, in element {names}"
        expected = "one that observations move: is it trained, and is this output the action?"
        yield Probed(self._model_at, found, expected)

    def _dead_elements(self, got: Trace) -> Iterator[Probed]:
        """Elements of an observation that change nothing that the model answers, nor its state."""
        until_s = time.monotonic() + BUDGET_S
        for stage in self._policy.stages:
            if not stage.observed:
                continue
            feeds = [self._feed(stage, got, step) for step in (3, 7, 11)]
            stage_session = session(stage.file.model)
            for name in stage.observed:
                dead = _dead(stage_session, stage, feeds, name, until_s)
                elements = self._table.observations[f"{stage.name}.{name}"]
                by_term: dict[Keys, list[ObservedElement]] = {}
                for index in dead:
                    by_term.setdefault(elements[index].term, []).append(elements[index])
                for term, unseen in by_term.items():
                    names = _listed([f"'{element.label}'" for element in unseen])
                    found = f"an observation that changes nothing in model '{stage.name}': {names}"
                    yield Probed(
                        ("policy", *term), found, "what the policy was trained with: it looks at it"
                    )
        if time.monotonic() > until_s:
            told = "not every observed element was tried for whether it counts"
            self.notes.append(f"{told}: {BUDGET_S:g} s were not enough")

    def _feed(self, stage: Stage, got: Trace, step: int) -> dict[str, npt.NDArray[Any]]:
        import numpy as np

        feed: dict[str, npt.NDArray[Any]] = dict(stage.constants)
        for name, tensor in stage.observed.items():
            seen = got.observations[f"{stage.name}.{name}"][step]
            feed[name] = _cast(seen, tensor.dtype).reshape(tensor.shape)
        for name, first in stage.counters.items():
            tensor = stage.file.inputs[name]
            feed[name] = np.full(tensor.shape, first + step, tensor.dtype)
        for name in stage.wires:
            tensor = stage.file.inputs[name]
            feed[name] = np.zeros(tensor.shape, tensor.dtype)
        for before, _ in stage.state:
            feed[before.name] = np.zeros(before.shape, before.dtype)
        random = np.random.default_rng(step)
        for name, tensor in stage.file.inputs.items():  # what another model answers
            if name not in feed:
                feed[name] = _cast(random.uniform(-1, 1, tensor.shape), tensor.dtype)
        return feed


def _are_the_same(one: Trace | Probed, other: Trace | Probed) -> bool:
    import numpy as np

    if isinstance(one, Probed) or isinstance(other, Probed):
        return isinstance(one, Probed) and isinstance(other, Probed)
    return np.array_equal(one.targets, other.targets, equal_nan=True)


def _differ(usual: Sequence[Array], other: Sequence[Array]) -> bool:
    return any((a != b).any() for a, b in zip(usual, other, strict=False))


def _dead(
    stage_session: Any,
    stage: Stage,
    feeds: Sequence[dict[str, npt.NDArray[Any]]],
    name: str,
    until_s: float,
) -> list[int]:
    """Elements of an input that may be another at all these points, and the model answers the same."""
    import numpy as np

    outputs = list(stage.file.outputs)
    usual = [stage_session.run(outputs, feed) for feed in feeds]
    order = np.random.default_rng(0).permutation(stage.observed[name].size)
    dead = []
    for index in order:
        if time.monotonic() > until_s:
            break
        if not any(
            _counts(stage_session, outputs, feed, answers, name, int(index), change)
            for change in CHANGES
            for feed, answers in zip(feeds, usual, strict=True)
        ):
            dead.append(int(index))
    return sorted(dead)


def _counts(
    stage_session: Any,
    outputs: Sequence[str],
    feed: Mapping[str, npt.NDArray[Any]],
    answers: Sequence[npt.NDArray[Any]],
    name: str,
    index: int,
    change: float,
) -> bool:
    """Whether the model answers otherwise, or not at all, where an element is another."""
    import numpy as np

    other = feed[name].copy().reshape(-1)
    if other.dtype.kind == "b":
        other[index] = not other[index]
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            other[index] += np.array(change).astype(other.dtype)
    try:
        again = stage_session.run(outputs, {**feed, name: other.reshape(feed[name].shape)})
    except Exception:  # onnxruntime's exceptions share no other base class
        return True
    return any(
        not np.array_equal(a, b, equal_nan=True) for a, b in zip(answers, again, strict=True)
    )


def _cast(values: npt.NDArray[Any], dtype: str) -> npt.NDArray[Any]:
    """In another type, within what it holds: a cast of anything else means nothing."""
    import numpy as np

    if np.dtype(dtype).kind in "iu":
        limits = np.iinfo(dtype)
        values = np.clip(np.nan_to_num(values), limits.min, limits.max)
    return values.astype(dtype)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
