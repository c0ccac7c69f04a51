"""What ROS 2 tools look for: the launch and parameter files, and where pip has put everything."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from rtloop.nodes.parameters import parameter
from tests.launch.places import ROOT, installed

LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.*"))
#: Each module of nodes/ with a main() is an executable, by the same name.
NODES = sorted(
    path.stem for path in (ROOT / "nodes").glob("*.py") if "\ndef main(" in path.read_text()
)
CONFIG_FILES = sorted(set((ROOT / "launch").glob("*.yaml")) - set(LAUNCH_FILES))
EXAMPLE_FILES = sorted((ROOT / "examples/ros2_control").glob("*.*"))
PARAMETER_FILES = [path for path in CONFIG_FILES if path.name.endswith(".params.yaml")]


@pytest.mark.parametrize("path", PARAMETER_FILES, ids=lambda path: path.name)
def test_a_parameter_file_sets_what_loop_node_has(path: Path) -> None:
    ((node, content),) = yaml.safe_load(path.read_text()).items()
    assert node in ("loop_node", "/**")
    assert list(content) == ["ros__parameters"]
    for name, value in content["ros__parameters"].items():
        known = parameter(name)
        assert known, name
        assert type(value) is type(known.default), name
        assert not known.words or value in known.words


@pytest.mark.parametrize(
    "expected",
    [
        "share/ament_index/resource_index/packages/rtloop",
        "share/rtloop/package.xml",
        *(f"share/rtloop/launch/{path.name}" for path in LAUNCH_FILES),
        *(f"share/rtloop/config/{path.name}" for path in CONFIG_FILES),
        *(f"share/rtloop/examples/ros2_control/{path.name}" for path in EXAMPLE_FILES),
        "share/rtloop/config/cartpole.yaml",
        "share/rtloop/config/policy.onnx",
        *(f"lib/rtloop/{name}" for name in NODES),
        "lib/rtloop/rtloop",
        "lib/rtloop/rtloop-firmware",
        "bin/rtloop",
    ],
)
def test_it_was_put_where_ros2_looks(expected: str) -> None:
    path = installed() / expected
    assert path.is_file(), f"{path} is not there; install anew: pip install -e ."
    assert os.access(path, os.X_OK) == expected.startswith(("lib/", "bin/"))
    if installed() == Path(sys.prefix):  # by pip: nothing that an older installation has left
        files = importlib.metadata.files("rtloop") or []
        assert any(Path(str(file.locate())).resolve() == path.resolve() for file in files)


@pytest.mark.parametrize(
    ("name", "arguments", "exit_code"),
    [("rtloop", ["--version"], 0), ("loop_node", ["--ros-args", "-p", "config:=3"], 2)],
)
def test_an_executable_starts_in_any_folder_and_environment(
    name: str, arguments: list[str], exit_code: int, tmp_path: Path
) -> None:
    if name != "rtloop":
        pytest.importorskip("rclpy", reason="no rclpy: source setup.bash, or install rtloop[ros]")
    (tmp_path / "rtloop").mkdir()  # as in a source tree that nobody has built
    (tmp_path / "rtloop/__init__.py").write_text("raise ImportError('of the working directory')")
    program = installed() / "lib/rtloop" / name
    environment = {**os.environ, "ROS_AUTOMATIC_DISCOVERY_RANGE": "OFF"}
    environment["PATH"] = "/usr/bin:/bin"  # the environment is not activated
    ended = subprocess.run(
        [program, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ended.returncode == exit_code, ended.stderr


def test_the_versions_agree() -> None:
    version = importlib.metadata.version("rtloop")
    assert f"<version>{version}</version>" in (ROOT / "package.xml").read_text()
    assert f"project(rtloop VERSION {version} " in (ROOT / "CMakeLists.txt").read_text()
