"""The loops that run on this host, found by their rings.

Only those of the caller's own are seen: what another user wrote is not believed, nor opened.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path

from rtloop.errors import RecordingError
from rtloop.telemetry.observe.ring import RING_DIRECTORY, RING_SUFFIX, Ring, UnpublishedError
from rtloop.telemetry.private import pinned
from rtloop.telemetry.recorder.left_behind import own_ring, run_directories

#: A ring that cannot be read may just be being made; one that is older is damaged.
_MADE_WITHIN_S = 10.0

_Key = tuple[str, str, int]
"""Run, name of the file, and its inode: a name may come again."""


class LiveRings:
    """Looks for loops that run, again and again; cheap where nothing is new."""

    def __init__(self, directory: Path = RING_DIRECTORY) -> None:
        self._directory = directory
        self._known: set[_Key] = set()

    def new(self) -> list[Ring]:
        """Those that run and were not there before, with readers of their own. Raises RecordingError."""
        there: set[_Key] = set()
        found: list[Ring] = []
        for folder in run_directories(self._directory):
            try:
                keys = list(_rings_in(folder))
                there.update(keys)
                if unknown := [key for key in keys if key not in self._known]:
                    found += self._open(folder, unknown)
            except (RecordingError, OSError):  # another's; or it has just gone
                there.update(key for key in self._known if key[0] == folder.name)
        self._known &= there
        return found

    def _open(self, folder: Path, unknown: list[_Key]) -> Iterator[Ring]:
        with pinned(folder) as here:
            for key in unknown:
                path = here / key[1]
                try:
                    ring = own_ring(path, folder.name)
                except UnpublishedError:
                    continue  # its run is being set up
                except RecordingError:
                    if time.time() - path.stat().st_ctime > _MADE_WITHIN_S:
                        self._known.add(key)
                    continue
                self._known.add(key)
                if not ring.finished():
                    yield ring


def _rings_in(folder: Path) -> Iterator[_Key]:
    if folder.stat().st_uid != os.geteuid():
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.endswith(RING_SUFFIX):
                yield folder.name, entry.name, entry.inode()
