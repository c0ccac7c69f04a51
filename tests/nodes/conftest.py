"""ROS 2 for the tests of one file: a domain of its own on this machine's loopback, logs out of the way."""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="module", autouse=True)
def _ros_environment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    # Also apart from the same tests in another process on this machine.
    domain = 1 + (zlib.crc32(request.node.nodeid.encode()) + os.getpid()) % 100
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ROS_DOMAIN_ID", str(domain))
        patch.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
        patch.setenv("ROS_LOG_DIR", str(tmp_path_factory.mktemp("ros-logs")))
        yield
