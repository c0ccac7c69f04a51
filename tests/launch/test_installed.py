"""What ROS 2 tools look for: the launch and parameter files, and where pip has put everything."""

from __future__ import annotations

import ast
import importlib.metadata
import os
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LAUNCH_FILES = sorted((ROOT / "launch").glob("*.launch.py"))
PARAMETER_FILES = sorted((ROOT / "launch").glob("*.params.yaml"))


@pytest.mark.parametrize("path", LAUNCH_FILES, ids=lambda path: path.name)
def test_a_launch_file_compiles_and_describes_a_launch(path: Path) -> None:
    tree = ast.parse(path.read_text(), str(path))
    compile(tree, str(path), "exec")
    functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    assert "generate_launch_description" in functions


@pytest.mark.parametrize("path", PARAMETER_FILES, ids=lambda path: path.name)
def test_a_parameter_file_is_one_for_loop_node(path: Path) -> None:
    content = yaml.safe_load(path.read_text())
    assert list(content) == ["loop_node"]
    assert list(content["loop_node"]) == ["ros__parameters"]


@pytest.mark.parametrize(
    "expected",
    [
        "share/ament_index/resource_index/packages/rtloop",
        "share/rtloop/package.xml",
        *(f"share/rtloop/launch/{path.name}" for path in LAUNCH_FILES),
        *(f"share/rtloop/config/{path.name}" for path in PARAMETER_FILES),
        "share/rtloop/config/cartpole.yaml",
        "share/rtloop/config/policy.onnx",
        "lib/rtloop/loop_node",
        "lib/rtloop/rtloop-firmware",
    ],
)
def test_pip_has_put_it_where_ros2_looks(expected: str) -> None:
    path = Path(sys.prefix, expected)
    files = importlib.metadata.files("rtloop") or []
    assert any(Path(str(file.locate())).resolve() == path.resolve() for file in files), (
        f"{path} is none of rtloop's files; install anew: pip install -e ."
    )
    assert path.is_file()
    assert os.access(path, os.X_OK) == expected.startswith("lib/")


def test_the_versions_agree() -> None:
    version = importlib.metadata.version("rtloop")
    assert f"<version>{version}</version>" in (ROOT / "package.xml").read_text()
    assert f"project(rtloop VERSION {version} " in (ROOT / "CMakeLists.txt").read_text()
