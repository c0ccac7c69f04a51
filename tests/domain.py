"""A domain of ROS 2 for some tests: nobody else's on this machine, whatever else is tested beside them."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Their ports of DDS are below those that the kernel gives away.
DOMAINS = range(1, 102)


@contextmanager
def domain(logs: Path) -> Iterator[dict[str, str]]:
    """The environment of its nodes, who log to the folder."""
    with claimed_number() as number:
        yield {
            "ROS_DOMAIN_ID": str(number),
            "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
            "ROS_LOG_DIR": str(logs),
        }


@contextmanager
def claimed_number() -> Iterator[int]:
    """A number of ``DOMAINS`` that no other process, and no other caller in this one, has meanwhile."""
    for number in random.sample(DOMAINS, len(DOMAINS)):
        # A name without a file, of one network as the ports are; it goes with its process.
        with socket.socket(socket.AF_UNIX) as claim:
            try:
                claim.bind(f"\0rtloop tests, domain {number}")
            except OSError:
                continue
            yield number
            return
    raise AssertionError(f"each of {DOMAINS} is taken")
