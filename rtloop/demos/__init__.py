"""Complete loops that run with no hardware: the real firmware sources, with a simulated plant behind them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from rtloop.demos.firmware import TRANSPORTS, FirmwareProcess
from rtloop.errors import ConfigError


class Demo(ABC):
    """What only one demo knows: the rest of rtloop treats its plant as any other.

    All links of its configurations are to one simulated device each.
    """

    name: str
    description: str
    device_program: tuple[str, ...] = ()
    """Of its simulated device; without one it is the cart-pole of ``rtloop-firmware``."""
    device_arguments: tuple[str, ...] = ()
    """Of its simulated device: how the plant starts and what disturbs it."""
    transports: tuple[str, ...] = tuple(TRANSPORTS)
    """What its device serves a link over."""
    overload_arguments: tuple[str, ...] = ()
    """The same, where they are others for ``--overload``."""
    overload_every_s: float = 0.5
    """How often ``--overload`` makes an inference too slow."""
    device_tells: tuple[str, ...] = ()
    """Keys of what its device says at the end, from each of the programs that it is made of."""

    def config_file(self, *, overload: bool) -> str:
        """Of what it runs, or runs for ``--overload``: a path below the folder of this file. Raises ConfigError
        where it has no such thing."""
        return f"{self.name}/{'overload' if overload else self.name}.yaml"

    def missing(self) -> str:
        """What is not installed that it needs, and how that is cured; may be empty."""
        return ""

    def device(self, link: Path, arguments: Sequence[str]) -> FirmwareProcess:
        """A simulated device, not started yet, at the end of the line ``link``."""
        return FirmwareProcess(link, arguments, self.device_program)

    def viewer(
        self, device: FirmwareProcess, avoid_cpus: Sequence[int]
    ) -> AbstractContextManager[object]:
        """A window that shows the plant of one of its devices while inside. Raises RtloopError on entry
        where there can be none, and ConfigError where the demo has none."""
        raise ConfigError(f"--viewer: the demo '{self.name}' has no viewer; the quadruped has one")

    def illustrate(self, recording: Path, devices: Sequence[FirmwareProcess]) -> list[Path]:
        """Leaves pictures of a run beside its recording, where its report finds them (rtloop.report.pictures);
        their paths. Raises RtloopError, StoppedError."""
        return []

    @abstractmethod
    def status(
        self, newest_inputs: Mapping[str, float], device: FirmwareProcess | None = None
    ) -> str:
        """The plant in a word or two for a live line, from a loop's newest inputs and from its device,
        where that is known; may be empty."""

    @abstractmethod
    def summarise_device(self, told: Mapping[str, Any]) -> str:
        """What became of a plant, from all that its device says at the end."""

    @abstractmethod
    def is_well(self, told: Mapping[str, Any]) -> bool:
        """Whether that is what the demo promises."""

    def account(self, told: Mapping[str, Any]) -> str:
        """``summarise_device``, or one sentence where the device could not say it all."""
        if not self._is_whole(told):
            return "it did not say how it ended: a program of it died, or hung"
        return self.summarise_device(told)

    def problems(self, devices: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
        """The accounts of those, by link, that are not what the demo promises."""
        return tuple(
            f"device {name}: {self.account(told)}"
            for name, told in devices.items()
            if not (self._is_whole(told) and self.is_well(told))
        )

    def _is_whole(self, told: Mapping[str, Any]) -> bool:
        return bool(told) and all(key in told for key in self.device_tells)
