"""Reads ``.safetensors``: the length of a header, the header as JSON, and the bytes of the tensors."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rtloop.errors import ConfigError

if TYPE_CHECKING:
    import numpy.typing as npt

_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1",
    "U8": "u1", "BOOL": "?",
}  # fmt: skip
#: What comes of a header that says anything.
_DAMAGE = (
    ValueError, KeyError, TypeError, AttributeError, IndexError, RecursionError, OverflowError,
)  # fmt: skip
#: What the format itself allows.
_LONGEST_HEADER = 100_000_000


def read_safetensors(path: Path) -> dict[str, npt.NDArray[Any]]:
    """The tensors of a file, by their names. Raises ConfigError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from None
    try:
        return _read(data)
    except _DAMAGE as error:
        text = " ".join(str(error).split())
        raise ConfigError(
            f"{path}: found no .safetensors, or a damaged one ({text}); expected what the exporter wrote"
        ) from None


def _read(data: bytes) -> dict[str, npt.NDArray[Any]]:
    import numpy as np

    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > min(_LONGEST_HEADER, len(data) - 8):
        raise ValueError("a header that is longer than the file")
    header = json.loads(data[8 : 8 + length])
    body = data[8 + length :]
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__":
            continue
        if entry["dtype"] not in _TYPES:
            raise ValueError(f"'{name}' is of type {entry['dtype']}")
        dtype, shape = np.dtype(_TYPES[entry["dtype"]]), tuple(entry["shape"])
        begin, end = entry["data_offsets"]
        if not 0 <= begin <= end <= len(body) or end - begin != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"'{name}' has other bytes than its shape {list(shape)}")
        tensors[name] = np.frombuffer(body[begin:end], dtype).reshape(shape).copy()
    return tensors
