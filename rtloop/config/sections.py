"""The sections of a configuration: their keys, defaults, units, and the rules within each.

The models are frozen, refuse unknown keys and convert nothing (``"5"`` and ``true`` are no
numbers). The sections of inputs and outputs are those of their ports, in ``rtloop.ports``; those of
a link and of the policy are in ``rtloop.link`` and ``rtloop.policy``. Each ``rules`` yields what is
broken in a section at ``here`` whose single values are right already; rules between sections are in
``rtloop.config.rules``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import Field, model_validator

from rtloop import core
from rtloop.config.clock import ClockConfig
from rtloop.config.problem import Keys, Problem, milliseconds
from rtloop.config.section import Section
from rtloop.config.switch import SwitchConfig
from rtloop.config.values import (
    Cpus,
    Milliseconds,
    Name,
    PathText,
    Text,
    nanoseconds,
)
from rtloop.policy.section import PolicyConfig
from rtloop.ports.port import INPUTS, OUTPUTS, InputSection, OutputSection, PortSection
from rtloop.telemetry.observe.shares import LOST_JOBS, default_limits, window_releases

ANSWER = "answer"
"""What a Python function answers, among the sources of a loop."""


class RecordingConfig(Section):
    """The recorder process."""

    enabled: bool = Field(default=True, description="whether a recorder process writes MCAP")
    directory: PathText = Field(
        default="rtloop-runs", description="relative to the working directory"
    )
    group: Text | None = Field(
        default=None,
        description="who may read rings and recordings beside their owner; null is nobody",
    )
    split_mb: float | None = Field(
        default=1000, ge=1, description="size at which a new file is begun; null is any"
    )
    split_minutes: float | None = Field(
        default=60, ge=0.1, description="time after which a new file is begun; null is any"
    )
    keep: int | None = Field(
        default=None,
        ge=2,
        description="files of a run that stay, the newest ones; null keeps all",
    )


class LimitConfig(Section):
    """A weakly-hard (m, k) limit on misses."""

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

    def rules(self, here: Keys) -> Iterator[Problem]:
        misses = (*here, "max_misses")
        if self.max_misses >= self.window:
            expected = f"fewer than the window of {self.window} cycles, or no limit at all"
            yield Problem(misses, expected, judged=((*here, "window"),))
        elif self.max_consecutive is not None and self.max_consecutive > self.max_misses:
            expected = (
                f"at most max_misses, {self.max_misses} (a longer run breaks that limit first), or "
                "no max_consecutive"
            )
            yield Problem((*here, "max_consecutive"), expected, judged=(misses,))


_Share = Annotated[float, Field(ge=0, le=1)]


class MaxShareConfig(Section):
    """How much may come to nothing before a loop has failed, whatever its class allows a single cycle."""

    missed: _Share | None = Field(
        default=None,
        description="of the executed cycles: those that missed the deadline. 0.05 in a firm loop, which "
        "throws them away, 0.10 in a soft one; where the (m, k) limit allows more, as much",
    )
    skipped: _Share | None = Field(
        default=None,
        description="of the releases: those without a cycle, and those that on_overrun: slip has moved "
        "away. 0.05, or as much as the (m, k) limit allows",
    )
    stale: _Share | None = Field(
        default=None,
        description="of the executed cycles: those with a stale input. 0.05: where more act on nothing "
        "new, the plant drifts on its own",
    )
    held: _Share | None = Field(
        default=None,
        description="of the executed cycles: those that sent nothing, because an input was stale or a "
        "firm result late. 0.05, or as much as the (m, k) limit allows",
    )
    clamped: _Share | None = Field(
        default=None,
        description="of the executed cycles: those with a command outside min and max. 0.5: saturating "
        "now and then is control, for most of the time it is not the policy that commands",
    )
    dropped: _Share | None = Field(
        default=None,
        description="of the executed cycles: those whose command an output did not take. 0.01: a healthy "
        "line loses none",
    )
    refused: _Share | None = Field(
        default=None,
        description="of the executed cycles: commands that a device refused as late. 0.01: a healthy line "
        "delays none",
    )


class RealtimeConfig(Section):
    """What the loop's thread asks of Linux."""

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

    def rules(self, here: Keys) -> Iterator[Problem]:
        if self.cpu_affinity is None:
            return
        cpus = (*here, "cpu_affinity")
        if self.scheduler == "deadline":
            expected = (
                "no cpu_affinity with scheduler: deadline (Linux refuses the two together), or "
                "scheduler: fifo"
            )
            yield Problem(cpus, expected, judged=((*here, "scheduler"),))
        for index, cpu in enumerate(self.cpu_affinity):
            if cpu in self.cpu_affinity[:index]:
                yield Problem((*cpus, index), "each CPU once")


class LoopConfig(Section):
    """A periodic task. Its key ``class`` is ``loop_class`` here, and ``policy`` is ``only_policy``."""

    # The alias is out of sight of type checkers, which would want the argument to be called so.
    loop_class: Annotated[
        Literal["hard", "firm", "soft"],
        Field(alias="class", description="what a deadline miss means"),
    ]
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
    clock: ClockConfig | None = Field(
        default=None,
        description="the input whose samples release it; null is a timer. The rate is then the nominal one",
    )
    deadline_ms: Milliseconds | None = Field(
        default=None, description="relative to the release, at most the period; null is the period"
    )
    budget_ms: Milliseconds | None = Field(
        default=None, description="CPU time of a cycle, at most the deadline; null is not judged"
    )
    limit: LimitConfig | None = Field(default=None, description="the (m, k) limit; null is none")
    max_share: MaxShareConfig = Field(
        default_factory=MaxShareConfig,
        description="what may come to nothing in any 10 s: more is a failure, and exit code 1",
    )
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
    inputs: dict[Name, Annotated[InputSection, INPUTS]] = Field(
        default={}, description="input names and their sources"
    )
    only_policy: PolicyConfig | None = Field(
        alias="policy", default=None, description="the ONNX policy between inputs and outputs"
    )
    policies: dict[Name, PolicyConfig] = Field(
        default={}, description="several such sections in its place, of which `switch` selects one"
    )
    switch: SwitchConfig | None = Field(
        default=None, description="which of several policies acts; null is of one"
    )
    outputs: dict[Name, Annotated[OutputSection, OUTPUTS]] = Field(
        default={}, description="output names and their sinks"
    )
    realtime: RealtimeConfig = Field(
        default_factory=RealtimeConfig, description="what the thread asks of Linux"
    )
    ring_seconds: int = Field(
        default=60, ge=60, le=86_400, description="how much of the loop the ring holds, 60 at least"
    )

    @model_validator(mode="after")
    def _bind_policy(self) -> LoopConfig:
        for _, policy in self.every_policy.values():
            policy.bind(self.inputs, self.outputs)
        return self

    def bind(self, loops: Mapping[str, LoopConfig]) -> None:
        """Tells its inputs, and then its policy, of all loops of the file."""
        for source in self.inputs.values():
            source.bind(loops)
        if any(source.read_output for source in self.inputs.values()):
            for _, policy in self.every_policy.values():
                policy.bind(self.inputs, self.outputs)

    @property
    def every_policy(self) -> dict[str, tuple[Keys, PolicyConfig]]:
        """All of its policies by name, "" the only one: where it stands in this section, and it."""
        if self.only_policy is not None:
            return {"": (("policy",), self.only_policy)}
        return {name: (("policies", name), policy) for name, policy in self.policies.items()}

    @property
    def policy(self) -> PolicyConfig:
        """That of a loop with one. Of several, each has a configuration of its own: ``Config.each_policy``."""
        if self.only_policy is None:
            raise ValueError(f"several policies: {', '.join(self.policies)}")
        return self.only_policy

    def with_policy(self, policy: PolicyConfig) -> LoopConfig:
        """The same, with another policy, and no others."""
        return self.with_values(only_policy=policy, policies={}, switch=None)

    @property
    def is_paced(self) -> bool:
        """Whether exactly one key says how often it runs; a loop that broke no rule is."""
        return (self.rate_hz is None) != (self.period_ms is None)

    @property
    def period_ns(self) -> int:
        """The period, rounded to a whole nanosecond: 30 Hz is 33_333_333 ns."""
        if self.period_ms is not None:
            return nanoseconds(self.period_ms)
        if self.rate_hz is None:
            raise ValueError("found neither rate_hz nor period_ms; expected exactly one")
        return round(1_000_000_000 / Fraction(self.rate_hz))

    @property
    def period_s(self) -> Fraction:
        """The nominal period, exactly as it was written."""
        if self.period_ms is not None:
            return Fraction(repr(self.period_ms)) / 1000
        return 1 / Fraction(repr(self.rate_hz))

    @property
    def policy_period_s(self) -> Fraction:
        """The nominal time between two runs of the policy."""
        return self.period_s * self.policy.every

    @property
    def nominal_rate_hz(self) -> float:
        """The rate of the rounded period."""
        return 1e9 / self.period_ns

    @property
    def rates(self) -> str:
        """For people: how often it runs, its policy where that is another rate, and what paces it."""
        told = [f"{self.nominal_rate_hz:g} Hz"]
        if self.clock is not None:
            told.append(self.clock.told())
        for name, (_, policy) in self.every_policy.items():
            if policy.every > 1:
                rate_hz = self.nominal_rate_hz / policy.every
                told.append(f"{name or 'the policy'} {rate_hz:g} Hz")
        return ", ".join(told)

    @property
    def deadline_ns(self) -> int:
        """The relative deadline; the period where none is given."""
        return self.period_ns if self.deadline_ms is None else nanoseconds(self.deadline_ms)

    @property
    def is_on_a_grid(self) -> bool:
        """Whether its releases follow from the first one."""
        return self.clock is None

    @property
    def longest_gap_ns(self) -> int:
        """Between two commands, while it loses none: of one that is paced by an input, its time-out."""
        return self.period_ns if self.clock is None else self.clock.timeout_ns

    def timeout_of_ns(self, name: str) -> int | None:
        """How long it waits for a sample of an input that paces it; None of any other."""
        paces = self.clock is not None and self.clock.input == name
        return self.clock.timeout_ns if self.clock is not None and paces else None

    @property
    def catch_up(self) -> int:
        """How many releases late it may run a cycle, by its ``on_overrun``."""
        return self.max_catch_up if self.on_overrun == "catch_up" else 0

    @property
    def budget_ns(self) -> int | None:
        return None if self.budget_ms is None else nanoseconds(self.budget_ms)

    @property
    def share_limits(self) -> dict[str, float]:
        """Every limit of ``max_share``, 0 to 1, by name: as given, or what follows from class and limit."""
        limits = default_limits(self.loop_class)
        if self.limit is not None and self.loop_class != "hard":
            judged = window_releases(self.period_ns)
            allowed = self.limit.max_misses * -(-judged // self.limit.window) / judged
            limits |= {name: max(limits[name], min(1.0, allowed)) for name in LOST_JOBS}
        return limits | self.max_share.model_dump(exclude_none=True)

    @property
    def ring_cycles(self) -> int:
        """Cycles in ``ring_seconds``, rounded up."""
        return -(-self.ring_seconds * 1_000_000_000 // self.period_ns)

    @property
    def sources(self) -> tuple[str, ...]:
        """What each record has an age of: the inputs, and what a Python function answers."""
        answers = any(policy.python is not None for _, policy in self.every_policy.values())
        return (*self.inputs, *([ANSWER] if answers else []))

    @property
    def port_sections(self) -> tuple[PortSection, ...]:
        """All inputs, then all outputs, in the order of the file."""
        return (*self.inputs.values(), *self.outputs.values())

    @staticmethod
    def pace_keys(here: Keys) -> tuple[Keys, Keys]:
        """The keys that the period rests on, for a loop at ``here``."""
        return (*here, "rate_hz"), (*here, "period_ms")

    def rules(self, here: Keys) -> Iterator[Problem]:
        yield from self._pace_rules(here)
        yield from self._clock_rules(here)
        yield from self._class_rules(here)
        if self.limit is not None and self.loop_class != "hard":
            yield from self.limit.rules((*here, "limit"))
        yield from self.realtime.rules((*here, "realtime"))
        yield from self._policy_rules(here)

    def _pace_rules(self, here: Keys) -> Iterator[Problem]:
        rate, period = self.pace_keys(here)
        if self.rate_hz is not None and self.period_ms is not None:
            expected, found = "exactly one of the two", "both rate_hz and period_ms"
            yield Problem(period, expected, found, judged=(rate,), at_key=True)
            return
        if self.rate_hz is None and self.period_ms is None:
            expected = "exactly one of the two, for example rate_hz: 1000"
            found = "neither rate_hz nor period_ms"
            yield Problem(here, expected, found, judged=(rate, period), at_key=True)
            return
        deadline = (*here, "deadline_ms")
        if self.deadline_ns > self.period_ns:
            expected = f"at most the period, {milliseconds(self.period_ns)} ms"
            yield Problem(deadline, expected, judged=(rate, period))
            return
        if self.budget_ns is not None and self.budget_ns > self.deadline_ns:
            expected = f"at most the deadline, {milliseconds(self.deadline_ns)} ms"
            yield Problem((*here, "budget_ms"), expected, judged=(rate, period, deadline))
        room_ns = core.output_lead_ns(self.period_ns, self.period_ns)
        if self.output == "at_deadline" and self.deadline_ns + room_ns > self.period_ns:
            most = milliseconds(self.period_ns - room_ns)
            expected = (
                f"a deadline_ms of at most {most} with output: at_deadline (a command that leaves at the "
                "end of the period leaves no time to start the next cycle)"
            )
            judged = (rate, period, (*here, "output"), deadline)
            if self.deadline_ms is not None:
                yield Problem(deadline, expected, judged=judged)
            else:
                yield Problem(judged[2], expected, "no deadline_ms", judged=judged)

    def _clock_rules(self, here: Keys) -> Iterator[Problem]:
        if self.clock is None:
            return
        rate, period = self.pace_keys(here)
        pace = rate if self.period_ms is None else period
        clock, period_ns = (*here, "clock"), self.period_ns if self.is_paced else None
        yield from self.clock.rules(clock, self.inputs, period_ns, pace)
        if self.on_overrun != "skip":
            expected = (
                "skip with clock: of what came while a cycle ran the newest releases the next one"
            )
            yield Problem((*here, "on_overrun"), expected, judged=(clock,))

    def _policy_rules(self, here: Keys) -> Iterator[Problem]:
        one, several, switch = ((*here, key) for key in ("policy", "policies", "switch"))
        if self.only_policy is None and not self.policies:
            expected = (
                "this required key (the ONNX policy between inputs and outputs), or `policies` with a "
                "`switch` between them"
            )
            yield Problem(one, expected, judged=(several,))
        elif self.only_policy is not None and self.policies:
            expected = "either `policy`, or `policies` with a `switch` between them"
            yield Problem(several, expected, "both", judged=(one,), at_key=True)
        elif len(self.policies) == 1:
            expected = "two policies or more, or `policy`, which needs no `switch`"
            yield Problem(several, expected, "one", at_key=True)
        elif self.only_policy is not None and self.switch is not None:
            yield Problem(switch, "`policies` beside it: one has nothing to switch to", at_key=True)
        elif self.policies and self.switch is None:
            expected = "`switch` beside them: {input: …, blend_s: …}"
            yield Problem(several, expected, "no switch", judged=(switch,), at_key=True)
        elif self.switch is not None:
            yield from self.switch.rules(switch, self.inputs, list(self.policies))

    def _function_rules(self, here: Keys) -> Iterator[Problem]:
        for keys, policy in self.every_policy.values():
            if policy.python is None:
                continue
            if len(keys) > 1:
                expected = "a model: of several policies none may be a Python function"
                yield Problem((*here, *keys, "python"), expected)
                return
            break
        else:
            return
        if self.loop_class == "hard":
            expected = (
                "a model in a hard loop, or class: firm or soft: a Python function waits for the interpreter "
                "(the GIL), which any other Python thread may keep for 5 ms and more. Export it as `model`"
            )
            judged = ((*here, "class"),)
            yield Problem((*here, "policy", "python"), expected, judged=judged)
        if ANSWER in self.inputs:
            expected = "another name: this one is that of what the Python function answers"
            yield Problem((*here, "inputs", ANSWER), expected, at_key=True)

    def _class_rules(self, here: Keys) -> Iterator[Problem]:
        judged = ((*here, "class"),)
        yield from self._function_rules(here)
        if self.loop_class != "firm" and "on_miss" in self.model_fields_set:
            expected = {
                "hard": "no on_miss in a hard loop: a miss sends the safe command and latches FAULT",
                "soft": "no on_miss in a soft loop: a late result is written late",
            }[self.loop_class]
            yield Problem((*here, "on_miss"), expected, judged=judged)
        if self.on_overrun != "catch_up" and "max_catch_up" in self.model_fields_set:
            expected = (
                f"no max_catch_up with on_overrun: {self.on_overrun}, or on_overrun: catch_up"
            )
            yield Problem((*here, "max_catch_up"), expected, judged=((*here, "on_overrun"),))
        reason = "the first miss of a hard loop is a failure"
        for key in ("missed", "skipped"):
            if self.loop_class == "hard" and getattr(self.max_share, key):
                yield Problem((*here, "max_share", key), f"0: {reason}", judged=judged)
        if self.loop_class == "hard" and self.limit is not None:
            if self.limit.max_misses != 0:
                yield Problem((*here, "limit", "max_misses"), f"0: {reason}", judged=judged)
            for key in ("window", "max_consecutive", "on_broken"):
                if key in self.limit.model_fields_set:
                    keys = (*here, "limit", key)
                    yield Problem(keys, f"no {key}: {reason}", judged=judged, at_key=True)
