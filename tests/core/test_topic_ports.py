"""Topic ports on a librcl of our own (fake_rcl.c), which does when told what others do now and then."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.core.topic_scenarios import SCENARIOS

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(
    shutil.which("cc") is None, reason="no C compiler: apt-get install gcc"
)


def build_fake_rcl(folder: Path) -> None:
    """As the two libraries that rclpy loads."""
    environment = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}  # the compiler's own
    for name in ("librcl.so", "librcutils.so"):
        command = ["cc", "-O1", "-shared", "-fPIC", "-pthread", f"-Wl,-soname,{name}"]
        source = Path(__file__).with_name("fake_rcl.c")
        subprocess.run([*command, "-o", folder / name, source], check=True, env=environment)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What became of each scenario, all in one process, which has no other librcl."""
    folder = tmp_path_factory.mktemp("rcl")
    build_fake_rcl(folder)
    command = [sys.executable, "-m", "tests.core.topic_scenarios", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("scenario", [scenario.__name__ for scenario in SCENARIOS])
def test_of_a_topic(told: dict[str, str], scenario: str) -> None:
    assert told[scenario] == "", told[scenario]
