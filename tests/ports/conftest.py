from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from types import ModuleType

import pytest

from rtloop.ports.port import INPUTS, OUTPUTS
from tests.config.conftest import folder
from tests.firmware.conftest import firmware_build, start_program

__all__ = ["firmware_build", "folder", "start_program"]


@pytest.fixture
def toy() -> Iterator[ModuleType]:
    """A program that brings a kind of its own; forgotten after the test."""
    list(INPUTS), list(OUTPUTS)  # rtloop's own are known already: the toy comes late
    yield import_module("tests.ports.toy")
    INPUTS.unregister("toy")
    OUTPUTS.unregister("toy")
    del sys.modules["tests.ports.toy"]
