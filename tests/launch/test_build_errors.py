"""What a build without pip needs, and says when it is not there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.launch.places import ROOT

pytestmark = pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake")


def configure(folder: Path, *arguments: str, **environment: str) -> str:
    """What CMake says of a build that it refuses."""
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("AMENT_", "CMAKE_PREFIX"))}
    ended = subprocess.run(
        ["cmake", "-S", str(ROOT), "-B", str(folder / "build"), *arguments],
        env={**clean, **environment},
        capture_output=True,
        text=True,
    )
    assert ended.returncode != 0
    return " ".join(ended.stderr.split())


def test_a_colcon_build_without_ament_is_refused(tmp_path: Path) -> None:
    # As colcon calls it for an ament_cmake package.
    told = configure(
        tmp_path,
        f"-DAMENT_TEST_RESULTS_DIR={tmp_path}",
        "-DCMAKE_DISABLE_FIND_PACKAGE_ament_cmake=ON",
    )
    assert "ament_cmake was not found: source ROS 2's setup.bash before colcon build" in told


@pytest.mark.parametrize("version", ["", "2.1.0"])
def test_a_nanobind_that_is_missing_or_too_old_is_told(version: str, tmp_path: Path) -> None:
    package = tmp_path / "nanobind"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "__main__.py").write_text(f"print({str(package)!r})" if version else "exit(1)")
    if version:
        (package / "nanobind-config.cmake").touch()
        (package / "nanobind-config-version.cmake").write_text(
            f"set(PACKAGE_VERSION {version})\nset(PACKAGE_VERSION_COMPATIBLE TRUE)\n"
        )
    told = configure(
        tmp_path,
        f"-DPython_EXECUTABLE={sys.executable}",
        "-DCMAKE_DISABLE_FIND_PACKAGE_ament_cmake=ON",
        "-DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF",
        PYTHONPATH=str(tmp_path),
    )
    assert f"nanobind >= 2.4 is needed, found '{version}'" in told
    assert "pip install 'nanobind>=2.4'" in told
