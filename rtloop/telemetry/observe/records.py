"""The cycle record as numpy sees it, and the durations that follow from its timestamps.

The layout comes from the C++ struct through ``rtloop.core``; no offset is repeated here.
"""

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from rtloop import core


def _dtype(fields: list[tuple[str, str, int]], size: int) -> np.dtype[np.void]:
    return np.dtype(
        {
            "names": [name for name, _, _ in fields],
            "formats": [np.dtype(code).newbyteorder("<") for _, code, _ in fields],
            "offsets": [offset for _, _, offset in fields],
            "itemsize": size,
        }
    )


RECORD_DTYPE: Final = _dtype(core.RECORD_FIELDS, core.RECORD_SIZE)
INPUT_RECORD_DTYPE: Final = _dtype(core.INPUT_RECORD_FIELDS, core.INPUT_RECORD_SIZE)
PORT_EVENT_DTYPE: Final = _dtype(core.PORT_EVENT_FIELDS, core.PORT_EVENT_SIZE)

Records = NDArray[np.void]
"""A structured array of ``RECORD_DTYPE``, shape [n]."""

InputRecords = NDArray[np.void]
"""What each cycle found of each input, structured ``INPUT_RECORD_DTYPE``, shape [n, n_sources]."""

PortEvents = NDArray[np.void]
"""What ports reported beside their samples, structured ``PORT_EVENT_DTYPE``, shape [n]."""

Nanoseconds = NDArray[np.int64]


def _names(values: dict[str, int]) -> tuple[str, ...]:
    """Value → name, for enumerations that count up from zero."""
    by_value = {value: name for name, value in values.items()}
    return tuple(by_value.get(value, f"unknown_{value}") for value in range(max(by_value) + 1))


CLASS_NAMES: Final = _names(core.CLASSES)
OUTCOME_NAMES: Final = _names(core.OUTCOMES)
STAGE_NAMES: Final = _names(core.STAGES)
FAULT_REASON_NAMES: Final = _names(core.FAULT_REASONS)
PORT_EVENT_NAMES: Final = _names(core.PORT_EVENTS)
EVENT_BITS: Final[dict[str, int]] = core.EVENTS

MISS: Final[int] = EVENT_BITS["miss"]
GUARD: Final[int] = EVENT_BITS["guard"]
UNFINISHED: Final[int] = EVENT_BITS["unfinished"]


def name_of(names: tuple[str, ...], value: int) -> str:
    """The name of an enumeration's value; values of a newer writer keep their number."""
    return names[value] if 0 <= value < len(names) else f"unknown_{value}"


def event_names(mask: int) -> list[str]:
    """The names of the bits set in an event mask, lowest bit first."""
    return [name for name, bit in EVENT_BITS.items() if mask & bit]


def lateness_ns(records: Records) -> Nanoseconds:
    """L = f - d, signed, in ns. A deadline miss is L > 0."""
    return _difference(records, "finish_ns", "deadline_ns")


def response_ns(records: Records) -> Nanoseconds:
    """R = f - r in ns."""
    return _difference(records, "finish_ns", "release_ns")


def release_latency_ns(records: Records) -> Nanoseconds:
    """s - r in ns."""
    return _difference(records, "start_ns", "release_ns")


def read_duration_ns(records: Records) -> Nanoseconds:
    """Time from the start of the cycle until its inputs were read, in ns."""
    return _difference(records, "read_ns", "start_ns")


def infer_duration_ns(records: Records) -> Nanoseconds:
    """Time the graph (and the limits on its outputs) took, in ns."""
    return _difference(records, "infer_ns", "read_ns")


def write_duration_ns(records: Records) -> Nanoseconds:
    """Time from the graph's return until the outputs were written or discarded, in ns."""
    return _difference(records, "finish_ns", "infer_ns")


def _difference(records: Records, later: str, earlier: str) -> Nanoseconds:
    result: Nanoseconds = np.subtract(records[later], records[earlier], dtype=np.int64)
    return result


def missed(records: Records) -> NDArray[np.bool_]:
    """Which cycles missed their deadline, bool [n]. Cycles that never returned did."""
    result: NDArray[np.bool_] = lateness_ns(records) > 0
    return result


def unfinished(records: Records) -> NDArray[np.bool_]:
    """Which cycles never returned, bool [n]: their ``finish_ns`` is no measurement."""
    result: NDArray[np.bool_] = (records["events"] & UNFINISHED) != 0
    return result


def empty_records(n: int = 0) -> Records:
    """``n`` zeroed records."""
    result: Records = np.zeros(n, RECORD_DTYPE)
    return result


def record_as_dict(record: Any) -> dict[str, int]:
    """One record as plain ints, by field name."""
    return {name: int(record[name]) for name in RECORD_DTYPE.names or ()}
