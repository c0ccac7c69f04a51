from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rtloop.cli.main import main
from rtloop.demos.firmware import FirmwareProcess
from tests.running import firmware

Told = dict[str, Any]


@pytest.fixture
def device(tmp_path: Path) -> Iterator[FirmwareProcess]:
    with firmware(tmp_path) as device:
        yield device


@pytest.fixture
def asked(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, Told]]:
    """A command with --json: its exit code, and what it said."""

    def ask(*arguments: object) -> tuple[int, Told]:
        code = main([*map(str, arguments), "--json"])
        return code, json.loads(capsys.readouterr().out)

    return ask
