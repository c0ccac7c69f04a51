"""The quadruped as the command line tells of it."""

from __future__ import annotations

import importlib.util
import math
import sys
from collections.abc import Mapping
from typing import Any

from rtloop.demos import Demo


class QuadrupedDemo(Demo):
    name = "quadruped"
    description = "a trained policy walks a quadruped through real firmware code"
    device_program = (sys.executable, "-m", "rtloop.demos.quadruped.board")
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

    def status(self, newest_inputs: Mapping[str, float]) -> str:
        name = next((key for key in newest_inputs if key.endswith(".quat_x")), None)
        if name is None:
            return ""
        x, y = newest_inputs[name], newest_inputs[name.removesuffix("x") + "y"]
        up = max(-1.0, min(1.0, 1.0 - 2.0 * (x * x + y * y)))
        return f"tilt {math.degrees(math.acos(up)):4.1f}°"

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
