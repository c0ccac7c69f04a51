"""What a launch file describes, read without launch.

Stand-ins record what it makes, and the commands are put together as launch_ros would. It proves what the
processes do with the signals that the file orders, not that launch sends them: test_demo_launch.py and
test_loop_launch.py do.
"""

from __future__ import annotations

import os
import runpy
import shlex
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from unittest.mock import patch

import yaml

from tests.launch.places import ROOT, installed

MODULES = (
    *("launch", "launch.action", "launch.actions", "launch.event_handlers", "launch.events"),
    *(
        "launch.events.process",
        "launch.launch_description_sources",
        "launch.substitutions",
        "launch_ros",
        "launch_ros.actions",
    ),
    *("launch_ros.event_handlers", "launch_ros.events", "launch_ros.events.lifecycle"),
    *("launch_ros.parameter_descriptions", "launch_ros.substitutions"),
    *("lifecycle_msgs", "lifecycle_msgs.msg"),
)


class Recorded:
    """Something of launch, as it was made."""

    #: Of lifecycle_msgs/msg/Transition.
    TRANSITION_CONFIGURE, TRANSITION_ACTIVATE = 1, 3

    def __init__(self, *arguments: Any, **named: Any) -> None:
        self.arguments = arguments
        self.named = named

    @property
    def kind(self) -> str:
        return type(self).__name__


class _Module(ModuleType):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__path__ = []  # a package

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        made = Recorded if name[0].islower() else type(name, (Recorded,), {})
        setattr(self, name, made)
        return made


def described(file: str) -> list[Recorded]:
    """The actions of a launch file in Python, in order."""
    with patch.dict(sys.modules, {name: _Module(name) for name in MODULES}):
        (actions,) = runpy.run_path(str(ROOT / "launch" / file))[
            "generate_launch_description"
        ]().arguments
    return list(actions)


def text(value: Any, arguments: dict[str, str]) -> str:
    """A substitution's text, with the arguments of the launch."""
    if isinstance(value, str):
        return value
    if isinstance(value, list | tuple):
        return "".join(text(part, arguments) for part in value)
    parts = value.arguments
    match value.kind:
        case "LaunchConfiguration":
            return arguments[parts[0]]
        case "PathJoinSubstitution":
            return os.path.join(*(text(part, arguments) for part in parts[0]))
        case "FindPackageShare":
            return str(installed() / "share" / parts[0])
        case "ExecutableInPackage":
            return str(installed() / "lib" / parts[1] / parts[0])
        case "PythonExpression":
            return str(eval(text(parts[0], arguments)))
    raise AssertionError(f"no stand-in for {value.kind}")


def with_defaults(actions: list[Recorded], **arguments: str) -> dict[str, str]:
    """The arguments of the launch, those that were not given with their defaults."""
    for action in actions:
        if action.kind == "DeclareLaunchArgument" and "default_value" in action.named:
            default = text(action.named["default_value"], arguments)
            arguments.setdefault(action.arguments[0], default)
    return arguments


def process_command(action: Recorded, arguments: dict[str, str]) -> list[str]:
    """Of an ExecuteProcess."""
    return [text(part, arguments) for part in action.named["cmd"]]


def node_command(action: Recorded, arguments: dict[str, str], folder: Path) -> list[str]:
    """Of a Node or LifecycleNode; parameters that are no file are written to one in the folder."""
    named = action.named
    command = shlex.split(text(named.get("prefix", ""), arguments))
    command += [str(installed() / "lib" / named["package"] / named["executable"]), "--ros-args"]
    command += [text(part, arguments) for part in named.get("ros_arguments", ())]
    command += ["-r", f"__node:={text(named['name'], arguments)}"]
    if namespace := text(named["namespace"], arguments):
        command += ["-r", f"__ns:=/{namespace}"]
    for position, given in enumerate(named["parameters"]):
        if isinstance(given, dict):
            values = {name: _value(value, arguments) for name, value in given.items()}
            file = folder / f"launch_params_{position}.yaml"
            file.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
        else:
            file = Path(text(given, arguments))
            assert file.is_file()
        command += ["--params-file", str(file)]
    return command


def _value(value: Any, arguments: dict[str, str]) -> Any:
    if isinstance(value, Recorded) and value.kind == "ParameterValue":
        found = text(value.arguments[0], arguments)
        return found if value.named["value_type"] is str else yaml.safe_load(found)
    return yaml.safe_load(text(value, arguments))


def context(is_shutdown: bool) -> Any:
    """Of an event: whether launch is shutting down already."""
    return SimpleNamespace(is_shutdown=is_shutdown)
