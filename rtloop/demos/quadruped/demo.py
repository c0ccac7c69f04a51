"""The quadruped as the command line tells of it."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from rtloop.demos import Demo
from rtloop.demos.firmware import FirmwareProcess
from rtloop.demos.quadruped.track import RATE_HZ, Rows, Track
from rtloop.errors import RtloopError

if TYPE_CHECKING:
    from rtloop.demos.quadruped.viewer import ViewerProcess

_PROGRAM = (sys.executable, "-m", "rtloop.demos.quadruped.board")
#: The speed of the live line is that of so long.
_SPEED_S = 2


class Robot(FirmwareProcess):
    """A board with its robot, and where that went."""

    def __init__(self, link: Path, arguments: Sequence[str] = ()) -> None:
        self.track = Track.create()
        fd = self.track.descriptor
        super().__init__(link, [*arguments, "--track-fd", str(fd)], _PROGRAM, inherited=[fd])


class QuadrupedDemo(Demo):
    name = "quadruped"
    description = "a trained policy walks a quadruped through real firmware code"
    device_program = _PROGRAM
    device_arguments = (
        *("--command-timeout-ms", "200", "--push-newton", "40", "--push-interval-s", "3"),
    )
    overload_arguments = ("--command", "targets")
    overload_every_s = 0.08
    device_tells = ("fell_at_s", "reasons")  # the plant, the firmware

    def missing(self) -> str:
        if importlib.util.find_spec("mujoco") is None:
            return "the quadruped lives in MuJoCo, which is not installed: pip install 'rtloop[quadruped]'"
        return ""

    def device(self, link: Path, arguments: Sequence[str]) -> FirmwareProcess:
        return Robot(link, arguments)

    def viewer(self, device: FirmwareProcess, avoid_cpus: Sequence[int]) -> ViewerProcess:
        from rtloop.demos.quadruped.viewer import ViewerProcess

        return ViewerProcess(cast(Robot, device).track, device.link.name, avoid_cpus)

    def illustrate(self, recording: Path, devices: Sequence[FirmwareProcess]) -> list[Path]:
        from rtloop.demos.quadruped.picture import draw, track_path

        try:
            for device in devices:
                cast(Robot, device).track.save(track_path(recording, device.link.name))
        except OSError as error:
            raise RtloopError(f"no picture of the walk: {error}") from None
        return draw(recording)

    def status(
        self, newest_inputs: Mapping[str, float], device: FirmwareProcess | None = None
    ) -> str:
        """What the loop measures, and what only the board knows."""
        name = next((key for key in newest_inputs if key.endswith(".quat_x")), None)
        if name is None:
            return ""
        x, y = newest_inputs[name], newest_inputs[name.removesuffix("x") + "y"]
        up = max(-1.0, min(1.0, 1.0 - 2.0 * (x * x + y * y)))
        tilt = f"tilt {math.degrees(math.acos(up)):4.1f}°"
        way = "" if not isinstance(device, Robot) else _way(device.track.newest(_SPEED_S * RATE_HZ))
        return f"{way}  {tilt}" if way else tilt

    def summarise_device(self, told: Mapping[str, Any]) -> str:
        walked = f"{told['ahead_m']:.1f} m ahead and {told['left_m']:+.1f} m to the left"
        end = f"it walked {walked} in {told['driven_s']:.1f} s"
        if told["fell_at_s"] is not None:
            end = f"it fell after {told['fell_at_s']:.1f} s; {end}"
        elif not self.is_well(told):
            end = f"it was not told to stop, and sank to the floor; {end}"
        return (
            f"{end} (largest tilt {math.degrees(told['largest_tilt_rad']):.0f}°); "
            f"{told['counters']['late_commands']} late commands refused; ended {told['state']} "
            f"({', '.join(told['reasons'])})"
        )

    def is_well(self, told: Mapping[str, Any]) -> bool:
        # Whatever else stopped it let it sink to the floor.
        return told["fell_at_s"] is None and set(told["reasons"]) <= {"HOST_STOP"}


def _way(rows: Rows) -> str:
    """How far it is ahead, and how fast it went over the rows; empty where there is none to tell of."""
    rows = rows[rows["is_driven"]]
    if len(rows) < 2:
        return ""
    if rows["has_fallen"][-1]:
        return "FALLEN"
    (x, y), (x0, y0) = (rows["qpos"][i][:2].tolist() for i in (-1, 0))
    took_s = float(rows["driven_s"][-1] - rows["driven_s"][0])
    speed_m_s = math.hypot(x - x0, y - y0) / max(took_s, 1e-9)
    return f"{round(x, 1) + 0.0:4.1f} m  {speed_m_s:4.2f} m/s"  # + 0.0: no -0.0
