"""What a loop is: the sections of a configuration, their keys, defaults and units.

The models are frozen, refuse unknown keys and convert nothing (``"5"`` and ``true`` are no
numbers). Rules between keys are in ``rtloop.config.rules`` and run once, on the whole ``Config``.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    Strict,
    model_validator,
)
from pydantic_core import PydanticCustomError

from rtloop.config.problem import Keys, written
from rtloop.config.rules import broken_rules
from rtloop.config.values import (
    MAILBOX_VALUES_MAX,
    Cpus,
    Milliseconds,
    ModelPath,
    Name,
    NumberList,
    PositiveValues,
    Range,
    Selection,
    Text,
    Values,
)

RULES_BROKEN = "rules_broken"
"""Type of the pydantic error that carries all broken rules in ``ctx["problems"]``."""


def per_element(values: float | tuple[float, ...], size: int) -> tuple[float, ...]:
    """One number per element: a single number repeated ``size`` times, or the list itself.

    Raises ValueError when a list has another length than ``size``.
    """
    if not isinstance(values, tuple):
        return (values,) * size
    if len(values) != size:
        raise ValueError(f"found {len(values)} values; expected {size}")
    return values


def _ns(milliseconds: float) -> int:
    return round(Fraction(milliseconds) * 1_000_000)


class Section(BaseModel):
    """Base of every section: immutable, no unknown keys, no conversions, finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class LinkConfig(Section):
    """A connection to one microcontroller.

    ``transport`` (serial), ``device`` (required), ``baud`` (1000000), ``command_timeout_ms`` (20).
    """

    transport: Literal["serial"] = Field(
        default="serial", description="how packets travel, zeromq comes later"
    )
    device: Text = Field(description="path of the serial device; may be a pty or a symlink")
    baud: int = Field(default=1_000_000, ge=300, le=12_000_000, description="bits per second")
    command_timeout_ms: float = Field(
        default=20,
        ge=0.1,
        le=60_000,
        description="silence after which the device goes SAFE by itself; as long without a sensor "
        "packet is a port error on the host",
    )

    @property
    def command_timeout_ns(self) -> int:
        return _ns(self.command_timeout_ms)


class RecordingConfig(Section):
    """The recorder process. ``enabled`` (true), ``directory`` (rtloop-runs)."""

    enabled: bool = Field(default=True, description="whether a recorder process writes MCAP")
    directory: Text = Field(default="rtloop-runs", description="relative to the working directory")


class LimitConfig(Section):
    """A weakly-hard (m, k) limit on misses.

    ``max_misses`` (required) in any ``window`` (1000) consecutive cycles, ``max_consecutive``
    (null: no limit of its own) in a row, ``on_broken`` (fault).
    """

    max_misses: int = Field(ge=0, le=65_535, description="most misses in any window")
    window: int = Field(
        default=1000, ge=1, le=65_536, description="consecutive cycles, at most 65536"
    )
    max_consecutive: int | None = Field(
        default=None,
        ge=1,
        le=65_535,
        description="most misses in a row; null is no limit of its own",
    )
    on_broken: Literal["warn", "fault"] = Field(
        default="fault", description="what a broken limit does"
    )


class InputConfig(Section):
    """Where samples come from: exactly one of ``link`` and ``mailbox`` (initial values).

    ``max_age_ms`` (null: a sample is never stale), ``on_stale`` (hold).
    """

    link: Name | None = Field(default=None, description="name of a link")
    mailbox: NumberList | None = Field(
        default=None, description="initial values; their count is the size of the mailbox"
    )
    max_age_ms: Milliseconds | None = Field(
        default=None, description="an older sample is stale; null is never"
    )
    on_stale: Literal["hold", "fault", "use"] = Field(
        default="hold", description="what a stale sample does"
    )

    @property
    def max_age_ns(self) -> int | None:
        return None if self.max_age_ms is None else _ns(self.max_age_ms)

    @property
    def element_count(self) -> int | None:
        """Number of values in a sample; None when only the device's schema knows."""
        return None if self.mailbox is None else len(self.mailbox)


class OutputConfig(Section):
    """Where commands go: exactly one of ``link`` and ``mailbox: true`` (with ``size``).

    Per element, as a number or a list: ``min`` and ``max`` (null: not limited),
    ``max_rate_per_s`` (null: not limited), ``safe`` (required), ``default`` (null: as ``safe``).
    """

    link: Name | None = Field(default=None, description="name of a link")
    mailbox: bool = Field(default=False, description="true for a mailbox, read from Python")
    size: int | None = Field(
        default=None, ge=1, le=MAILBOX_VALUES_MAX, description="number of elements of a mailbox"
    )
    min: Values | None = Field(
        default=None, description="smallest command, in the unit of the command"
    )
    max: Values | None = Field(
        default=None, description="largest command, in the unit of the command"
    )
    max_rate_per_s: PositiveValues | None = Field(
        default=None, description="largest change, in units of the command per second"
    )
    safe: Values = Field(description="the safe command, sent last whatever ends the loop")
    default: Values | None = Field(
        default=None, description="the command of a missed firm cycle with on_miss: default"
    )

    @property
    def element_count(self) -> int | None:
        """Number of values in a command; None when only the device's schema knows."""
        if self.size is not None:
            return self.size
        for values in (self.safe, self.min, self.max, self.max_rate_per_s, self.default):
            if isinstance(values, tuple):
                return len(values)
        return None

    @property
    def default_or_safe(self) -> float | tuple[float, ...]:
        """The command of a missed firm cycle: ``default``, or ``safe`` where there is none."""
        return self.safe if self.default is None else self.default


class ObservationTerm(Section):
    """One part of the policy's observation: value * ``scale`` + ``offset``, then ``clip``.

    Exactly one of ``input`` and ``previous_action: true``. ``select`` (null: all elements),
    ``scale`` (1), ``offset`` (0), ``clip`` (null).
    """

    input: Name | None = Field(default=None, description="name of an input of this loop")
    previous_action: bool = Field(
        default=False, description="true for the raw policy output of the previous cycle"
    )
    select: Selection | None = Field(
        default=None, description="field names (link only) or indices from 0, in order; null is all"
    )
    scale: Values = Field(default=1.0, description="factor per element")
    offset: Values = Field(default=0.0, description="added after scaling")
    clip: Range | None = Field(default=None, description="[lowest, highest] after scale and offset")


class ActionConfig(Section):
    """From policy output to command: value * ``scale`` (1) + ``offset`` (0), ``clip`` (null)."""

    scale: Values = Field(default=1.0, description="factor per element")
    offset: Values = Field(default=0.0, description="added after scaling")
    clip: Range | None = Field(default=None, description="[lowest, highest] after scale and offset")


class PolicyConfig(Section):
    """The ONNX policy between inputs and outputs.

    ``model`` (required; an absolute path once loaded), ``fix_dimensions`` (none), ``observation``
    (required), ``action`` (the identity), ``state`` (none: graph input to graph output).
    """

    model: ModelPath = Field(description="ONNX file, relative to this file")
    fix_dimensions: dict[Text, Annotated[int, Field(ge=1, le=2**31 - 1)]] = Field(
        default={}, description="names of dynamic dimensions and the size to fix them to"
    )
    observation: Annotated[tuple[ObservationTerm, ...], Strict(False)] = Field(
        min_length=1,
        max_length=256,
        description="list of terms, concatenated in order into the policy's observation input",
    )
    action: ActionConfig = Field(
        default_factory=ActionConfig, description="scale, offset and clip of the policy's output"
    )
    state: dict[Text, Text] = Field(
        default={}, description="recurrent state as pairs of graph input: graph output"
    )


class RealtimeConfig(Section):
    """What the loop's thread asks of Linux.

    ``scheduler`` (fifo), ``thread_priority`` (80), ``cpu_affinity`` (null: any CPU),
    ``lock_memory`` (true), ``cpu_dma_latency_us`` (0), ``on_denied`` (warn).
    """

    scheduler: Literal["fifo", "rr", "deadline", "other"] = Field(
        default="fifo", description="scheduling policy of Linux"
    )
    thread_priority: int = Field(
        default=80, ge=1, le=98, description="1 to 98, because the guard runs one above"
    )
    cpu_affinity: Cpus | None = Field(default=None, description="CPU numbers; null is any CPU")
    lock_memory: bool = Field(default=True, description="whether memory is locked (mlockall)")
    cpu_dma_latency_us: int | None = Field(
        default=0,
        ge=0,
        le=2_000_000_000,
        description="held while the loop is active; null leaves it alone",
    )
    on_denied: Literal["warn", "fail"] = Field(
        default="warn", description="what a denied right does"
    )


class LoopConfig(Section):
    """A periodic task.

    ``class`` (required; here ``loop_class``), exactly one of ``rate_hz`` and ``period_ms``,
    ``deadline_ms`` (the period), ``budget_ms`` (null: not judged), ``limit`` (null: none),
    ``on_miss`` (hold), ``on_overrun`` (skip), ``max_catch_up`` (3), ``output`` (asap), ``inputs``
    (none), ``policy`` (required), ``outputs`` (none),
    ``realtime`` (its defaults), ``ring_seconds`` (60).
    """

    loop_class: Literal["hard", "firm", "soft"] = Field(
        alias="class", description="what a deadline miss means"
    )
    rate_hz: float | None = Field(
        default=None,
        ge=0.1,
        le=20_000,
        description="releases per second; above 20 kHz the wake-up alone takes the period, below "
        "0.1 Hz a real-time loop is the wrong tool",
    )
    period_ms: float | None = Field(
        default=None,
        ge=0.05,
        le=10_000,
        description="time between releases; below 0.05 ms the wake-up alone takes the period, "
        "above 10 s a real-time loop is the wrong tool",
    )
    deadline_ms: Milliseconds | None = Field(
        default=None, description="relative to the release, at most the period; null is the period"
    )
    budget_ms: Milliseconds | None = Field(
        default=None, description="CPU time of a cycle, at most the deadline; null is not judged"
    )
    limit: LimitConfig | None = Field(default=None, description="the (m, k) limit; null is none")
    on_miss: Literal["hold", "default"] = Field(
        default="hold", description="what stands in for a late firm result"
    )
    on_overrun: Literal["skip", "catch_up", "slip"] = Field(
        default="skip", description="what becomes of releases that were missed"
    )
    max_catch_up: int = Field(
        default=3, ge=1, le=1000, description="most releases made up for with on_overrun: catch_up"
    )
    output: Literal["asap", "at_deadline"] = Field(
        default="asap", description="when the command leaves"
    )
    inputs: dict[Name, InputConfig] = Field(default={}, description="input names and their sources")
    policy: PolicyConfig = Field(description="the ONNX policy between inputs and outputs")
    outputs: dict[Name, OutputConfig] = Field(
        default={}, description="output names and their sinks"
    )
    realtime: RealtimeConfig = Field(
        default_factory=RealtimeConfig, description="what the thread asks of Linux"
    )
    ring_seconds: int = Field(
        default=60, ge=60, le=86_400, description="how much of the loop the ring holds, 60 at least"
    )

    @property
    def period_ns(self) -> int:
        """The period, rounded to a whole nanosecond: 30 Hz is 33_333_333 ns."""
        if self.period_ms is not None:
            return _ns(self.period_ms)
        if self.rate_hz is None:
            raise ValueError("found neither rate_hz nor period_ms; expected exactly one")
        return round(1_000_000_000 / Fraction(self.rate_hz))

    @property
    def nominal_rate_hz(self) -> float:
        """The rate of the rounded period."""
        return 1e9 / self.period_ns

    @property
    def deadline_ns(self) -> int:
        """The relative deadline; the period where none is given."""
        return self.period_ns if self.deadline_ms is None else _ns(self.deadline_ms)

    @property
    def budget_ns(self) -> int | None:
        return None if self.budget_ms is None else _ns(self.budget_ms)

    @property
    def ring_cycles(self) -> int:
        """Cycles in ``ring_seconds``, rounded up."""
        return -(-self.ring_seconds * 1_000_000_000 // self.period_ns)


class Config(Section):
    """The loops of one process. ``links`` (none), ``recording`` (on), ``loops`` (required)."""

    links: dict[Name, LinkConfig] = Field(default={}, description="link names and their devices")
    recording: RecordingConfig = Field(
        default_factory=RecordingConfig, description="the recorder process"
    )
    loops: dict[Name, LoopConfig] = Field(min_length=1, description="loop names and loops")

    _path: Path = PrivateAttr(Path("<python>"))
    _source_text: str = PrivateAttr("")
    _places: Mapping[Keys, tuple[int, int]] = PrivateAttr(default_factory=dict)

    @property
    def path(self) -> Path:
        """The file as it was named to ``load``."""
        return self._path

    @property
    def source_text(self) -> str:
        """The text that was loaded, for the record."""
        return self._source_text

    def where(self, *keys: str | int) -> str:
        """``FILE:LINE:COL: where.the.key`` of a value, for errors found after loading.

        A key left to its default is shown at the nearest section that was written.
        """
        line, column = next(
            (self._places[keys[:n]] for n in range(len(keys), -1, -1) if keys[:n] in self._places),
            (1, 1),
        )
        return f"{self._path}:{line}:{column}: {written(keys)}"

    @model_validator(mode="after")
    def _judge_rules(self) -> Config:
        problems = list(broken_rules(self))
        if problems:
            text = "\n".join(
                f"{written(p.keys)}: found {p.found or repr(_at(self, p.keys))}; "
                f"expected {p.expected}"
                for p in problems
            )
            context: dict[str, Any] = {"text": text, "problems": problems}
            raise PydanticCustomError(RULES_BROKEN, "{text}", context)
        return self


def _at(value: Any, keys: Keys) -> Any:
    for key in keys:
        if isinstance(value, Section):
            value = getattr(value, "loop_class" if key == "class" else str(key))
        else:
            value = value[key]
    return value


def json_schema() -> dict[str, Any]:
    """The JSON Schema of a configuration file, for editors. Rules between keys are not in it."""
    return Config.model_json_schema(by_alias=True)
