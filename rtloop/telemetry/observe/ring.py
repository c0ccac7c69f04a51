"""Typed reading of a loop's ring: what every observer of a loop is built on."""

import json
import os
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rtloop import core
from rtloop.errors import RecordingError
from rtloop.ports.signal import Signal
from rtloop.telemetry.observe.device_account import DeviceAccount
from rtloop.telemetry.observe.process_identity import ProcessIdentity
from rtloop.telemetry.observe.records import (
    GUARD,
    INPUT_RECORD_DTYPE,
    MISS,
    PORT_EVENT_DTYPE,
    RECORD_DTYPE,
    UNFINISHED,
    InputRecords,
    PortEvents,
    Records,
    empty_records,
)
from rtloop.telemetry.observe.shares import NAMES
from rtloop.telemetry.private import make_private_directory, user_name

RING_DIRECTORY = Path("/dev/shm/rtloop")
RING_SUFFIX = ".ring"
NO_METADATA = b"{}"
"""In a ring that was made, before it is known what there is to say of its loop."""
_LONGEST_PERIOD_NS = 1 << 53
LOOP_FACTS = (
    *("policy_sha256", "models_sha256", "policy_backends", "policies", "selector"),
    "paced_by",
)
"""Those facts of ``LoopMetadata.run`` that are a loop's own."""


def make_ring_directory(path: Path, group: str | None = None, *, exclusively: bool = False) -> None:
    """Makes the folder for the rings of one run, for the caller (and ``group``) alone.

    Raises RecordingError for somebody else's in its place, and OSError; ``exclusively``
    FileExistsError for anybody's.
    """
    if path.parent == RING_DIRECTORY:
        _make_shared_directory(RING_DIRECTORY)
    make_private_directory(path, group, exclusively=exclusively)


def _make_shared_directory(path: Path) -> None:
    """Like /tmp: every user's runs go in here, and nobody but root, or its one user, removes another's."""
    try:
        path.mkdir()
        path.chmod(0o1777)
    except FileExistsError:
        pass
    found = path.lstat()
    owner = user_name(found.st_uid)
    cure = f"`sudo install -d -m 1777 -o root {quote(str(path))}` makes it as it has to be"
    if not stat.S_ISDIR(found.st_mode):
        raise RecordingError(f"{path} is not a folder: remove it (as {owner} or root)")
    if found.st_uid not in (0, os.geteuid()):
        raise RecordingError(
            f"{path} belongs to {owner}, who may take away what others keep in it: {cure}"
        )
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        raise RecordingError(f"in {path} anybody may remove what is another's: {cure}")
    if not os.access(path, os.W_OK | os.X_OK):
        raise RecordingError(f"{path} belongs to {owner}, and nobody else may write there: {cure}")


class UnpublishedError(RecordingError):
    """A ring that says nothing of its loop yet: its run is just being set up, or died of it."""

    def __init__(self, path: Path, writer: ProcessIdentity) -> None:
        super().__init__(f"ring {path} says nothing of its loop yet (process {writer.pid} made it)")
        self.writer = writer


@dataclass(frozen=True)
class LoopMetadata:
    """What the writer of a ring said about its loop. Times in ns."""

    run_id: str
    loop: str
    loop_class: str
    period_ns: int
    deadline_ns: int
    inputs: tuple[Signal, ...]
    outputs: tuple[Signal, ...]
    sources: tuple[str, ...]
    """Names of the loop's inputs, whose values ``inputs`` are; empty in what version 0.1 wrote."""
    realtime_ns_offset: int
    """CLOCK_REALTIME - CLOCK_MONOTONIC when the loop was set up."""
    run: dict[str, Any] = field(default_factory=dict)
    """Facts about the run, the same in every ring of it but for ``LOOP_FACTS``."""
    max_share: dict[str, float] = field(default_factory=dict)
    """Limits of the loop's shares, 0 to 1, by name; empty in what a version before them wrote."""
    ports: tuple[str, ...] = ()
    """Names of the loop's ports, which its port events count; empty in what older versions wrote."""
    accounts: dict[str, DeviceAccount] = field(default_factory=dict)
    """What devices accounted for themselves, by port, as they said last."""

    @classmethod
    def from_json(cls, text: bytes | str) -> "LoopMetadata":
        """Parse the metadata of a ring; ``RecordingError`` when it is not that."""
        try:
            raw = json.loads(text)
            parsed = cls(
                run_id=str(raw["run_id"]),
                loop=str(raw["loop"]),
                loop_class=str(raw["class"]),
                period_ns=int(raw["period_ns"]),
                deadline_ns=int(raw["deadline_ns"]),
                inputs=_signals(raw["inputs"]),
                outputs=_signals(raw["outputs"]),
                sources=tuple(str(name) for name in raw.get("sources") or ()),
                realtime_ns_offset=int(
                    raw.get("realtime_ns_offset", time.time_ns() - time.monotonic_ns())
                ),
                run=dict(raw.get("run") or {}),
                max_share=_limits(raw.get("max_share") or {}),
                ports=tuple(str(name) for name in raw.get("ports") or ()),
                accounts={
                    str(port): DeviceAccount.from_dict(told)
                    for port, told in dict(raw.get("accounts") or {}).items()
                },
            )
            parsed._check()
        except (
            *(ValueError, KeyError, TypeError, AttributeError),
            *(OverflowError, RecursionError),  # Infinity where a number belongs; [[[[…
        ) as error:
            raise RecordingError(f"the loop's metadata is not readable: {error!r}") from None
        return parsed

    def _check(self) -> None:
        """ValueError for what no loop has, which would be an error of arithmetic somewhere else."""
        self.to_json().encode()  # a lone surrogate has no bytes
        if not self.loop or self.loop_class not in core.CLASSES:
            raise ValueError(f"no loop: {self.loop!r}, {self.loop_class!r}")
        if not 0 < self.deadline_ns <= self.period_ns <= _LONGEST_PERIOD_NS:
            raise ValueError(f"period {self.period_ns}, deadline {self.deadline_ns}")
        if abs(self.realtime_ns_offset) >= 1 << 62:
            raise ValueError(f"realtime_ns_offset {self.realtime_ns_offset}")
        if not all(0.0 <= limit <= 1.0 for limit in self.max_share.values()):
            raise ValueError(f"max_share {self.max_share}")

    def to_json(self, *, with_run: bool = True) -> str:
        """The inverse of ``from_json``; without the run only the loop's own facts are kept."""
        raw: dict[str, Any] = {
            "schema": 1,
            "run_id": self.run_id,
            "loop": self.loop,
            "class": self.loop_class,
            "period_ns": self.period_ns,
            "deadline_ns": self.deadline_ns,
            "inputs": [{"name": s.name, "unit": s.unit} for s in self.inputs],
            "outputs": [{"name": s.name, "unit": s.unit} for s in self.outputs],
            "sources": list(self.sources),
            "ports": list(self.ports),
            "realtime_ns_offset": self.realtime_ns_offset,
            "max_share": self.max_share,
            "run": {k: v for k, v in self.run.items() if with_run or k in LOOP_FACTS},
        }
        if self.accounts:
            raw["accounts"] = {port: told.as_dict() for port, told in self.accounts.items()}
        return json.dumps(raw, ensure_ascii=False)


@dataclass(frozen=True)
class Batch:
    """Consecutive cycles of one loop.

    ``records`` is structured, shape [n]; ``sources`` is structured, shape [n, n_sources]: age, gap
    and events of each input; ``inputs`` float32 [n, n_inputs] and ``outputs`` float32
    [n, n_outputs] are what the cycle read and what stands at the actuators after it. ``lost``
    counts the records that were overwritten before, or among, these.
    """

    records: Records
    sources: InputRecords
    inputs: NDArray[np.float32]
    outputs: NDArray[np.float32]
    lost: int = 0

    def __len__(self) -> int:
        return len(self.records)

    def part(self, begin: int, end: int) -> "Batch":
        """The cycles of a slice; nothing is lost before them."""
        part = slice(begin, end)
        return Batch(self.records[part], self.sources[part], self.inputs[part], self.outputs[part])

    def select(self, keep: NDArray[np.bool_]) -> "Batch":
        """The cycles where ``keep`` (bool [n]) holds; ``lost`` stays."""
        return Batch(
            self.records[keep], self.sources[keep], self.inputs[keep], self.outputs[keep], self.lost
        )


class Ring:
    """A reader of one ring, with its own cursor, starting at the oldest record still held."""

    def __init__(self, path: Path | str) -> None:
        """Map the ring. ``RecordingError`` when it is missing, cut, or not of this version.

        ``UnpublishedError`` when it says nothing of its loop yet.
        """
        self.path = Path(path)
        try:
            self._reader = core.RingReader(str(self.path))
            self.writer = ProcessIdentity(
                int(self._reader.writer_pid), int(self._reader.writer_start_time)
            )
            if self._reader.metadata == NO_METADATA and self._reader.status()["head"] == 0:
                raise UnpublishedError(self.path, self.writer)
            self.metadata = LoopMetadata.from_json(self._reader.metadata)
        except UnpublishedError:
            raise
        except (OSError, ValueError, RuntimeError, RecordingError) as error:
            raise RecordingError(f"cannot read ring {self.path}: {error}") from None
        self.capacity = int(self._reader.capacity)
        self._end: int | None = None
        n_sources = int(self._reader.n_sources)
        n_inputs, n_outputs = int(self._reader.n_inputs), int(self._reader.n_outputs)
        said = tuple(map(len, (self.metadata.sources, self.metadata.inputs, self.metadata.outputs)))
        if said != (n_sources, n_inputs, n_outputs):
            raise RecordingError(
                f"cannot read ring {self.path}: its slots are not what its metadata describes"
            )
        self._slot = np.dtype(
            [
                ("record", RECORD_DTYPE),
                ("sources", INPUT_RECORD_DTYPE, (n_sources,)),
                ("inputs", "<f4", (n_inputs,)),
                ("outputs", "<f4", (n_outputs,)),
            ]
        )

    def accounts(self) -> dict[str, DeviceAccount]:
        """What devices accounted for themselves, by port, as its metadata have it by now."""
        try:
            return LoopMetadata.from_json(self._reader.metadata).accounts
        except (ValueError, RecordingError):
            return {}

    @property
    def position(self) -> int:
        """Records read or lost so far, counted from the first that was ever written."""
        return int(self._reader.position)

    def seek(self, position: int) -> None:
        """Continue at a record's number; what is overwritten by then counts as lost."""
        self._reader.seek(position)

    def read(self, max_records: int = 8192) -> Batch:
        """The next records, oldest first; an empty batch when there are none. Never waits."""
        raw, lost = self._reader.read(max_records)
        slots = np.ascontiguousarray(raw).view(self._slot).reshape(len(raw))
        return Batch(
            slots["record"], slots["sources"], slots["inputs"], slots["outputs"], int(lost)
        )

    def read_events(self, max_events: int = 4096) -> PortEvents:
        """The next events of its ports, oldest first, as :meth:`read` reads cycles.

        Their numbers say how many are missing: whatever was lost has one, too.
        """
        raw, _ = self._reader.events.read(max_events)
        events: PortEvents = np.ascontiguousarray(raw).view(PORT_EVENT_DTYPE).ravel()
        return events

    def held_events(self) -> PortEvents:
        """All port events that the ring still holds, oldest first."""
        self._reader.events.seek(0)
        return self.read_events(1 << 32)

    def status(self) -> dict[str, Any]:
        """The live state of the loop: state, fault_reason, head, executed, skipped, misses, …"""
        status = dict(self._reader.status())
        return status if self._end is None else {**status, "head": self._end}

    def settle(self) -> bool:
        """Of a ring whose writer is dead: counts its records by its slots, and believes these.

        What its writer counted may be damaged, and then hides records or invents them. Returns
        whether the two agreed.
        """
        counted = int(self.status()["head"])
        self._end = _end_of(self._reader.sequences().view("<u8").ravel())
        self._reader.end_at(self._end)
        events = self._reader.events
        events.end_at(_end_of(events.sequences().view("<u8").ravel()))
        # A writer killed between the two has written one more than it had counted.
        return counted in (self._end, self._end - 1)

    def backlog(self) -> int:
        """Records that were written and not yet read."""
        return max(0, int(self.status()["head"]) - self.position)

    def finished(self) -> bool:
        """True when nothing more will be written: read what is left, then stop."""
        return self.status()["state"] == "finalized" or not self.writer.alive()


def _end_of(words: NDArray[np.uint64]) -> int:
    """How many records were written to a ring, by the sequence words of its slots.

    Slots before some place hold the newest lap around the ring, the others the lap before it. A
    damaged word, or the one slot that was being written, fits neither: the place and the lap that
    fit most slots are right.
    """
    capacity = len(words)
    slot = np.arange(capacity)
    index = (words // 2).astype(np.int64) - 1
    whole = (words % 2 == 0) & (index % capacity == slot)
    # Nothing (-1) is the lap before the first one.
    laps = np.where(words == 0, -1, np.where(whole & (words != 0), index // capacity, -2))
    best_fit, best_end = 0, 0
    for lap in np.unique(laps[laps >= -1]).tolist():
        newest = np.concatenate([[0], np.cumsum(laps == lap)])
        before = np.concatenate([[0], np.cumsum(laps == lap - 1)])
        fits = newest + before[-1] - before
        end = int(np.argmax(fits))
        if lap >= 0 and int(fits[end]) > best_fit:
            best_fit, best_end = int(fits[end]), lap * capacity + end
    return best_end


def unfinished_cycle(
    status: dict[str, Any],
    metadata: LoopMetadata,
    last_cycle: int,
    consecutive_misses: int = 0,
) -> Batch | None:
    """The cycle that the guard judged and that never returned, as a record an observer makes up.

    ``last_cycle`` is the newest cycle with a record of its own, -1 when there is none, and
    ``consecutive_misses`` how many jobs lost in a row ended there. The record's ``finish_ns`` is one
    past the deadline: later than *d* is all that is known about it. None when every judged cycle
    returned, or had not started when the loop was stopped. Raises ValueError for one that no loop can
    have come to: the status is damaged.
    """
    cycle = int(status.get("expired_cycle", -1))
    if cycle <= last_cycle:
        return None
    deadline = int(status["expired_deadline_ns"])
    if cycle - last_cycle > 1 << 32 or not 0 <= deadline < 1 << 62:
        raise ValueError(f"cycle {cycle} with deadline {deadline} ns cannot have been executed")
    outcome = _sent_instead(status, metadata)
    # Of a loop that ended in order no cycle runs: this one still waited when the stop came.
    has_ended = status.get("state") in ("inactive", "finalized") and not status.get("fault_reason")
    if has_ended and outcome == core.OUTCOMES["none"]:
        return None
    release = deadline - metadata.deadline_ns
    records = empty_records(1)
    records["cycle"] = cycle
    for name in ("release_ns", "start_ns", "read_ns", "infer_ns"):
        records[name] = release
    records["finish_ns"] = deadline + 1
    records["deadline_ns"] = deadline
    records["input_age_ns"] = -1
    records["events"] = MISS | GUARD | UNFINISHED
    records["skipped"] = cycle - last_cycle - 1
    records["consecutive_misses"] = consecutive_misses + records["skipped"] + 1
    records["window_misses"] = 1
    records["loop_class"] = core.CLASSES.get(metadata.loop_class, 0)
    records["outcome"] = outcome
    sources = np.zeros((1, len(metadata.sources)), INPUT_RECORD_DTYPE)
    sources["age_ns"] = -1
    return Batch(records, sources, _nan(len(metadata.inputs)), _nan(len(metadata.outputs)))


def _sent_instead(status: dict[str, Any], metadata: LoopMetadata) -> int:
    """The outcome of a cycle that never returned: the guard says what it sent."""
    said = int(status.get("expired_outcome", 0))
    # Rings of an older version do not tell; for a hard loop it was the safe command all the same.
    if said == core.OUTCOMES["none"] and metadata.loop_class == "hard":
        return core.OUTCOMES["safe"]
    return said if said in core.OUTCOMES.values() else core.OUTCOMES["none"]


def _nan(n: int) -> NDArray[np.float32]:
    return np.full((1, n), np.nan, np.float32)


def _signals(raw: Any) -> tuple[Signal, ...]:
    return tuple(Signal(str(s["name"]), str(s.get("unit") or "")) for s in raw)


def _limits(raw: Any) -> dict[str, float]:
    return {name: float(raw[name]) for name in NAMES if name in raw}
