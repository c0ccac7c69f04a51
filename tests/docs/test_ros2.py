"""The commands for ROS 2 in the README and docs/ros2.md: what they name is there."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from rtloop import core
from rtloop.telemetry.live.followed import COUNT_NAMES, INTERVAL_NAMES
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


def test_the_table_of_statistics_has_each_name_at_its_index() -> None:
    table = PAGES["docs/ros2.md"].partition("| index | name |")[2].partition("\n\n")[0]
    names: list[str] = []
    for first, last, told in re.findall(r"^\| (\d+)(?:(?: to|,) (\d+))? \| (.*?) \|", table, re.M):
        of_row = re.findall(r"`(\w+)`", told)
        assert int(first) == len(names)
        names += of_row
        assert int(last or first) == len(names) - 1
    assert names == [*INTERVAL_NAMES, *COUNT_NAMES]
    assert f"| from {len(names)} |" in table
    states = ", ".join(f"{number} {state}" for state, number in core.STATES.items())
    assert f"`state` ({states})" in table


def test_the_table_of_the_bridges_parameters_has_their_defaults() -> None:
    pytest.importorskip("rclpy", reason="no rclpy: source setup.bash, or install rtloop[ros]")
    from rtloop.nodes.firmware_bridge import _PARAMETERS

    section = PAGES["docs/ros2.md"].partition("## A board without a loop")[2]
    table = section.partition("| parameter | default |")[2].partition("\n\n")[0]
    told = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.M))
    assert told == {
        name: f"`{default:g}`" if isinstance(default, float) else f"`{default}`" if default else "–"
        for name, (default, _) in _PARAMETERS.items()
    }


def test_an_executable_that_is_run_is_installed() -> None:
    named = {name for page in PAGES.values() for name in re.findall(r"ros2 run rtloop (\w+)", page)}
    assert named
    assert named <= EXECUTABLES


def lines_of_the_readme() -> list[str]:
    return PAGES["README.md"].partition("### Under ROS 2")[2].split("```")[1].splitlines()[1:]


def test_the_readme_takes_five_lines_to_a_managed_node() -> None:
    lines = lines_of_the_readme()
    assert len(lines) == 5
    assert any("ros2 launch rtloop loop.launch.py" in line for line in lines)


#: The node is there the third time that it is looked for.
ROS2 = """\
#!/bin/bash
echo "$*" >>asked
[ "$2" = get ] && echo >>looked
[ "$1" != lifecycle ] || [ "$(wc -l <looked)" -gt 2 ]
"""


def test_the_lines_of_the_readme_wait_for_the_node(tmp_path: Path) -> None:
    for name, text in (("ros2", ROS2), ("sleep", "#!/bin/bash\n")):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    (tmp_path / "looked").touch()
    after_install = "\n".join(lines_of_the_readme()[2:])
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["bash", "-c", f"{after_install}\nwait"]
    subprocess.run(command, cwd=tmp_path, env=environment, check=True, timeout=60)
    asked = (tmp_path / "asked").read_text().splitlines()
    assert "launch rtloop loop.launch.py config:=robot.yaml" in asked
    in_order = [line for line in asked if not line.startswith("launch")]
    assert in_order == [
        *["lifecycle get /loop_node"] * 3,
        "lifecycle set /loop_node configure",
        "lifecycle set /loop_node activate",
        "topic echo /diagnostics",
    ]
