"""A clock that the policy walks to: it counts executed steps, and shows them as a phase."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, Strict

from rtloop.config.problem import Keys, Problem, unknown
from rtloop.config.section import Section
from rtloop.config.values import Name, Number, PositiveNumber
from rtloop.policy.terms.elements import Elements, Scope, Vector
from rtloop.policy.terms.term import TERMS, ObservationTerm

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from rtloop.policy.graph_builder import GraphBuilder

#: How far, of itself, a period may be from what was meant: 0.6666667 is 2/3, and so is 83.33333 250/3.
ROUNDING = Fraction(1, 10**6)
#: Steps after which a phase repeats: its values are a table of so many rows.
LONGEST_CYCLE = 100_000

Show = Literal["sin", "cos", "ramp"]


class HoldConfig(Section):
    """While the machine is told to stand, the phase stands."""

    command: Name = Field(description="name of the input or group that says so, by being small")
    below: PositiveNumber = Field(description="its length below which the machine stands")
    each: Annotated[
        tuple[Annotated[tuple[int, ...], Strict(False), Field(min_length=1)], ...], Strict(False)
    ] = Field(
        default=(),
        description="indices of elements whose lengths are judged apart, [[0, 1], [2]]; without it all "
        "together",
    )
    at: Number = Field(default=0.5, description="the phase that is shown then, in turns: 0.5 is pi")
    restart: bool = Field(
        default=False,
        description="true to begin at the offsets again afterwards; false to run on unseen",
    )


class PhaseConfig(Section):
    """How fast a phase runs."""

    period_s: PositiveNumber | None = Field(default=None, description="of one turn")
    frequency_hz: PositiveNumber | None = Field(default=None, description="turns per second")
    offsets: Annotated[tuple[Number, ...], Strict(False), Field(min_length=1, max_length=64)] = (
        Field(default=(0.0,), description="in turns, one phase for each: [0, 0.5] for two legs")
    )
    first_step: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="steps that the first observation is ahead of the offsets",
    )
    hold: HoldConfig | None = Field(default=None, description="when it stands; null is never")

    @property
    def turn_s(self) -> Fraction:
        """As it was written."""
        if self.period_s is not None:
            return Fraction(repr(self.period_s))
        return 1 / Fraction(repr(self.frequency_hz))

    def advance(self, period_s: Fraction) -> Fraction:
        """Of a step, in turns: the nearest fraction that repeats within ``LONGEST_CYCLE`` steps.

        The exact value where that is one, or where none is within ``ROUNDING``.
        """
        exact = period_s / self.turn_s
        simple = exact.limit_denominator(LONGEST_CYCLE)
        return simple if abs(simple - exact) <= exact * ROUNDING else exact


@TERMS.register
class PhaseTerm(ObservationTerm):
    """A phase that advances by the nominal period in every executed step, whatever the clock says.

    It counts whole steps and looks its values up: it does not drift.
    """

    kind = "phase"

    phase: PhaseConfig = Field(description="its period or frequency, offsets, and when it stands")
    show: Annotated[tuple[Show, ...], Strict(False), Field(min_length=1, max_length=3)] = Field(
        default=("sin", "cos"),
        description="what is observed of each phase: sin and cos of it, or ramp, 0 to 1 in a turn; all of "
        "the first, then all of the next",
    )

    def reads(self) -> tuple[str, ...]:
        return () if self.phase.hold is None else (self.phase.hold.command,)

    def least_size(self, name: str, scope: Scope) -> int:
        each = () if self.phase.hold is None else self.phase.hold.each
        return max([0, *(index for indices in each for index in indices)]) + 1

    def source_rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        phase, keys = self.phase, (*here, "phase")
        if (phase.period_s is None) == (phase.frequency_hz is None):
            found = "both" if phase.period_s is not None else "neither period_s nor frequency_hz"
            yield Problem(keys, "exactly one of period_s and frequency_hz", found, at_key=True)
            return
        if scope.period_s is not None and (steps := _steps(phase, scope.period_s)) > LONGEST_CYCLE:
            expected = (
                f"a period that, to {float(ROUNDING):g} of it, repeats within {LONGEST_CYCLE} steps of "
                "the policy: a shorter one"
            )
            yield Problem(keys, expected, f"one that repeats after {steps}", at_key=True)
        if phase.hold is None:
            return
        command = scope.vector(phase.hold.command)
        if command is None:
            at = (*keys, "hold", "command")
            yield unknown(
                at, phase.hold.command, "input or group", scope.vector_names, scope.inputs_at
            )
        elif command.element_count is not None:
            for position, indices in enumerate(phase.hold.each):
                if any(not 0 <= index < command.element_count for index in indices):
                    at = (*keys, "hold", "each", position)
                    yield Problem(at, f"indices below {command.element_count}", f"{list(indices)}")

    def elements(self, scope: Scope) -> Elements:
        names = [f"{show}_{offset:g}" for show in self.show for offset in self.phase.offsets]
        return Vector(len(names), tuple(names) if len(set(names)) == len(names) else None)

    def emit(self, builder: GraphBuilder) -> str:
        import numpy as np

        if builder.period_s is None:
            raise ValueError("the period of the policy is not known")
        phase, steps = self.phase, _steps(self.phase, builder.period_s)
        advance = phase.advance(builder.period_s)
        offsets = [Fraction(repr(offset)) for offset in phase.offsets]
        turns = [[float((step * advance + o) % 1) for o in offsets] for step in range(steps)]
        table = _shown(np.array(turns), self.show)
        stands = None if phase.hold is None else _stands(builder, phase.hold)
        step = builder.once(("phase", repr(phase)), lambda: _counter(builder, phase, steps, stands))
        width = builder.constant(np.array([table.shape[1]], np.int64), "phase_width")
        column = builder.constant(np.arange(table.shape[1]), "phase_columns")
        first = builder.node("Mul", [step, width], "phase_row")
        indices = builder.node("Add", [first, column], "phase_indices")
        values = builder.constant(table.reshape(1, -1), "phase_values")
        moving = builder.node("Gather", [values, indices], "phase", axis=1)
        if phase.hold is None or stands is None:
            return moving
        held = _shown(np.full((1, len(offsets)), phase.hold.at), self.show)
        return builder.node(
            "Where", [stands, builder.constant(held, "held"), moving], "phase_or_held"
        )


def _steps(phase: PhaseConfig, period_s: Fraction) -> int:
    """Steps after which the phase is exactly what it was."""
    return phase.advance(period_s).denominator


def _shown(turns: npt.NDArray[np.float64], show: tuple[Show, ...]) -> npt.NDArray[np.float32]:
    """float32 [steps, shown * offsets] of phases in turns."""
    import numpy as np

    functions = {
        "sin": lambda turn: np.sin(2 * np.pi * turn),
        "cos": lambda turn: np.cos(2 * np.pi * turn),
        "ramp": lambda turn: turn % 1.0,
    }
    return np.concatenate([functions[name](turns) for name in show], axis=1).astype(np.float32)


def _counter(builder: GraphBuilder, phase: PhaseConfig, steps: int, stands: str | None) -> str:
    """int64 [1]: the row of the table."""
    import numpy as np

    def advanced(step: str) -> str:
        one = builder.constant(np.array([1], np.int64), "one")
        cycle = builder.constant(np.array([steps], np.int64), "phase_steps")
        following = builder.node(
            "Mod", [builder.node("Add", [step, one], "step"), cycle], "next_step"
        )
        if stands is None or phase.hold is None or not phase.hold.restart:
            return following
        zero = builder.constant(np.array([0], np.int64), "zero")
        flat = builder.reshaped(stands, (1,))
        return builder.node("Where", [flat, zero, following], "restarted")

    first = np.array([phase.first_step % steps], np.int64)
    return builder.feedback("phase_step", (1,), advanced, initial=first)


def _stands(builder: GraphBuilder, hold: HoldConfig) -> str:
    """bool [1, 1]: whether every length is below the limit."""
    import numpy as np

    command = builder.must_be_finite(builder.vector(hold.command))  # NaN would be: it moves
    below = builder.constant(np.full((1, 1), hold.below, np.float32), "below")
    verdict = ""
    for indices in hold.each or (tuple(range(builder.size(command))),):
        picked = builder.constant(np.array(indices, np.int64), "judged")
        part = builder.node("Gather", [command, picked], "part", axis=1)
        square = builder.node("Mul", [part, part], "square")
        length = builder.node(
            "Sqrt", [builder.node("ReduceSum", [square], "sum", keepdims=1)], "length"
        )
        small = builder.node("Less", [length, below], "small")
        verdict = small if not verdict else builder.node("And", [verdict, small], "stands")
    return verdict
