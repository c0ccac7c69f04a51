"""What the tests of the command line share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from rtloop.demos.firmware import FirmwareProcess
from tests.running import (
    firmware,
)


@pytest.fixture
def device(tmp_path: Path) -> Iterator[FirmwareProcess]:
    with firmware(tmp_path) as device:
        yield device
