"""ROS 2 for each test: a domain of its own on this machine's loopback, logs out of the way."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.domain import domain


@pytest.fixture(autouse=True)
def _ros_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with domain(tmp_path / "ros-log") as environment:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        yield
