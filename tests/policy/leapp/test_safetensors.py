"""First values of a bundle, in their file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rtloop.errors import ConfigError
from rtloop.policy.leapp.safetensors import read_safetensors
from tests.policy.leapp.bundles import Array, safetensors


@pytest.mark.parametrize(
    "data",
    [
        (400_000).to_bytes(8, "little") + b"[" * 400_000,
        b"",
        b"\x00" * 4,
        (1 << 40).to_bytes(8, "little"),
        (2).to_bytes(8, "little") + b"[]",
        (9).to_bytes(8, "little") + b'{"a": {}}',
        safetensors({"a": np.ones(3, np.float32)})[:-1],
        safetensors({"a": np.ones(3, np.float32)}).replace(b"F32", b"Q99"),
    ],
)
def test_damaged_safetensors_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.safetensors").write_bytes(data)
    with pytest.raises(ConfigError, match="found no .safetensors, or a damaged one"):
        read_safetensors(tmp_path / "x.safetensors")


def test_safetensors_give_what_was_written(tmp_path: Path) -> None:
    values: dict[str, Array] = {
        "a/b": np.arange(6, dtype=np.float32).reshape(1, 2, 3),
        "n": np.array([3], np.int64),
        "yes": np.array([True, False]),
        "scalar": np.array(1.5),
    }
    (tmp_path / "x.safetensors").write_bytes(safetensors(values))
    read = read_safetensors(tmp_path / "x.safetensors")
    assert read.keys() == values.keys()
    for name, value in values.items():
        np.testing.assert_array_equal(read[name], value, strict=True)
