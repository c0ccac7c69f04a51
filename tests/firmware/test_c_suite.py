"""The C tests and fuzzers, under sanitizers where the compiler has them."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

FORMS = ("stream", "packets", "zmtp")
TESTS = [
    "codec",
    "device",
    "device_safety",
    "device_board",
    "device_commands",
    "device_refusals",
    "device_transports",
    "device_account",
    "sequence",
    "zmtp",
    "example",
    *(f"bit_errors_{form}_{one_in}" for form in FORMS for one_in in (100, 10000)),
    "fuzz_packet",
    "fuzz_frames",
    "fuzz_messages",
    "fuzz_device",
    "fuzz_zmtp",
]


@pytest.mark.parametrize("name", TESTS)
def test_the_c_suite_passes(firmware_build: Path, name: str) -> None:
    done = subprocess.run(
        ["ctest", "--test-dir", str(firmware_build), "-R", f"^{name}$", "--output-on-failure"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "100% tests passed" in done.stdout  # not: no tests were found


def test_the_list_above_is_complete(firmware_build: Path) -> None:
    listed = subprocess.run(
        ["ctest", "--test-dir", str(firmware_build), "-N"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert f"Total Tests: {len(TESTS)}" in listed.stdout
