from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds the policy of the example."""
    (tmp_path / "policy.onnx").touch()
    return tmp_path
