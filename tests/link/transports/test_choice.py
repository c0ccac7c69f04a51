"""The transport of a link follows from how its device is written."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from rtloop.errors import LinkError
from rtloop.link import Link, transports
from rtloop.link.transports.serial import SerialTransport
from rtloop.link.transports.transport import Line, Transport, register, registered


@pytest.fixture
def toy() -> Iterator[None]:
    """A transport from outside, whose lines never open; forgotten after the test."""

    @register
    class Toy(Transport):
        scheme = "toy"
        device = "toy://NAME"

        def open(self, device: str, baud: int) -> Line:
            raise LinkError(f"{device} is only a toy")

        def bit_rate(self, baud: int) -> None:
            return None

        def host_problem(self, device: str) -> tuple[str, str] | None:
            return f"'{device}'", "something real"

    yield
    del registered["toy"]


@pytest.mark.parametrize("device", ["/dev/ttyACM0", "tty", "a:b", "./x://y", "/dev/a://b"])
def test_a_path_is_a_serial_line(device: str) -> None:
    assert isinstance(transports.of(device), SerialTransport)


@pytest.mark.parametrize("device", ["tcp://10.0.0.2:5555", "serial:///dev/tty"])
def test_a_scheme_that_no_transport_has_is_refused_with_what_there_is(device: str) -> None:
    assert transports.of(device) is None
    with pytest.raises(LinkError) as refused:
        Link.open("arm", device, 1_000_000)
    assert str(refused.value) == (
        f"link 'arm': '{device}' cannot be opened; a device is the path of a serial device or "
        "udp://HOST:PORT or zmq+tcp://HOST:PORT"
    )


@pytest.mark.parametrize("place", ["10.0.0.2", "10.0.0.2:0", "10.0.0.2:70000", "::1:5555", "*:1"])
@pytest.mark.parametrize("scheme", ["udp", "ZMQ+tcp"])
def test_a_place_that_is_none_is_refused_with_how_its_transport_is_written(
    scheme: str, place: str
) -> None:
    device = f"{scheme}://{place}"
    assert transports.of(device) is None
    with pytest.raises(LinkError) as refused:
        Link.open("arm", device, 1_000_000)
    assert str(refused.value) == (
        f"link 'arm': '{device}' cannot be opened; a device is {scheme.lower()}://HOST:PORT, HOST a name or "
        "an address (IPv6 in brackets), PORT from 1 to 65535"
    )


@pytest.mark.usefixtures("toy")
def test_a_transport_from_outside_is_known_by_its_scheme() -> None:
    assert transports.devices()[0] == "the path of a serial device"
    assert "toy://NAME" in transports.devices()
    with pytest.raises(LinkError, match="link 'arm': TOY://x is only a toy"):
        Link.open("arm", "TOY://x", 1_000_000)


def test_a_serial_line_is_limited_by_its_baud_rate() -> None:
    assert SerialTransport().bit_rate(9600) == 9600
