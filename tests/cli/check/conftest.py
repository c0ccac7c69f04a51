"""Policies in the working directory of each test."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.cli.check.loops import slow
from tests.policy.models import linear, passthrough


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "three.onnx").write_bytes(passthrough(3))
    (tmp_path / "four.onnx").write_bytes(passthrough(4))
    (tmp_path / "dynamic.onnx").write_bytes(linear(np.eye(3, dtype=np.float32), [1, "X[0]"]))
    (tmp_path / "slow.onnx").write_bytes(slow(3, 1000))
    (tmp_path / "text.onnx").write_text("no model")
    (tmp_path / "file").touch()
    return tmp_path
