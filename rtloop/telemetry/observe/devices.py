"""What the ports of a loop reported beside its samples: counted as it runs, and what it came to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np

from rtloop import core
from rtloop.telemetry.observe import records as rec
from rtloop.telemetry.observe.device_account import DeviceAccount
from rtloop.telemetry.observe.records import PortEvents

_CLOCK = core.PORT_EVENTS["clock"]
_CLOCK_FIELDS = ("time_ns", "clock_offset_ns", "clock_error_ns", "clock_skew_ppb")
_GONE = tuple(core.PORT_EVENTS[name] for name in ("lost", "reconnecting", "gave_up"))
_NOT_ARMED = core.PORT_EVENTS["not_armed"]
_LATE_COMMAND = core.PORT_EVENTS["late_command"]
_DEADLINE_MISS = core.PORT_EVENTS["deadline_miss"]
_HARD = core.CLASSES["hard"]


@dataclass(frozen=True, kw_only=True)
class DeviceSummary:
    """What one port of a loop reported of its device, since the loop's activation.

    The fields are the keys of the ``--json`` summary. None: it never said.
    """

    events: Mapping[str, int]
    """By kind, those included that a device counted and did not send."""
    refused_lateness_max_us: int | None = None
    """How late the latest was of the refused commands that were told of, after its valid-until."""
    clock_offset_ns: int | None = None
    """Device clock - CLOCK_MONOTONIC, as it was in use last."""
    clock_error_ns: int | None = None
    """The bound of that offset's error."""
    clock_error_max_ns: int | None = None
    """The largest bound of the activation."""
    clock_skew_ppb: int | None = None
    """How much faster the device's clock runs; None also until that is measured, which takes 20 s."""
    clock_contradictions: int | None = None
    """Packets whose times cannot be true if that bound, and the drift that it allows for, are."""
    is_lost: bool = False
    """It was lost, and has not come back since."""
    is_unarmed: bool = False
    """It came back, and was not armed again (``rearm: never``)."""
    missed_lateness_max_us: int | None = None
    """How late the latest was of the jobs of the device's own loop that were told of."""
    hard_misses: int = 0
    """Jobs of its own loop that it told of as missed, calling that loop hard."""
    account: DeviceAccount | None = None
    """What the device said at the end, or last; None: it does not account for itself, or could not be asked."""

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        told = {field.name: getattr(self, field.name) for field in fields(self)}
        account = None if self.account is None else self.account.as_dict()
        return {**told, "events": dict(self.events), "account": account}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> DeviceSummary:
        """The inverse of ``as_dict``, also of a newer version. Raises TypeError, ValueError."""
        known = {f.name: raw[f.name] for f in fields(cls) if f.name in raw}
        events = {str(name): int(n) for name, n in dict(known.pop("events", {})).items()}
        said = known.pop("account", None)
        account = None if said is None else DeviceAccount.from_dict(said)
        is_lost, is_unarmed = (bool(known.pop(name, False)) for name in ("is_lost", "is_unarmed"))
        hard_misses = int(known.pop("hard_misses", 0))
        numbers: dict[str, Any] = {name: None if n is None else int(n) for name, n in known.items()}
        return cls(
            events=events,
            is_lost=is_lost,
            is_unarmed=is_unarmed,
            hard_misses=hard_misses,
            account=account,
            **numbers,
        )

    @property
    def clock_doubt(self) -> str:
        """That the bound of its clock's error does not hold, in words; empty where nothing says so."""
        if not self.clock_contradictions:
            return ""
        times = "contradiction" if self.clock_contradictions == 1 else "contradictions"
        return (
            f"{self.clock_contradictions} {times}. The device's clock was set, or runs wrong by more than "
            "100 ppm: no age of its samples is sure"
        )

    @property
    def failures(self) -> Iterator[str]:
        """What its own loop did that none of its class may do, in words: as it accounts for it in the end, and
        as it told of it before."""
        accounted = () if self.account is None else tuple(self.account.failures)
        yield from accounted
        if self.hard_misses and not accounted:
            yield (
                f"it told of {self.hard_misses} missed deadlines of its own loop, and accounts for none in the "
                "end: a hard loop may miss none"
            )


class DeviceStatistics:
    """Counts the port events of one loop, updated with whole batches in any order."""

    def __init__(self, ports: Iterable[str] = ()) -> None:
        """``ports``: their names, by the index that events have."""
        self._names = tuple(ports)
        self._ports: dict[int, _Port] = {}
        self._seen = 0
        self.highest = -1
        """The largest number of an event that was seen."""
        self.accounts: dict[str, DeviceAccount] = {}
        """What devices said last, by port."""

    @classmethod
    def resumed(cls, ports: Iterable[str], so_far: Mapping[str, Any] | None) -> DeviceStatistics:
        """Goes on where another observer's ``so_far`` ended; None: it saw nothing.

        Raises ValueError, KeyError, TypeError for what is not that.
        """
        result = cls(ports)
        if so_far is not None:
            result._seen, result.highest = int(so_far["seen"]), int(so_far["highest"])
            for index, said in dict(so_far["ports"]).items():
                result._ports[int(index)] = _Port.resumed(said)
        return result

    def so_far(self) -> dict[str, Any]:
        """What ``resumed`` goes on from, for JSON."""
        ports = {str(index): port.so_far() for index, port in self._ports.items()}
        return {"seen": self._seen, "highest": self.highest, "ports": ports}

    def begin_after(self, so_far: Mapping[str, Any] | None) -> None:
        """What another observer had seen, or lost, is not lost to this one."""
        if so_far is not None:
            self._seen += int(so_far["highest"]) + 1
            self.highest = max(self.highest, int(so_far["highest"]))

    def update(self, events: PortEvents) -> None:
        """Count events, structured [n]."""
        if len(events) == 0:
            return
        self._seen += len(events)
        self.highest = max(self.highest, int(events["number"].max()))
        for index in np.unique(events["port"]).tolist():
            self._ports.setdefault(index, _Port()).update(events[events["port"] == index])

    def lost(self, reported: int = 0) -> int:
        """Events that this observer did not get to see, of so many that the ports reported."""
        return max(reported, self.highest + 1) - self._seen

    def summary(self) -> dict[str, DeviceSummary]:
        """By port; those that reported nothing are left out."""
        told = {self.name(index): port.summary() for index, port in sorted(self._ports.items())}
        for name, account in self.accounts.items():
            told[name] = replace(told.get(name, DeviceSummary(events={})), account=account)
        return told

    def name(self, index: int) -> str:
        """The name of a port."""
        return self._names[index] if index < len(self._names) else f"port_{index}"


class _Port:
    def __init__(self) -> None:
        self.counts: dict[int, int] = {}
        self.totals: dict[int, dict[int, int]] = {}
        """By kind, and by the number that the device gives it."""
        self.newest: dict[int, int] = {}
        """The largest number of an event, by kind."""
        self.worst_us: int | None = None
        self.missed_by_us: int | None = None
        self.hard_misses = 0
        self.clock: dict[str, int] | None = None
        """The newest estimate."""
        self.clock_error_max_ns = 0
        self.clock_contradictions = 0
        """Up to the line before the one that ``clock_contradicted`` counts for."""
        self.clock_contradicted = 0

    @classmethod
    def resumed(cls, said: Mapping[str, Any]) -> _Port:
        port, clock, worst_us = cls(), said["clock"], said["worst_us"]
        port.counts = {int(kind): int(n) for kind, n in dict(said["counts"]).items()}
        port.totals = {
            int(kind): {int(sent_as): int(n) for sent_as, n in dict(totals).items()}
            for kind, totals in dict(said["totals"]).items()
        }
        port.newest = {int(kind): int(n) for kind, n in dict(said.get("newest", {})).items()}
        port.worst_us = None if worst_us is None else int(worst_us)
        missed_by_us = said.get("missed_by_us")
        port.missed_by_us = None if missed_by_us is None else int(missed_by_us)
        port.hard_misses = int(said.get("hard_misses", 0))
        port.clock = None if clock is None else {name: int(clock[name]) for name in _CLOCK_FIELDS}
        port.clock_error_max_ns = int(said["clock_error_max_ns"])
        port.clock_contradictions = int(said["clock_contradictions"])
        port.clock_contradicted = int(said["clock_contradicted"])
        return port

    def so_far(self) -> dict[str, Any]:
        return dict(vars(self))

    def update(self, events: PortEvents) -> None:
        for kind in np.unique(events["kind"]).tolist():
            of_kind = events[events["kind"] == kind]
            for sent_as in np.unique(of_kind["device_event"]).tolist():
                self._count(kind, sent_as, of_kind[of_kind["device_event"] == sent_as])
            self.newest[kind] = max(self.newest.get(kind, -1), int(of_kind["number"].max()))
            if kind == _CLOCK:
                newest = of_kind[np.argmax(of_kind["time_ns"])]
                self._count_contradictions(of_kind)
                if self.clock is None or newest["time_ns"] > self.clock["time_ns"]:
                    self.clock = {name: int(newest[name]) for name in _CLOCK_FIELDS}
                self.clock_error_max_ns = max(
                    self.clock_error_max_ns, int(of_kind["clock_error_ns"].max())
                )
            elif kind == _LATE_COMMAND:
                worst_us = int(of_kind["lateness_us"].max())
                self.worst_us = worst_us if self.worst_us is None else max(self.worst_us, worst_us)
            elif kind == _DEADLINE_MISS:
                self.missed_by_us = max(self.missed_by_us or 0, int(of_kind["lateness_us"].max()))
                self.hard_misses += int((of_kind["loop_class"] == _HARD).sum())

    def _count(self, kind: int, sent_as: int, events: PortEvents) -> None:
        """A device sends the newest of several events, with their total since it booted: each of the kinds
        that it knows has its own, also where they are one to us."""
        totals = events["total"].astype(np.int64)
        before = self.totals.setdefault(kind, {})
        steps = np.diff(totals, prepend=before.get(sent_as, totals[0]))
        # Less than before is a device that booted anew; zero is no device's event.
        steps[steps <= 0] = 1
        before[sent_as] = int(totals[-1])
        self.counts[kind] = self.counts.get(kind, 0) + int(steps.sum())

    def _count_contradictions(self, clock: PortEvents) -> None:
        """They are told as so many on one line; on the next one they begin at 0."""
        told = np.concatenate(([self.clock_contradicted], clock["total"].astype(np.int64)))
        self.clock_contradictions += int(told[:-1][np.diff(told) < 0].sum())
        self.clock_contradicted = int(told[-1])

    def _is_lost(self) -> bool:
        """Whatever else is told of a device tells that it is back, also where that event was lost."""
        gone = max(self.newest.get(kind, -1) for kind in _GONE)
        return gone > max((n for kind, n in self.newest.items() if kind not in _GONE), default=-1)

    def summary(self) -> DeviceSummary:
        is_lost = self._is_lost()
        clock: Mapping[str, int | None] = self.clock or dict.fromkeys(_CLOCK_FIELDS)
        return DeviceSummary(
            events={
                rec.name_of(rec.PORT_EVENT_NAMES, kind): n
                for kind, n in sorted(self.counts.items())
                if kind != _CLOCK
            },
            refused_lateness_max_us=self.worst_us,
            missed_lateness_max_us=self.missed_by_us,
            hard_misses=self.hard_misses,
            clock_offset_ns=clock["clock_offset_ns"],
            clock_error_ns=clock["clock_error_ns"],
            clock_error_max_ns=None if self.clock is None else self.clock_error_max_ns,
            clock_skew_ppb=clock["clock_skew_ppb"] or None,  # 0: not measured yet
            clock_contradictions=(
                None if self.clock is None else self.clock_contradictions + self.clock_contradicted
            ),
            is_lost=is_lost,
            is_unarmed=_NOT_ARMED in self.newest and not is_lost,
        )
