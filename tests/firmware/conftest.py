from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.firmware.build import built_firmware
from tests.firmware.program import FirmwareProgram


@pytest.fixture(scope="session")
def firmware_build(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The build directory of firmware/tests."""
    return built_firmware(tmp_path_factory.getbasetemp() / "firmware-build")


@pytest.fixture
def start_program(firmware_build: Path, tmp_path: Path) -> Iterator[Callable[..., FirmwareProgram]]:
    """Starts the firmware program with further arguments; none outlives the test."""
    programs: list[FirmwareProgram] = []

    def start(*arguments: str, plant_fd: int | None = None) -> FirmwareProgram:
        path = tmp_path / f"line{len(programs)}"
        executable = firmware_build / "host" / "rtloop-firmware"
        programs.append(FirmwareProgram(executable, path, *arguments, plant_fd=plant_fd))
        return programs[-1]

    yield start
    for program in programs:
        program.kill()
