"""Another loop of the same file: the commands of one of its outputs, each with an age."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from math import gcd
from typing import TYPE_CHECKING

from pydantic import Field, PrivateAttr

from rtloop.config.problem import Keys, Problem, any_of, milliseconds, unknown
from rtloop.config.values import VECTOR_SIZE_MAX, Name
from rtloop.ports.around import Around
from rtloop.ports.kept import KEPT_INSTEAD, commands_kept, most_kept, what_is_kept
from rtloop.ports.port import (
    INPUTS,
    FirstSample,
    InputSection,
    OutputSection,
    Port,
    ReadableLoop,
    ServedLoop,
)
from rtloop.ports.signal import Signal

if TYPE_CHECKING:
    from rtloop.core import Relay
    from rtloop.link.section import LinkConfig


#: The part of its period in which a loop wakes up, on a machine that is not overloaded: 100 µs at 1 kHz.
AWAKE_WITHIN = 10


@dataclass
class _Told:
    """All loops of the file, this one's among them: nothing by which two sections differ."""

    loops: Mapping[str, ReadableLoop] = field(default_factory=dict, compare=False, repr=False)


@INPUTS.register
class LoopInput(InputSection):
    """The commands of another loop of the file, with their names and units. With `output: at_deadline` in that
    loop each counts from its deadline on: which one is read follows from the two rates, and not from how long
    anything takes ([Loops that feed loops](cycle.md#loops-that-feed-loops)). `max_age_ms` is required.
    """

    kind = "loop"
    is_stepped = True

    loop: Name = Field(description="name of the other loop")
    output: Name | None = Field(
        default=None, description="which of its outputs; null where it has one"
    )

    _told: _Told = PrivateAttr(default_factory=_Told)

    def bind(self, loops: Mapping[str, ReadableLoop]) -> None:
        self._told = _Told(loops)

    @property
    def _loops(self) -> Mapping[str, ReadableLoop]:
        return self._told.loops

    @property
    def read_output(self) -> tuple[str, str] | None:
        name = self._output_name
        return None if name is None else (self.loop, name)

    @property
    def first_sample(self) -> FirstSample:
        return "loop"

    @property
    def named(self) -> bool:  # type: ignore[override]  # of the other loop's device
        return self._sink is not None and self._sink.named

    @property
    def element_names(self) -> tuple[str, ...] | None:
        return None if self._sink is None else self._sink.element_names

    @property
    def element_count(self) -> int | None:
        return None if self._sink is None else self._sink.element_count

    @property
    def element_limit(self) -> int:
        return VECTOR_SIZE_MAX if self._sink is None else self._sink.element_limit

    @property
    def _outputs(self) -> Mapping[str, OutputSection]:
        return self._loops[self.loop].outputs if self.loop in self._loops else {}

    @property
    def _output_name(self) -> str | None:
        if self.output is None and len(self._outputs) == 1:
            return next(iter(self._outputs))
        return self.output if self.output in self._outputs else None

    @property
    def _sink(self) -> OutputSection | None:
        return None if self._output_name is None else self._outputs[self._output_name]

    def rules(
        self, here: Keys, loop: ServedLoop, links: Mapping[str, LinkConfig]
    ) -> Iterator[Problem]:
        yield from super().rules(here, loop, links)
        if self.max_age_ms is None:
            expected = (
                "a max_age_ms: a loop that ends or faults leaves its safe command and sends no more, which "
                "only the age of its last one tells"
            )
            yield Problem(here, expected, "no max_age_ms", at_key=True)
        others = [name for name in self._loops if name != here[1]]
        if self.loop == here[1]:
            expected = (
                "another loop; what a loop has commanded itself its policy observes with the terms "
                "`last_target` and `previous_action`"
            )
            yield Problem((*here, "loop"), expected)
        elif self.loop not in others:
            yield unknown((*here, "loop"), self.loop, "loop", others, ("loops",))
        elif self._output_name is None:
            yield self._which_output(here)
        else:
            yield from self._pace_rules(here, loop, self._loops[self.loop])

    def _which_output(self, here: Keys) -> Problem:
        there: Keys = ("loops", self.loop, "outputs")
        known = list(self._outputs)
        if self.output is not None:
            return unknown((*here, "output"), self.output, "output", known, there)
        if not known:
            expected, found = "a loop with outputs", f"'{self.loop}', which has none"
            return Problem((*here, "loop"), expected, found, judged=(there,))
        expected = f"`output` beside it: {any_of(known)}"
        found = f"'{self.loop}', which has several outputs"
        return Problem((*here, "loop"), expected, found, judged=((*here, "output"), there))

    def _pace_rules(self, here: Keys, loop: ServedLoop, other: ReadableLoop) -> Iterator[Problem]:
        pace = (*loop.pace_keys(here[:2]), *other.pace_keys(("loops", self.loop)))
        output = ("loops", self.loop, "output")
        own = str(here[1])
        for name, each in ((self.loop, other), (own, self._loops[own])):
            if other.output == "at_deadline" and not each.is_on_a_grid:
                expected = (
                    f"output: asap in loop '{self.loop}': '{name}' is paced by its input, and which command "
                    "counts at a deadline follows from no grid"
                )
                yield Problem(output, expected, judged=(("loops", name, "clock"), (*here, "loop")))
                return
            if other.output == "at_deadline" and each.on_overrun == "slip":
                expected = (
                    f"skip or catch_up: loop '{here[1]}' reads loop '{self.loop}' at its deadlines, and "
                    "slip moves them against each other"
                )
                keys: Keys = ("loops", name, "on_overrun")
                yield Problem(keys, expected, judged=(output, (*here, "loop")))
        is_paced = loop.is_paced and other.is_paced and other.deadline_ns <= other.period_ns
        if is_paced and self.element_count and other.output == "at_deadline":
            n = commands_kept(other, self._loops[own])
            if n > most_kept(self.element_count):
                found = f"'{self.loop}', {what_is_kept(n, self.element_count)}"
                yield Problem((*here, "loop"), KEPT_INSTEAD, found, judged=(*pace, output))
        if self.max_age_ns is None or not is_paced:
            return
        oldest_ns, awake_ns = age_at_release_ns(loop, other), loop.period_ns // AWAKE_WITHIN
        if self.max_age_ns >= oldest_ns + awake_ns:
            return
        expected = (
            f"at least {milliseconds(oldest_ns + awake_ns)}: {milliseconds(oldest_ns)} ms old the commands of "
            f"loop '{self.loop}' become before the next one counts, every {milliseconds(other.period_ns)} ms, "
            f"though none is late, and the age counts when '{own}' has woken up, for which there is a tenth "
            f"of its period ({milliseconds(awake_ns)} ms)"
        )
        deadline = ("loops", self.loop, "deadline_ms")
        yield Problem((*here, "max_age_ms"), expected, judged=(*pace, output, deadline))

    def notes(self, name: str, reader: str) -> list[str]:
        loop, other = self._loops[reader], self._loops[self.loop]
        chain = (
            f"input '{name}': {self.loop} ({other.nominal_rate_hz:g} Hz) → {reader} "
            f"({loop.nominal_rate_hz:g} Hz)"
        )
        if other.output == "at_deadline":
            age_ns = age_at_release_ns(loop, other)
            lost_ns = age_ns + other.period_ns
            told = [
                f"{chain}, at most {milliseconds(age_ns)} ms old at a release, {milliseconds(lost_ns)} ms "
                f"where a command of {self.loop} is lost, and stale above "
                f"{milliseconds(self.max_age_ns or 0)} ms"
            ]
        else:
            told = [
                f"{chain} takes what was written last: which command that is depends on how long both take, "
                f"unless {self.loop} says output: at_deadline"
            ]
        strictness = ("soft", "firm", "hard")
        if strictness.index(loop.loop_class) > strictness.index(other.loop_class):
            told.append(
                f"{reader} is {loop.loop_class}, and {self.loop}, whose commands it follows, is "
                f"{other.loop_class}: of what {self.loop} loses, {reader} knows only by the age of input "
                f"'{name}'"
            )
        return told

    def open(self, name: str, loop: ServedLoop, around: Around) -> LoopPort:
        return LoopPort(name, self.loop)


def age_at_release_ns(loop: ServedLoop, other: ReadableLoop) -> int:
    """The greatest age that a command of ``other`` has at a release of ``loop``, none being late.

    At the deadline it follows from the grids; a command that leaves as soon as it is ready has no such
    time, and its period stands in for it.
    """
    if other.output != "at_deadline":
        return other.period_ns
    # Releases lie at whole multiples of the step behind each other, seen from the other's grid.
    step_ns = gcd(loop.period_ns, other.period_ns)
    return other.period_ns - step_ns + -other.deadline_ns % step_ns


class LoopPort(Port):
    """One reader of the commands of another loop, of which it is told once both are open."""

    def __init__(self, name: str, loop: str) -> None:
        self.name = name
        self.loop = loop
        # By a loop that holds it; nothing else of another loop is awaited.
        self.awaits = (
            f"Loop '{loop}' has no safe command before it has measured what it holds itself"
        )
        self._relay: Relay | None = None

    def read_from(self, relay: Relay, signals: tuple[Signal, ...]) -> None:
        self._relay, self.inputs = relay, signals

    def prepare(self) -> None:
        if self._relay is None:
            raise ValueError(f"loop '{self.loop}', which it reads, was not opened with it")
        self.core = self._relay.reader()

    def arm(self, clear: bool) -> None:
        pass
