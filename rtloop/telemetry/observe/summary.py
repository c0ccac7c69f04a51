"""What a loop, and a run of several, came to: the ``--json`` interface of docs/recording.md, typed."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rtloop.errors import RecordingError
from rtloop.realtime.rights import RightReport, denied
from rtloop.telemetry.observe.devices import DeviceSummary
from rtloop.telemetry.observe.link_packets import LinkPackets
from rtloop.telemetry.observe.shares import (
    NAMES,
    Share,
    Whole,
    default_limits,
    shares_of,
    window_s,
)
from rtloop.telemetry.observe.shown import in_words, table
from rtloop.telemetry.observe.switches import PolicySwitch
from rtloop.telemetry.observe.words import explain, find


@dataclass(frozen=True)
class Percentiles:
    """Percentiles of ``n`` durations, µs, rounded up by at most 1/1024; ``max`` is exact. None without any."""

    p50: float | None = None
    p99: float | None = None
    p99_9: float | None = None
    max: float | None = None
    n: int = 0


@dataclass(frozen=True, kw_only=True, repr=False)
class LoopSummary:
    """One loop, since its activation. docs/recording.md says what each field counts.

    The fields are the keys of the interface, in its order (``loop_class`` is the key ``class``). A field
    with a default is missing in recordings of an older version, or was not known to the observer.
    """

    loop_class: str
    period_ms: float
    deadline_ms: float
    elapsed_periods: int
    executed: int
    skipped: int
    misses: int
    outcomes: Mapping[str, int]
    rate_hz: float | None
    records_lost: int
    release_latency_us: Percentiles
    response_us: Percentiles
    infer_us: Percentiles
    lateness_us: Percentiles
    causes: Mapping[str, int] = field(default_factory=dict)
    """Misses by their longest stage."""
    stale_inputs: int = 0
    budget_overruns: int = 0
    limit_broken: int = 0
    unfinished: int = 0
    max_consecutive_misses: int = 0
    events: Mapping[str, int] = field(default_factory=dict)
    device_late_commands: int = 0
    state: str | None = None
    fault_reason: str = "none"
    held_late: int = 0
    """Commands held because the result of a firm loop came too late."""
    held_stale: int = 0
    """Commands held because an input was stale."""
    slipped_periods: int = 0
    """Releases that never were, because ``on_overrun: slip`` moved the grid; whole periods."""
    max_share: Mapping[str, float] = field(default_factory=dict)
    """Limits of the shares by name, 0 to 1; the defaults of the class for those that are missing."""
    devices: Mapping[str, DeviceSummary] = field(default_factory=dict)
    """By port, of those that reported anything."""
    port_events_lost: int = 0
    """Of what ports reported: nobody could keep them. Totals that came later count them in ``devices``."""
    worst_shares: Mapping[str, float] = field(default_factory=dict)
    """The largest share in any window of the run by name, 0 to 1; empty of a run shorter than one."""
    switches: tuple[PolicySwitch, ...] = ()
    """When another policy took over, the newest 100; ``events`` has the number of all."""

    def __post_init__(self) -> None:
        limits = {**default_limits(self.loop_class), **self.max_share}
        object.__setattr__(self, "max_share", limits)
        for name in ("outcomes", "causes", "events", "max_share", "worst_shares", "devices"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __repr__(self) -> str:
        return f"<LoopSummary {in_words(self)}>"

    def _repr_html_(self) -> str:
        return table({"": self})

    @property
    def shares(self) -> tuple[Share, ...]:
        """What came to nothing, of all that could have: of the whole run, or of its worst window where only
        this is over the limit."""
        length_s = window_s(round(self.period_ms * 1e6))
        worst = (
            replace(share, value=self.worst_shares.get(share.name, 0.0), window_s=length_s)
            for share in self._shares_of_the_run()
        )
        return tuple(
            in_window if in_window.is_over and not share.is_over else share
            for share, in_window in zip(self._shares_of_the_run(), worst, strict=True)
        )

    def _shares_of_the_run(self) -> tuple[Share, ...]:
        """Of the records that were seen, where only these tell."""
        counts = {
            "missed": self.misses,
            "skipped": self.skipped + self.slipped_periods,
            "stale": self.stale_inputs,
            "held": self.outcomes.get("held", 0),
            "clamped": self.events.get("clamped", 0),
            "dropped": self.outcomes.get("dropped", 0),
            "refused": self.device_late_commands,
        }
        seen = max(0, self.executed - self.records_lost)
        whole = Whole(self.elapsed_periods + self.slipped_periods, self.executed, seen)
        return tuple(shares_of(counts, whole, self.max_share))

    @property
    def too_much(self) -> tuple[Share, ...]:
        """The shares over their limits; but for the misses of a hard loop, each of which is a failure."""
        of_hard = {"missed"} if self.loop_class == "hard" else set()
        return tuple(s for s in self.shares if s.is_over and s.name not in of_hard)

    @property
    def failures(self) -> tuple[str, ...]:
        """Why the plant was not controlled as the loop's class and its limits promise, in words.

        Empty when it was: this is the judgement of console, exit code, report and diagnostics.
        """
        if self.executed == 0:
            return ("no cycle was executed",)
        found = []
        if self.fault_reason != "none":
            word = find("fault_reasons", self.fault_reason)
            found.append(f"FAULT: {self.fault_reason if word is None else explain(word)}")
        if self.loop_class == "hard" and self.misses:
            found.append(
                f"{_plural(self.misses, 'deadline miss', 'es')}: a hard loop may miss none"
            )
        elif self.limit_broken and self.fault_reason != "limit_broken":
            found.append(f"its limit of lost jobs was broken {_plural(self.limit_broken, 'time')}")
        why = {"held": f": {self.held_late} late results, {self.held_stale} stale inputs"}
        if self.slipped_periods:
            slipped = f"{self.slipped_periods} slipped away (on_overrun: slip)"
            why["skipped"] = f": {self.skipped} skipped, {slipped}"
        for share in self.too_much:
            found.append(f"{share}{why.get(share.name, '')}")
        return (*found, *self.device_failures, *self.absences)

    @property
    def device_failures(self) -> Iterator[str]:
        """What devices say of their own loops that no loop of that class may do."""
        for port, device in self.devices.items():
            yield from (f"'{port}': {failure}" for failure in device.failures)

    @property
    def absences(self) -> Iterator[str]:
        """The devices that were without the loop in the end, though their loss was no fault."""
        for port, device in self.devices.items():
            if device.is_lost and self.fault_reason != "port_error":
                yield f"'{port}' was lost, and has not come back"
            elif device.is_unarmed:
                yield f"'{port}' was lost, came back and was not armed again (rearm: never)"

    def as_dict(self) -> dict[str, Any]:
        """The loop's part of the ``--json`` summary."""
        told = {_key(f.name): _plain(getattr(self, f.name)) for f in fields(self)}
        del told["max_share"], told["worst_shares"]
        told["shares"] = {
            share.name: {
                "share": share.value,
                "worst": self.worst_shares.get(share.name),
                "limit": share.limit,
                "is_over": judged.is_over,
            }
            for share, judged in zip(self._shares_of_the_run(), self.shares, strict=True)
        }
        return {**told, "failures": list(self.failures)}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> "LoopSummary":
        """The inverse of ``as_dict``, also for what an older version wrote. Raises RecordingError."""
        given = {f.name: raw[_key(f.name)] for f in fields(cls) if _key(f.name) in raw}
        try:
            for name in ("release_latency_us", "response_us", "infer_us", "lateness_us"):
                given[name] = Percentiles(**given[name])
            shares = raw.get("shares", {})
            said = {name: shares[name] for name in NAMES if name in shares}
            given["max_share"] = {name: float(share["limit"]) for name, share in said.items()}
            given["worst_shares"] = {
                name: float(share["worst"])
                for name, share in said.items()
                if share["worst"] is not None
            }
            given["devices"] = {
                str(port): DeviceSummary.from_dict(told)
                for port, told in dict(raw.get("devices") or {}).items()
            }
            given["switches"] = tuple(map(PolicySwitch.from_dict, raw.get("switches", ())))
            return cls(**given)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise RecordingError(f"the summary of a loop is not readable: {error!r}") from None


@dataclass(frozen=True, kw_only=True)
class PortLosses:
    """A port of a loop that was lost, and opened anew while the loop went on (``on_lost: reconnect``)."""

    loop: str
    port: str
    hardware_id: str
    """The path of its device; empty where there is none."""
    losses: int
    """How often it was lost."""
    reconnections: int
    """How often it came back."""
    lost_ms: float
    """How long in all."""
    is_armed: bool = True
    """False: it came back, and gets no command any more (``rearm: never``)."""

    @property
    def is_lost(self) -> bool:
        """It has not come back, so far or until the end."""
        return self.reconnections < self.losses

    def __str__(self) -> str:
        times = "once" if self.losses == 1 else f"{self.losses} times"
        unarmed = "" if self.is_armed else ", not armed (rearm: never): it gets no command"
        end = "has not come back" if self.is_lost else f"came back{unarmed}"
        return (
            f"loop '{self.loop}': '{self.port}' ({self.hardware_id}) was lost {times}, for "
            f"{self.lost_ms / 1e3:.1f} s in all, and {end}"
        )


@dataclass(frozen=True)
class FunctionTimes:
    """What the calls of the Python function of a policy took."""

    function: str
    """As ``MODULE:NAME``."""
    wake_us: Percentiles
    """From the observation to the call: its thread woke up, and had the interpreter (the GIL) to itself."""
    call_us: Percentiles
    """The function itself."""

    def __str__(self) -> str:
        return (
            f"'{self.function}' was entered {_spread(self.wake_us)} after the observation (wake-up and GIL), "
            f"and took {_spread(self.call_us)} (p50, p99, high water; {self.call_us.n} calls)"
        )


@dataclass(frozen=True, kw_only=True, repr=False)
class RunSummary:
    """One activation of all loops of a configuration, and what it left behind."""

    loops: Mapping[str, LoopSummary]
    rights: tuple[RightReport, ...]
    recording: Path | None = None
    report: Path | None = None
    stopped_by: str = "stop"
    started: bool = True
    """Whether the loops began; False where a stop was asked for before."""
    problems: tuple[str, ...] = ()
    """What went wrong, in sentences."""
    losses: tuple[PortLosses, ...] = ()
    """The ports that were lost while their loops went on."""
    packets: tuple[LinkPackets, ...] = ()
    """What became of the packets of each link."""
    functions: Mapping[str, FunctionTimes] = field(default_factory=dict)
    """The Python functions of policies, by loop."""
    devices: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What the simulated devices of a demo say about themselves, by link."""

    def __post_init__(self) -> None:
        for name in ("loops", "devices", "functions"):
            object.__setattr__(self, name, MappingProxyType(dict(getattr(self, name))))

    def __repr__(self) -> str:
        loops = "; ".join(f"{name}: {in_words(loop)}" for name, loop in self.loops.items())
        problems = f"; {_plural(len(self.problems), 'problem')}" if self.problems else ""
        return f"<RunSummary {loops or 'no loop began'}{problems}>"

    def _repr_html_(self) -> str:
        return table(self.loops, self.problems)

    def as_dict(self) -> dict[str, Any]:
        """What ``--json`` prints."""
        result: dict[str, Any] = {
            "loops": {name: loop.as_dict() for name, loop in self.loops.items()},
            "realtime": {
                "granted": [right.as_dict() for right in self.rights if right.granted],
                "denied": [right.as_dict() for right in denied(self.rights)],
            },
            "recording": None if self.recording is None else str(self.recording),
            "report": None if self.report is None else str(self.report),
            "stopped_by": self.stopped_by,
            "started": self.started,
            "problems": list(self.problems),
            "losses": [asdict(losses) for losses in self.losses],
            "packets": [asdict(packets) for packets in self.packets],
        }
        if self.functions:
            result["functions"] = {name: asdict(times) for name, times in self.functions.items()}
        if self.devices:
            result["devices"] = {name: dict(told) for name, told in self.devices.items()}
        return result


def _spread(p: Percentiles) -> str:
    if p.p50 is None or p.p99 is None or p.max is None:
        return "–"
    return f"{p.p50:.4g}, {p.p99:.4g}, {p.max:.4g} µs"


def _plural(n: int, what: str, ending: str = "s") -> str:
    return f"{n} {what}{'' if n == 1 else ending}"


def _key(name: str) -> str:
    return "class" if name == "loop_class" else name


def _plain(value: Any) -> Any:
    if isinstance(value, Percentiles):
        return asdict(value)
    if isinstance(value, Mapping):
        return {
            name: one.as_dict() if isinstance(one, DeviceSummary) else one
            for name, one in value.items()
        }
    if isinstance(value, tuple):
        return [switch.as_dict() for switch in value]
    return value
