import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def ring_directory() -> Iterator[Path]:
    """Stands for /dev/shm/rtloop, in memory where there is such a place."""
    shm = Path("/dev/shm")
    path = Path(tempfile.mkdtemp(prefix="rtloop-test-", dir=shm if shm.is_dir() else None))
    yield path
    shutil.rmtree(path, ignore_errors=True)
