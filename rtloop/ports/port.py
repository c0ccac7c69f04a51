"""What every kind of port is: two sections of the configuration, and an open port."""

from __future__ import annotations

import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from pydantic import Field

from rtloop import core
from rtloop.config.by_name import (
    CommandLimits,
    CommandValues,
    PositiveCommandLimits,
    SafeValues,
    Values,
    name_rules,
)
from rtloop.config.kinds import Kinds, KindSection
from rtloop.config.problem import Keys, Problem, same_length
from rtloop.config.values import VECTOR_SIZE_MAX, Milliseconds, nanoseconds
from rtloop.errors import LinkError
from rtloop.ports.around import Around
from rtloop.ports.command import bound_rules
from rtloop.ports.condition import Condition
from rtloop.ports.signal import Signal
from rtloop.ports.stale import OnStale, StaleWord, StandIn, stand_in_rules

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from rtloop.core import Relay, Right, ThreadSetup
    from rtloop.link.section import LinkConfig
    from rtloop.realtime.rights import RightReport
    from rtloop.telemetry.observe.device_account import DeviceAccount


class ServedLoop(Protocol):
    """What a port may know of the loop it serves; the loop's section of the configuration has it."""

    @property
    def loop_class(self) -> str: ...
    @property
    def period_ns(self) -> int: ...
    @property
    def nominal_rate_hz(self) -> float: ...
    @property
    def is_paced(self) -> bool:
        """Whether its period is known: while a file is judged, it may not be."""

    @property
    def longest_gap_ns(self) -> int:
        """Between two commands, while it loses none: of one that is paced by an input, its time-out."""

    def timeout_of_ns(self, name: str) -> int | None:
        """How long it waits for a sample of an input that paces it; None of any other."""

    def pace_keys(self, here: Keys) -> tuple[Keys, ...]:
        """Where the file says the period, for a loop at ``here``."""


class ReadableLoop(ServedLoop, Protocol):
    """What another loop may know of the loop whose commands it reads."""

    @property
    def deadline_ns(self) -> int: ...
    @property
    def on_overrun(self) -> str: ...
    @property
    def catch_up(self) -> int: ...
    @property
    def is_on_a_grid(self) -> bool: ...
    @property
    def output(self) -> str: ...
    @property
    def outputs(self) -> Mapping[str, OutputSection]: ...


class PortSection(KindSection):
    """What an input and an output have in common: each names a port, in the way of its kind."""

    named: ClassVar[bool] = False
    """Whether the device tells names of the elements of a sample or command."""
    waits_for_device: ClassVar[bool] = False
    """Whether opening it waits for an answer: such ports are opened at once, each in a thread of its own."""

    is_stepped: ClassVar[bool] = False
    """Whether it knows no time but that of the loops, which may be a simulation's."""

    @property
    def element_names(self) -> tuple[str, ...] | None:
        """Their names; None where they have none, or only the device knows."""
        return None

    @property
    @abstractmethod
    def element_count(self) -> int | None:
        """Number of values; None when only the device knows."""

    @property
    def known_names(self) -> tuple[str, ...] | None:
        """Their names, or their numbers where they have none; None while only the device knows."""
        if self.element_names is not None or self.named or self.element_count is None:
            return self.element_names
        return tuple(str(index) for index in range(self.element_count))

    @property
    def port_name(self) -> str | None:
        """The port's name in the configuration; None for a port that is this section's alone."""
        return None

    @property
    def identity(self) -> tuple[str, str] | None:
        """Sections of one identity share one port; None: no other section has this port."""
        return None if self.port_name is None else (self.kind, self.port_name)

    def hardware_id(self, links: Mapping[str, LinkConfig]) -> str:
        """The device behind the port, by its path; empty where there is none."""
        return ""

    threads_of: ClassVar[str] = "link"
    """What such threads belong to, in the list of rights."""

    def has_threads(self, links: Mapping[str, LinkConfig]) -> bool:
        """Whether its port has threads of its own, as for :meth:`Port.schedule`."""
        return False

    def opened_at(self, here: Keys) -> Keys:
        """Where the file names what is opened, for a section at ``here``."""
        return (*here, self.kind)

    def rules(
        self, here: Keys, loop: ServedLoop, links: Mapping[str, LinkConfig]
    ) -> Iterator[Problem]:
        """The broken rules of the section at ``here``, whose single values are right already."""
        yield from ()

    def refuse_here(self) -> None:
        """Asked by ``rtloop check``: raises ConfigError where the file means something that this machine has
        not. Opens nothing, and finds nothing wrong where it cannot tell."""

    @abstractmethod
    def open(self, name: str, loop: ServedLoop, around: Around) -> Port:
        """Opens the port for the input or output ``name`` of ``loop``, in what is ``around`` it.

        Of the sections that share a port only the first is asked. Nothing moves yet.
        Raises ConfigError, LinkError.
        """


FirstSample = Literal["device", "file", "program", "loop"]
"""Who gives an input its first sample; a program does with ``Loop.write_input``, another loop before its
first release."""


class InputSection(PortSection):
    """Where an input's samples come from, and how old they may be."""

    can_pace: ClassVar[bool] = False
    """Whether its samples may release a loop: ``paces`` of the core port."""

    max_age_ms: Milliseconds | None = Field(
        default=None, description="an older sample is stale; null is never"
    )
    on_stale: OnStale = Field(
        default="hold",
        description="what a stale sample does; {use: VALUES} takes these in its place",
    )

    @property
    def stale_word(self) -> StaleWord:
        """``on_stale`` without values."""
        return "use" if isinstance(self.on_stale, StandIn) else self.on_stale

    @property
    def stand_in(self) -> Values | None:
        """What is used in place of a stale sample, so that none need come; None where nothing is."""
        return self.on_stale.use if isinstance(self.on_stale, StandIn) else None

    @property
    def first_sample(self) -> FirstSample:
        return "device"

    @property
    def initial(self) -> tuple[float, ...]:
        """The values that it begins with; () where something has to come first."""
        return ()

    @property
    def read_output(self) -> tuple[str, str] | None:
        """The loop of the file and its output whose commands are the samples; None where none is."""
        return None

    def bind(self, loops: Mapping[str, ReadableLoop]) -> None:
        """Told of all loops of the file, before anything else is asked that may rest on them."""

    def notes(self, name: str, reader: str) -> list[str]:
        """What people should know of the input ``name`` of the loop ``reader``, a sentence each."""
        return []

    @property
    def max_age_ns(self) -> int | None:
        return None if self.max_age_ms is None else nanoseconds(self.max_age_ms)

    @property
    @abstractmethod
    def element_limit(self) -> int:
        """The most values that a sample of this port can have."""

    def rules(
        self, here: Keys, loop: ServedLoop, links: Mapping[str, LinkConfig]
    ) -> Iterator[Problem]:
        if self.max_age_ms is None and "on_stale" in self.model_fields_set:
            expected = "max_age_ms beside it: without one no sample is ever stale"
            yield Problem((*here, "on_stale"), expected, judged=((*here, "max_age_ms"),))
        if self.stand_in is not None:
            yield from self.stand_in_rules(here, self.known_names, self.element_count)

    def stand_in_rules(
        self, here: Keys, names: Sequence[str] | None, count: int | None
    ) -> Iterator[Problem]:
        """Broken rules of ``on_stale: {use: ...}``; None where only the device knows names or their number."""
        if self.stand_in is not None:
            has_names = self.named or self.element_names is not None
            at = (*here, "on_stale", "use")
            yield from stand_in_rules(at, self.stand_in, names, count, has_names)


class OutputSection(PortSection):
    """Where an output's commands go, and their limits; per element, a number, a list, or by name."""

    size_key: ClassVar[str] = "names"
    """The key that tells ``element_names``."""
    can_hold: ClassVar[bool] = False
    """Whether `safe` may be what was measured: the core port is told, or makes itself safe."""

    min: CommandLimits | None = Field(
        default=None, description="smallest command, in the unit of the command"
    )
    max: CommandLimits | None = Field(
        default=None, description="largest command, in the unit of the command"
    )
    max_rate_per_s: PositiveCommandLimits | None = Field(
        default=None, description="largest change, in units of the command per second"
    )
    safe: SafeValues = Field(
        description="the safe command, in force last whatever ends the loop; the first command starts from it"
    )
    default: CommandValues | None = Field(
        default=None, description="the command of a missed firm cycle with on_miss: default"
    )

    @property
    def vectors(self) -> dict[str, Values | None]:
        """The keys that hold a value per element."""
        return {
            "safe": self.safe,
            "default": self.default,
            "min": self.min,
            "max": self.max,
            "max_rate_per_s": self.max_rate_per_s,
        }

    def notes(self, name: str) -> list[str]:
        """What people should know of the output ``name``, a sentence each."""
        return []

    @property
    def exact_names(self) -> tuple[str, ...]:
        """Those by which an element has a value of its own, which must be there."""
        mappings = (values for values in self.vectors.values() if isinstance(values, Mapping))
        return tuple(dict.fromkeys(key for values in mappings for key in values if "*" not in key))

    @property
    def element_count(self) -> int | None:
        """Number of values, as any list tells it; None when only the device knows."""
        lists = (values for values in self.vectors.values() if isinstance(values, tuple))
        return next((len(values) for values in lists), None)

    @property
    def element_limit(self) -> int:
        """The most values that a command of this port can have."""
        return VECTOR_SIZE_MAX

    @property
    def default_or_safe(self) -> Values:
        """The command of a missed firm cycle: ``default``, or ``safe`` where there is none."""
        return self.safe if self.default is None else self.default

    def rules(
        self, here: Keys, loop: ServedLoop, links: Mapping[str, LinkConfig]
    ) -> Iterator[Problem]:
        yield from self.vector_rules(here)

    def vector_rules(self, here: Keys) -> Iterator[Problem]:
        """Lists of one length, that of ``size`` or of the names where they are known; and ``element_rules``."""
        size, size_from = getattr(self, "size", None), "size"
        if size is None and self.element_names is not None:
            size, size_from = len(self.element_names), self.size_key
        lengths = list(same_length(here, self.vectors, size, size_from))
        yield from lengths or self.element_rules(here, self.known_names)

    def element_rules(
        self, here: Keys, names: Sequence[str] | None, are_all: bool = True
    ) -> Iterator[Problem]:
        """One value for each element, by name too, and min ≤ x ≤ max.

        ``names`` are those of the elements, None while only the device knows them; without ``are_all`` it
        may have more.
        """
        mappings = {k: v for k, v in self.vectors.items() if isinstance(v, Mapping)}
        if mappings and not self.named and self.element_names is None:
            expected = "a number, a list, or `names` of the elements beside it"
            yield Problem((*here, next(iter(mappings))), expected, "values by name", at_key=True)
            return
        if mappings and names is None:
            return
        broken = [
            problem
            for key, values in mappings.items()
            for problem in name_rules((*here, key), values, names or (), are_all)
        ]
        count = self.element_count or 1
        yield from broken or bound_rules(here, self.vectors, names or [""] * count)


INPUTS: Kinds[InputSection] = Kinds(InputSection, "rtloop.ports")
OUTPUTS: Kinds[OutputSection] = Kinds(OutputSection, "rtloop.ports")


@dataclass(frozen=True)
class BackOff:
    """When a lost port is tried again: first after ``first_s``, then twice as late each time, up to
    ``max_s``; given up after ``give_up_s``, None is never."""

    first_s: float
    max_s: float
    give_up_s: float | None


class GoneForGoodError(LinkError):
    """A lost port will not come back: trying again would not help, or must not be done."""

    def __init__(self, text: str, fault: str = "port_error") -> None:
        """``fault`` is the reason that ends the loop, a word of ``core.FAULT_REASONS``."""
        super().__init__(text)
        self.fault = fault


class Port(ABC):
    """One open port of one loop: a device, a mailbox.

    It stays open from configure to cleanup. Each activation calls prepare → arm → stop.
    """

    name: str
    """As people know it: the link's name, the mailbox's."""
    inputs: tuple[Signal, ...] = ()
    """The elements of a sample; () where nothing comes in."""
    outputs: tuple[Signal, ...] = ()
    """The elements of a command; () where nothing goes out."""
    hardware_id: str = ""
    """The path of its device; empty where there is none."""
    core: core.Port
    """The port in the cycle: made by ``prepare``, valid until the next ``prepare``."""
    back_off: BackOff | None = None
    """How it is opened anew when it was lost while the loop goes on; None: its loss is a fault."""
    awaits: str = "Check that its source sends, and how often"
    """What to do where the first sample of an input does not come."""
    counts_packets: bool = False
    """Whether the counters of ``core`` are those of a link."""
    threads_of: str = "link"
    """What its threads belong to, in the list of rights."""
    ended_s: float = 0.0
    """When the cycles had ended (``time.monotonic``), in ``stop``: ports are stopped one after the other, those
    of devices first, and none waits longer for having come last."""
    is_armed: bool = True
    """False of one that came back and gets no command any more (``rearm: never``)."""

    def read_from(self, relay: Relay, signals: tuple[Signal, ...]) -> None:
        """Of a section with ``read_output``: where that loop, open by now, leaves its commands."""
        raise ValueError(f"'{self.name}' reads no loop")

    @abstractmethod
    def prepare(self) -> None:
        """Agrees with the device anew where that is needed, and makes ``core``. Nothing is armed.

        Raises LinkError.
        """

    def schedule(self, setup: ThreadSetup) -> list[Right]:
        """For the threads of its own that carry its samples and commands: what became of each right.

        Called once ``core`` is made; nothing to do for most kinds, which have none.
        """
        return []

    def driver_rights(self) -> list[RightReport]:
        """What became of that which opening it has asked of the drivers of its device."""
        return []

    @abstractmethod
    def arm(self, clear: bool) -> None:
        """Lets the port move things, once the loop's threads are set up and warm.

        ``clear`` allows to clear a device that is latched SAFE. Raises LinkError.
        """

    def put(self, values: npt.NDArray[np.float32]) -> None:
        """Leaves a sample from this process, of shape [n], at any time from configure to cleanup.

        Raises ValueError where samples come from elsewhere, and when there are not n.
        """
        raise ValueError(f"'{self.name}' is no mailbox: nothing can be written to it")

    def condition(self, before: Mapping[str, Any]) -> Condition:
        """For /diagnostics, while it is open: ``before`` are the values of the look before, none at the first.

        Asked beside the cycles, as often as diagnostics are published. Nothing for most kinds.
        """
        return Condition()

    def why_stale(self, before: Mapping[str, Any]) -> str:
        """Of an input: why no fresh sample came since that look, in a sentence; empty where it cannot tell."""
        return ""

    def ask(self) -> dict[str, Any]:
        """What its device said of itself, for people; empty where there is none."""
        return {}

    def refuse_unready(self, clear: bool) -> None:  # noqa: B027
        """Raises LinkError where its device, as it was found, could not be armed; sends nothing.

        ``clear`` as in ``arm``. Nothing to do for most kinds.
        """

    def stop(self) -> str:
        """After the loop's threads have ended. Raises nothing: the device may be gone.

        Empty where the safe command is known to be in force and the device did what it had announced, else
        a sentence with what to do. Nothing to do for most kinds, as in ``close``.
        """
        return ""

    def left_s(self, within_s: float) -> float:
        """In ``stop``: what is left of so long after ``ended_s``."""
        return max(0.0, self.ended_s + within_s - time.monotonic())

    def account(self) -> DeviceAccount | None:
        """What its device accounted for itself, as it said last, at the end or, while the loop runs, by now.

        None where it does not, or did not say. Raises nothing.
        """
        return None

    def let_go(self) -> None:
        """Of a port that was lost, or whose cycle hangs: lets go of what is held of its device.

        Raises OSError.
        """
        self.core.let_go()

    def reconnect(self) -> None:
        """One attempt to open it anew, arm it, and hand it to the cycle, which goes on beside it.

        Raises GoneForGoodError when it must not be tried again, LinkError when it may, StoppedError.
        """
        raise GoneForGoodError(f"'{self.name}' cannot be opened anew")

    def give_up(self, why: str, fault: str = "port_error") -> None:
        """It will not come back, and the loop ends with ``fault``; :meth:`loss` may say ``why``."""
        self.core.give_up(core.FAULT_REASONS[fault])

    def close(self) -> None:  # noqa: B027
        """Lets the device go. May be called again."""

    def loss(self, errno: int) -> str:
        """The sentence for its loss (port_error), with what to do next."""
        return f"'{self.name}' was lost: {os.strerror(errno)}. Whether the safe command still left is not known"

    def not_obeyed(self) -> str:
        """The sentence for a device that did not confirm its commands, with what to do next."""
        return (
            f"the device of '{self.name}' did not confirm that it applied its commands. Look at its firmware, "
            "then activate the loop anew"
        )

    def device_safe(self) -> str:
        """The sentence for a device that latched SAFE by itself, with what to do next."""
        return (
            f"the device of '{self.name}' latched SAFE by itself. Find out why, then activate the "
            "loop anew with --clear"
        )
