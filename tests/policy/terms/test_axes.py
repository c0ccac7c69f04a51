"""Orientations and vectors whose elements say which axis they are of."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rtloop.errors import ConfigError
from tests.policy.models import passthrough
from tests.policy.terms.harness import composed

MODEL = {"p.onnx": passthrough(3)}


def _compose(folder: Path, term: dict[str, Any], names: list[str], **more: Any) -> None:
    section = {"model": "p.onnx", "observation": [term]}
    composed(folder, section, {"imu": names, **more}, MODEL)


@pytest.mark.parametrize(
    ("term", "names"),
    [
        ({"projected_gravity": "imu"}, ["x", "y", "z", "w"]),
        ({"projected_gravity": "imu"}, ["qx", "qy", "qz", "qw"]),
        ({"projected_gravity": "imu", "order": "xyzw"}, ["quat_w", "quat_x", "quat_y", "quat_z"]),
        ({"euler_xyz": "imu", "order": "rpy"}, ["yaw", "pitch", "roll"]),
        ({"euler_xyz": "imu", "order": "rpy"}, ["imu.y", "imu.p", "imu.r"]),
        ({"euler_xyz": "imu", "order": "rpy"}, ["z", "y", "x"]),
        ({"rotated": "imu", "mount": [0, 0, 1]}, ["gyro_z", "gyro_y", "gyro_x"]),
    ],
)
def test_axes_in_another_order_are_refused(
    tmp_path: Path, term: dict[str, Any], names: list[str]
) -> None:
    with pytest.raises(
        ConfigError, match=f"found 'imu', with {', '.join(names)}; expected {len(names)} values"
    ):
        _compose(tmp_path, term, names)


@pytest.mark.parametrize(
    ("term", "names"),
    [
        ({"projected_gravity": "imu", "order": "xyzw"}, ["x", "y", "z", "w"]),
        ({"projected_gravity": "imu"}, ["q0", "q1", "q2", "q3"]),
        ({"projected_gravity": "imu"}, ["a", "b", "c", "d"]),
        ({"euler_xyz": "imu", "order": "rpy"}, ["roll", "pitch", "yaw"]),
        ({"rotated": "imu", "mount": [0, 0, 1]}, ["vx", "vy", "vz"]),
    ],
)
def test_axes_in_their_order_and_other_names_are_read(
    tmp_path: Path, term: dict[str, Any], names: list[str]
) -> None:
    _compose(tmp_path, term, names)
