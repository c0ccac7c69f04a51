"""ROS 2 for the tests of one file: a domain of its own on this machine's loopback, logs out of the way."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.domain import domain


@pytest.fixture(scope="module", autouse=True)
def _ros_environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with (
        domain(tmp_path_factory.mktemp("ros-logs")) as environment,
        pytest.MonkeyPatch.context() as patch,
    ):
        for name, value in environment.items():
            patch.setenv(name, value)
        yield
