"""The demo's launch file from start to end, where launch_ros is to be had."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import wait_for

pytest.importorskip(
    "launch_ros",
    reason="no launch_ros, which no package registry has: source ROS 2's setup.bash",
)

LAUNCH_FILE = Path(sys.prefix, "share/rtloop/launch/demo.launch.py")
#: `ros2 launch` without ros2cli.
LAUNCH = """
import sys
from launch import LaunchDescription, LaunchService
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource

service = LaunchService()
source = PythonLaunchDescriptionSource(sys.argv[1])
service.include_launch_description(LaunchDescription([IncludeLaunchDescription(source)]))
sys.exit(service.run())
"""


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A session of its own, as a terminal would give it; its output is in ``launch.log``."""
    paths = {"AMENT_PREFIX_PATH": sys.prefix, "PATH": str(Path(sys.executable).parent)}
    environment = {
        **os.environ,
        **{name: f"{path}:{os.environ.get(name, '')}" for name, path in paths.items()},
        "ROS_DOMAIN_ID": str(1 + os.getpid() % 100),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
        "ROS_LOG_DIR": str(tmp_path),
    }
    with (tmp_path / "launch.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, str(LAUNCH_FILE)],
            stdout=log,
            stderr=log,
            cwd=tmp_path,
            env=environment,
            start_new_session=True,
        )
    yield process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_the_demo_becomes_active_by_itself_and_ctrl_c_ends_all_of_it_in_order(
    tmp_path: Path, launched: subprocess.Popen[bytes]
) -> None:
    log = tmp_path / "launch.log"
    wait_for(lambda: "balance: active" in log.read_text(), "the loop is active", 60)
    os.killpg(launched.pid, signal.SIGINT)
    launched.wait(30)
    text = log.read_text()
    loop_ended = text.index("[loop_node-2]: process has finished cleanly")
    device_ended = text.index("[firmware-1]: process has finished cleanly")
    assert loop_ended < device_ended
    assert "[ERROR]" not in text, text
    assert list(tmp_path.glob("rtloop-runs/*/run.mcap"))
    assert not list(Path(tempfile.gettempdir()).glob(f"rtloop-demo-{launched.pid}"))
