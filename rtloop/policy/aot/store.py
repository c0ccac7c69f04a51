"""Compiled models in a folder: each an object, and what is known of it as JSON beside it.

Nothing is believed there that another user wrote, but for root. What was copied from another machine is
taken where this CPU has all that it needs.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rtloop.cache import cache_folder
from rtloop.errors import RecordingError
from rtloop.policy.aot.tools import NotCompiledError, cpu_features
from rtloop.telemetry.private import (
    make_private_directory,
    pinned,
    printable,
    read_own_file,
    replace_file,
)

#: Of one object, in bytes.
LARGEST = 1 << 28


@dataclass(frozen=True)
class Entry:
    """What is known of an object, or of a model that could not be compiled."""

    model: str
    """sha256 of the model."""
    key: str
    """sha256 of the model and all that compiled it."""
    label: str
    generator: str
    compiler: str
    flags: list[str]
    machine: str = field(default_factory=platform.machine)
    features: list[str] = field(default_factory=list)
    """What a CPU must have to run it."""
    sha256: str = ""
    """Of the object."""
    failure: str = ""
    """Why there is no object."""

    @property
    def name(self) -> str:
        """Of its files, without their suffix."""
        return f"{self.model}-{self.key[:16]}"

    @property
    def runs_here(self) -> bool:
        """This CPU has everything that it needs."""
        return self.machine == platform.machine() and cpu_features().issuperset(self.features)


class Store:
    """A folder of compiled models, perhaps not there yet."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or own_folder()

    def prepare(self) -> None:
        """Makes the folder, before work is done that could not be kept. Raises NotCompiledError."""
        try:
            make_private_directory(self.folder)
        except (OSError, RecordingError) as error:
            raise NotCompiledError(f"it cannot be kept in {_told(self.folder, error)}") from None

    def of_key(self, model: str, key: str) -> tuple[Entry, bytes] | None:
        """What was made of this model by these very tools for this very CPU, which they know best. The object
        is empty for a failure.

        Raises NotCompiledError where the folder cannot be believed.
        """
        found = self._found(model, f"{model}-{key[:16]}.json")
        return next((pair for pair in found if pair[0].key == key), None)

    def any_of(self, model: str) -> tuple[Entry, bytes] | None:
        """An object of this model that runs on this CPU, whoever made it. Raises NotCompiledError."""
        found = self._found(model, f"{model}-*.json")
        return next((pair for pair in found if pair[1] and pair[0].runs_here), None)

    def keep(self, entry: Entry, code: bytes) -> None:
        """Writes an object, empty for a failure, whole or not at all. Raises NotCompiledError."""
        self.prepare()
        try:
            with pinned(self.folder) as folder:
                if code:
                    replace_file(folder / f"{entry.name}.so", code)
                replace_file(folder / f"{entry.name}.json", json.dumps(asdict(entry), indent=1))
        except (OSError, RecordingError) as error:
            raise NotCompiledError(f"it cannot be kept in {_told(self.folder, error)}") from None

    def _found(self, model: str, pattern: str) -> Iterator[tuple[Entry, bytes]]:
        try:
            with pinned(self.folder, shared=True) as folder:
                for path in sorted(folder.glob(pattern)):
                    entry = _read(path)
                    if entry is None or entry.model != model or entry.name != path.stem:
                        continue
                    if entry.failure:
                        yield entry, b""
                    elif code := _object(path.with_suffix(".so"), entry):
                        yield entry, code
        except FileNotFoundError:
            return
        except (OSError, RecordingError) as error:
            raise NotCompiledError(
                f"what was compiled before cannot be read in {_told(self.folder, error)}"
            ) from None


def own_folder() -> Path:
    """Of this user, perhaps not there yet."""
    return cache_folder("aot")


def _read(path: Path) -> Entry | None:
    """None for what is damaged, or of another version."""
    data = read_own_file(path, 1 << 16, shared=True)
    try:
        entry = Entry(**json.loads(data))
    except (ValueError, TypeError, RecursionError):
        return None
    lists = [entry.flags, entry.features]
    if not all(isinstance(each, list) for each in lists):
        return None
    texts = [value for name, value in vars(entry).items() if name not in ("flags", "features")]
    return entry if all(isinstance(each, str) for each in sum(lists, texts)) else None


def _object(path: Path, entry: Entry) -> bytes:
    """Empty where it is not what was written."""
    try:
        code = read_own_file(path, LARGEST, shared=True)
    except FileNotFoundError:
        return b""
    return code if hashlib.sha256(code).hexdigest() == entry.sha256 else b""


def _told(folder: Path, error: Exception) -> str:
    why = error.strerror if isinstance(error, OSError) else str(error)
    return f"{printable(folder)}: {why}"
