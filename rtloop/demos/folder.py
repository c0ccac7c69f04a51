"""The folder of a demo, where the lines to its devices are. What a killed one left goes with the next."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

#: No older rtloop made such names, and folders of those have no lock.
_PREFIX = f"rtloop-demo-{os.geteuid()}-"


@contextmanager
def private_folder() -> Iterator[Path]:
    """A new folder of the caller's alone, removed at the end.

    It is locked for as long as this process lives: whoever finds it, and not locked, may remove it.
    """
    _remove_abandoned(Path(tempfile.gettempdir()))
    folder, descriptor = _make()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _make() -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        with suppress(FileNotFoundError, BlockingIOError):  # another demo was faster: a new one
            descriptor = _locked(folder)
            if folder.exists():
                return folder, descriptor
            os.close(descriptor)


def _locked(folder: Path) -> int:
    """A descriptor that keeps the lock. Raises OSError, BlockingIOError while somebody else has it."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(folder, flags)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _remove_abandoned(directory: Path) -> None:
    """Those of the caller's whose demo has ended. In a folder like /tmp anybody chooses names, so each is
    asked whose it is, through a descriptor and never a link."""
    for folder in directory.glob(f"{_PREFIX}*"):
        with suppress(OSError):  # somebody's who is at work there, or somebody else's
            descriptor = _locked(folder)
            try:
                found = os.fstat(descriptor)
                if found.st_uid == os.geteuid() and stat.S_IMODE(found.st_mode) == 0o700:
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)
