from __future__ import annotations

from tests.firmware.conftest import firmware_build, start_program

__all__ = ["firmware_build", "start_program"]
