"""How a link's packets travel: one file a transport, chosen by how the device is written.

A path has no scheme; everything else begins with one, as in ``scheme://``. A transport registers
itself where it is written and is found by being in this folder.
"""

from __future__ import annotations

import re
from functools import cache

from rtloop.discovery import import_modules
from rtloop.errors import LinkError
from rtloop.link.transports.transport import Line, RefusedError, Transport, registered

__all__ = [
    "Line",
    "RefusedError",
    "Transport",
    "devices",
    "expected",
    "latency_problem",
    "of",
    "open_line",
]

_SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")


def of(device: str) -> Transport | None:
    """The transport that a device is written for; None when there is none, or it takes no such device."""
    scheme = _SCHEME.match(device)
    transport = _transports().get(scheme[1].lower() if scheme else "")
    return transport if transport is not None and transport.takes(device) else None


def devices() -> list[str]:
    """What may be written as a device, in words: ``["the path of a serial device"]``."""
    return [transport.device for _, transport in sorted(_transports().items())]


def expected(device: str) -> list[str]:
    """What should have been written where :func:`of` knows none: of its own scheme, or anything."""
    scheme = _SCHEME.match(device)
    meant = _transports().get(scheme[1].lower() if scheme else "")
    return devices() if meant is None else [f"{meant.device}{meant.rule}"]


def open_line(device: str, baud: int) -> Line:
    """Opens a device for this process alone. Raises LinkError that says what to do."""
    transport = of(device)
    if transport is None:
        raise LinkError(f"'{device}' cannot be opened; a device is {' or '.join(expected(device))}")
    return transport.open(device, baud)


def latency_problem(device: str) -> str:
    """What holds received bytes back on this host, with its fix; empty where nothing is known to.

    ``device`` has been opened.
    """
    transport = of(device)
    return "" if transport is None else transport.latency_problem(device)


@cache
def _transports() -> dict[str, Transport]:
    import_modules(__name__)
    return registered
