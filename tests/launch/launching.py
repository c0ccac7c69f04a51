"""A launch file as `ros2 launch` runs it, where launch_ros is to be had."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.launch.places import installed
from tests.running import wait_for

pytest.importorskip(
    "launch_ros",
    reason="no launch_ros, which no package registry has: source ROS 2's setup.bash",
)

#: `ros2 launch FILE ARGUMENT:=VALUE…` without ros2cli. Its second argument is what a process says when launch
#: is to shut itself down.
LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription, RegisterEventHandler, Shutdown
from launch.event_handlers import OnProcessIO
from launch.launch_description_sources import AnyLaunchDescriptionSource

path, word, *arguments = sys.argv[1:]
def look(event):
    return Shutdown(reason="asked for") if word and word.encode() in event.text else None
service = LaunchService()
service.include_launch_description(LaunchDescription([
    RegisterEventHandler(OnProcessIO(on_stdout=look, on_stderr=look)),
    IncludeLaunchDescription(
        AnyLaunchDescriptionSource(path),
        launch_arguments=[tuple(each.split(":=", 1)) for each in arguments],
    ),
]))
sys.exit(service.run())
"""


class Launched:
    """A launch under way, a session of its own as a terminal would give it."""

    def __init__(self, folder: Path, file: str, *arguments: str, shutdown_when: str = "") -> None:
        self.folder = folder
        self._log = folder / "launch.log"
        prefix = installed()
        environment = {
            **os.environ,
            "AMENT_PREFIX_PATH": f"{prefix}:{os.environ.get('AMENT_PREFIX_PATH', '')}",
            # Whoever is killed in Fast DDS's shared memory may leave it locked, for the next one, too.
            "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4",
        }
        path = prefix / "share/rtloop/launch" / file
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", LAUNCH, str(path), shutdown_when, *arguments],
                stdout=log,
                stderr=log,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log.read_text()

    def says(self, text: str, times: int = 1) -> None:
        """Waits until the log has it so often."""
        wait_for(lambda: self.log.count(text) >= times, f"the log has {text!r}", 60)

    def pid(self, name: str) -> int:
        """Of the newest process of this name."""
        return int(re.findall(rf"\[{name}-\d+\]: process started with pid \[(\d+)\]", self.log)[-1])

    def ends(self) -> int:
        """The exit code, once launch and all that it started have ended."""
        exit_code = self.process.wait(60)
        wait_for(lambda: not self._left(), "none of its processes is left", 30)
        return exit_code

    def device_summary(self) -> dict[str, Any]:
        (line,) = re.findall(r"^\[firmware-\d+\] (\{.*\})$", self.log, re.MULTILINE)
        summary: dict[str, Any] = json.loads(line)
        return summary

    def _left(self) -> list[int]:
        """Of its session, which no process leaves."""
        left = []
        for entry in Path("/proc").glob("[0-9]*"):
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[3]) == self.process.pid and fields[0] != "Z":
                left.append(int(entry.name))
        return left

    def kill(self) -> None:
        for pid in self._left():
            os.kill(pid, signal.SIGKILL)
        self.process.wait()


@contextmanager
def launched(
    folder: Path, file: str, *arguments: str, shutdown_when: str = ""
) -> Iterator[Launched]:
    """Nothing of it outlives the test."""
    launch = Launched(folder, file, *arguments, shutdown_when=shutdown_when)
    try:
        yield launch
    finally:
        launch.kill()
