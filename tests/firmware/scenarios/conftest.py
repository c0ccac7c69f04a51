from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.firmware.scenarios.device import Device, DeviceKind
from tests.firmware.scenarios.kinds import KINDS
from tests.firmware.scenarios.wire import Wire, wire_to

StartDevice = Callable[..., Device]
LayWire = Callable[[Device], Wire]


@pytest.fixture(params=KINDS, ids=lambda kind: kind.name)
def device_kind(request: pytest.FixtureRequest) -> DeviceKind:
    """Each kind of device in turn."""
    kind: DeviceKind = request.param
    return kind


@pytest.fixture
def start_device(
    device_kind: DeviceKind, request: pytest.FixtureRequest, tmp_path: Path
) -> StartDevice:
    """Starts a device of this kind, with options of ``rtloop-firmware`` where it can do them."""

    def start(**options: str) -> Device:
        wanted = {name.replace("_", "-"): value for name, value in options.items()}
        if cannot := set(wanted) - device_kind.options:
            pytest.skip(f"{device_kind.name} has no --{', --'.join(sorted(cannot))}")
        folder = tmp_path / "device"
        folder.mkdir()
        return device_kind.start(request, folder, wanted)

    return start


@pytest.fixture
def lay_wire(tmp_path: Path) -> Iterator[LayWire]:
    """A wire to a device, which remembers what went through it and can be cut."""
    wires: list[Wire] = []

    def lay(device: Device) -> Wire:
        wires.append(wire_to(device.address, tmp_path / "wire"))
        return wires[-1]

    yield lay
    for wire in wires:
        wire.close()
