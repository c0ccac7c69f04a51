"""The commands for ROS 2 in the README and docs/ros2.md: what they name is there."""

from __future__ import annotations

import re

import pytest

from tests.launch.places import ROOT
from tests.launch.stand_in import described

PAGES = {name: (ROOT / name).read_text() for name in ("README.md", "docs/ros2.md")}
LAUNCHED = sorted(
    {
        (file, tuple(re.findall(r"(\w+):=", arguments)))
        for page in PAGES.values()
        for file, arguments in re.findall(r"ros2 launch rtloop ([\w.]+)((?: \w+:=\S+)*)", page)
    }
)
EXECUTABLES = {
    path.stem for path in (ROOT / "nodes").glob("*.py") if "\ndef main(" in path.read_text()
} | {"rtloop"}


@pytest.mark.parametrize(("file", "arguments"), LAUNCHED)
def test_a_launch_file_has_the_arguments(file: str, arguments: tuple[str, ...]) -> None:
    declared = {
        action.arguments[0]: action
        for action in described(file)
        if action.kind == "DeclareLaunchArgument"
    }
    assert set(arguments) <= set(declared)
    needed = {name for name, each in declared.items() if "default_value" not in each.named}
    assert needed <= set(arguments)


def test_the_table_of_arguments_is_complete() -> None:
    table = PAGES["docs/ros2.md"].partition("| argument of `loop.launch.*`")[2].partition("\n\n")[0]
    told = {
        name
        for row in re.findall(r"^\| (`.*?) \|", table, re.M)
        for name in re.findall(r"`(\w+)`", row)
    }
    declared = {
        action.arguments[0]
        for action in described("loop.launch.py")
        if action.kind == "DeclareLaunchArgument"
    }
    assert told == declared


def test_an_executable_that_is_run_is_installed() -> None:
    named = {name for page in PAGES.values() for name in re.findall(r"ros2 run rtloop (\w+)", page)}
    assert named
    assert named <= EXECUTABLES


def test_the_readme_takes_five_lines_to_a_managed_node() -> None:
    lines = PAGES["README.md"].partition("### Under ROS 2")[2].split("```")[1].splitlines()[1:]
    assert len(lines) == 5
    assert any("ros2 launch rtloop loop.launch.py" in line for line in lines)
