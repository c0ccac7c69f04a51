"""Waiting for a line."""

from __future__ import annotations

import select


def is_readable(fd: int, timeout_s: float) -> bool:
    """Whether there is something to read, or an end to be told of, within ``timeout_s``."""
    return _happens(fd, select.POLLIN, timeout_s)


def is_writable(fd: int, timeout_s: float) -> bool:
    """Whether it takes something, or has ended, within ``timeout_s``."""
    return _happens(fd, select.POLLOUT, timeout_s)


def _happens(fd: int, event: int, timeout_s: float) -> bool:
    # Not select(): descriptors of a large program are beyond what it can watch.
    poller = select.poll()
    poller.register(fd, event)
    return bool(poller.poll(1e3 * max(0.0, timeout_s)))
