"""Messages of a batch as one array: MCAP's header of each, and behind it what it says."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from mcap.opcode import Opcode
from numpy.typing import NDArray

from rtloop.telemetry.mcap.messages import (
    CycleMessage,
    MissMessage,
    PortEventMessage,
    SignalsMessage,
)
from rtloop.telemetry.observe.records import PortEvents, Records
from rtloop.telemetry.observe.ring import Batch

_OPCODE_AND_LENGTH: Final = 1 + 8
_HEADER: Final = (
    ("opcode", "u1"), ("length", "<u8"), ("channel", "<u2"), ("sequence", "<u4"),
    ("log_time", "<u8"), ("publish_time", "<u8"),
)  # fmt: skip


@dataclass(frozen=True)
class Rows:
    """Messages of one or several channels, as many of each.

    ``times`` is int64 [n], wall clock in ns; ``offsets`` says by channel id where each message
    begins in ``data``, int64 [n].
    """

    data: bytes
    times: NDArray[np.int64]
    offsets: dict[int, NDArray[np.int64]]


class CycleRows:
    """For each cycle of a loop its cycle message, then its signals: all of one size."""

    def __init__(
        self, cycle: CycleMessage, cycle_id: int, signals: SignalsMessage, signals_id: int
    ) -> None:
        self._cycle, self._signals = cycle, signals
        self._channels = {"cycle": cycle_id, "signals": signals_id}
        self._dtype = np.dtype([("cycle", _row(cycle.dtype)), ("signals", _row(signals.dtype))])

    @property
    def size(self) -> int:
        """Bytes of a cycle."""
        return self._dtype.itemsize

    def of(self, batch: Batch, realtime_ns_offset: int) -> Rows:
        """The messages of a batch."""
        times = batch.records["release_ns"] + realtime_ns_offset
        rows = np.zeros(len(batch), self._dtype)
        begins = np.arange(len(batch), dtype=np.int64) * self.size
        offsets = {}
        for name, channel in self._channels.items():
            _fill_header(rows[name], channel, batch.records["cycle"], times)
            fields = self._dtype.fields
            assert fields is not None
            offsets[channel] = begins + int(fields[name][1])
        self._cycle.fill(rows["cycle"]["message"], batch.records)
        self._signals.fill(rows["signals"]["message"], batch)
        return Rows(rows.tobytes(), times, offsets)


class MissRows:
    """The miss message of each missed cycle. Their words make them of several sizes."""

    def __init__(self, miss: MissMessage, channel: int) -> None:
        self._miss, self._channel = miss, channel

    def of(self, missed: Records, realtime_ns_offset: int) -> Rows:
        """The messages of missed cycles, at least one, in their order."""
        times = missed["release_ns"] + realtime_ns_offset
        # Few words for many misses: those with the same words are one array.
        words, kind = np.unique(self._miss.keys(missed), return_inverse=True)
        suffixes = [self._miss.words(int(key)) for key in words]
        dtypes = [_row(self._miss.dtype, len(suffix)) for suffix in suffixes]
        sizes = np.array([dtype.itemsize for dtype in dtypes], np.int64)[kind]
        ends = np.cumsum(sizes)
        offsets = ends - sizes
        data = np.empty(int(ends[-1]), np.uint8)
        for i, (suffix, dtype) in enumerate(zip(suffixes, dtypes, strict=True)):
            these = kind == i
            rows = np.zeros(int(np.count_nonzero(these)), dtype)
            _fill_header(rows, self._channel, missed["cycle"][these], times[these])
            self._miss.fill(rows["message"], missed[these], realtime_ns_offset)
            rows["words"] = np.frombuffer(suffix, np.uint8)
            places = offsets[these][:, None] + np.arange(dtype.itemsize)
            data[places] = rows.view(np.uint8).reshape(len(rows), -1)
        return Rows(data.tobytes(), times, {self._channel: offsets})


class PortEventRows:
    """The message of each port event: all of one size."""

    def __init__(self, event: PortEventMessage, channel: int) -> None:
        self._event, self._channel = event, channel
        self._dtype = _row(event.dtype)

    @property
    def size(self) -> int:
        """Bytes of an event."""
        return self._dtype.itemsize

    def of(self, events: PortEvents, realtime_ns_offset: int) -> Rows:
        """The messages of events, at least one."""
        times = events["time_ns"] + realtime_ns_offset
        rows = np.zeros(len(events), self._dtype)
        _fill_header(rows, self._channel, events["number"], times)
        self._event.fill(rows["message"], events)
        offsets = np.arange(len(events), dtype=np.int64) * self._dtype.itemsize
        return Rows(rows.tobytes(), times, {self._channel: offsets})


def _row(message: np.dtype[np.void], n_words: int = 0) -> np.dtype[np.void]:
    return np.dtype([*_HEADER, ("message", message), ("words", "u1", (n_words,))])


def _fill_header(
    rows: NDArray[np.void], channel: int, numbers: NDArray[np.int64], times: NDArray[np.int64]
) -> None:
    rows["opcode"] = Opcode.MESSAGE
    rows["length"] = rows.dtype.itemsize - _OPCODE_AND_LENGTH
    rows["channel"] = channel
    rows["sequence"] = numbers & 0xFFFFFFFF
    rows["log_time"] = times
    rows["publish_time"] = times
