"""How a device on a network is written: ``scheme://HOST:PORT``, and where that is."""

from __future__ import annotations

import re
import socket

from rtloop.errors import LinkError

RULE = ", HOST a name or an address (IPv6 in brackets), PORT from 1 to 65535"

_DEVICE = re.compile(
    r"[a-z][a-z0-9+.-]*://(?P<host>\[[0-9a-f:.%\w]+\]|[\w.-]+):(?P<port>\d{1,5})", re.I | re.A
)


def host_and_port(device: str) -> tuple[str, int] | None:
    """None where it is not written so. An IPv6 address stands in brackets, and comes without them."""
    found = _DEVICE.fullmatch(device)
    if found is None or not 0 < int(found["port"]) < 65536:
        return None
    return found["host"].strip("[]"), int(found["port"])


def resolved(device: str, kind: socket.SocketKind) -> list[tuple[socket.AddressFamily, str, int]]:
    """Family, address and port, one or more. A name is resolved here, not in a real-time thread.

    Raises LinkError.
    """
    written = host_and_port(device)
    if written is None:
        raise LinkError(f"'{device}' names no port; write {device.partition(':')[0]}://HOST:PORT")
    host, port = written
    try:
        found = socket.getaddrinfo(host, port, type=kind)
    except (socket.gaierror, UnicodeError) as error:
        why = getattr(error, "strerror", None) or error
        raise LinkError(
            f"the name '{host}' of {device} cannot be resolved ({why}); correct it, or write the "
            "device's address"
        ) from error
    return list(dict.fromkeys((family, str(at[0]), port) for family, _, _, _, at in found))
