"""Beside the rings of a run, for recovery: which file it is to be recorded in, and who is at work on it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rtloop.telemetry.observe.process_identity import ProcessIdentity
from rtloop.telemetry.private import read_own_file, replace_file

POINTER_NAME: Final = "recording.json"
_MOST_BYTES = 1 << 16


@dataclass(frozen=True)
class Pointer:
    """The run writes it when it claims its folders; then the recorder, once it is at work."""

    recording: Path | None
    """None: it is not to be recorded."""
    process: ProcessIdentity


def write_pointer(directory: Path, recording: Path | None) -> None:
    """Says in a folder of rings that the caller is at work on them. Raises OSError."""
    me = ProcessIdentity.of_this_process()
    said = {
        "recording": None if recording is None else str(recording.resolve()),
        "pid": me.pid,
        "start_time": me.start_time,
    }
    replace_file(directory / POINTER_NAME, json.dumps(said))


def read_pointer(directory: Path) -> Pointer | None:
    """None where there is none. Raises ValueError for one that makes no sense."""
    try:
        said = json.loads(read_own_file(directory / POINTER_NAME, _MOST_BYTES))
        recording = None if said["recording"] is None else Path(said["recording"])
        if recording and not (recording.is_absolute() and "\0" not in str(recording)):
            raise ValueError(f"no place of a file: {recording}")
        return Pointer(recording, ProcessIdentity(int(said["pid"]), int(said["start_time"])))
    except FileNotFoundError:
        return None
    except Exception as error:  # whatever was written there
        raise ValueError(f"{POINTER_NAME}: {error!r}") from None
