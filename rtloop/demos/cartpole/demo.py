"""The cart-pole as the command line tells of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rtloop.demos import Demo
from rtloop.demos.emulated.firmware import EmulatedFirmware
from rtloop.demos.emulated.image import missing_tools
from rtloop.demos.firmware import FirmwareProcess
from rtloop.errors import ConfigError

_ANGLE = "cart.pole_angle"


class CartpoleDemo(Demo):
    name = "cartpole"
    description = "a trained policy balances a cart-pole through real firmware code"
    device_tells = ("fell",)
    device_arguments = ("--angle-rad", "0.1", "--push-newton", "4", "--push-interval-s", "3")

    def status(
        self, newest_inputs: Mapping[str, float], device: FirmwareProcess | None = None
    ) -> str:
        angle = newest_inputs.get(_ANGLE)
        return "" if angle is None else f"pole {angle:+.3f} rad"

    def summarise_device(self, told: Mapping[str, Any]) -> str:
        end = "the pole stayed up while active" if self.is_well(told) else "the pole fell"
        return (
            f"{end} ({told['upright_s']:.1f} s, largest angle {told['max_angle_rad']:.3f} rad); "
            f"{told['counters']['late_commands']} late commands refused; ended {told['state']} "
            f"({', '.join(told['reasons'])})"
        )

    def is_well(self, told: Mapping[str, Any]) -> bool:
        return not told["fell"]


class EmulatedCartpoleDemo(CartpoleDemo):
    """The same on Arm code, in an emulator."""

    description = (
        "a trained policy balances a cart-pole through the firmware of an emulated Cortex-M4F"
    )
    transports = ("serial",)

    def config_file(self, *, overload: bool) -> str:
        if overload:
            raise ConfigError(
                "--overload: not with --firmware qemu: three emulated boards are slower than their loops"
            )
        return "cartpole/emulated.yaml"

    def missing(self) -> str:
        return missing_tools()

    def device(self, link: Path, arguments: Sequence[str]) -> FirmwareProcess:
        return EmulatedFirmware(link, arguments)
