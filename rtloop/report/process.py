"""The report of a run, written by a process of its own: the run's may hold locked memory and CPUs."""

import argparse
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from shlex import quote
from typing import Final

from rtloop import child
from rtloop.errors import RecordingError
from rtloop.stopping import go_on

# Not what Python itself ends with when it fails.
_TOLD: Final = 3
_LOOK_S: Final = 0.1


def write_report_beside(recording: Path, html: Path, avoid_cpus: Sequence[int] = ()) -> Path:
    """Writes the report of a recording to ``html`` and returns that, once another process did it.

    ``avoid_cpus`` are the loops'. Raises RecordingError where ``write_report`` does, and when
    there is no such process or it died; StoppedError, once it was ended, where :func:`go_on` does.
    """
    options = [option for cpu in avoid_cpus for option in ("--avoid-cpu", str(cpu))]
    try:
        process = subprocess.Popen(
            [*child.command("report"), *options, "--out", str(html), "--", str(recording)],
            env=child.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            start_new_session=True,  # Ctrl-C is the run's to hear
        )
    except OSError as error:
        raise RecordingError(f"cannot start a process for the report: {error}") from None
    said, code = _ended(process)
    if code == 0:
        return html
    how = f"was ended by signal {-code}" if code < 0 else f"ended with code {code}"
    again = f"The report's process {how}; `rtloop report {quote(str(recording))}` tries again"
    raise RecordingError(said.splitlines()[-1] if said and code == _TOLD else again)


def _ended(process: subprocess.Popen[bytes]) -> tuple[str, int]:
    """What it said on stderr, and its exit code. A disk that hangs may keep it for ever: who asks for a
    stop ends it, and then StoppedError is raised."""
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                said = process.communicate(timeout=_LOOK_S)[1]
                return said.decode(errors="replace").strip(), process.returncode
            go_on()
    except BaseException:
        process.kill()
        if process.stderr is not None:
            process.stderr.close()
        with suppress(subprocess.TimeoutExpired):  # where even a kill waits for the disk
            process.wait(_LOOK_S)
        raise


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line of that process. Exit code 3, and why on stderr, when there is no report."""
    parser = argparse.ArgumentParser(
        prog="child_entry.py report", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("recording", type=Path, metavar="RUN.mcap")
    parser.add_argument("--out", required=True, type=Path, metavar="FILE")
    parser.add_argument(
        "--avoid-cpu", type=int, action="append", default=[], help="leave this CPU to the loops"
    )
    options = parser.parse_args(arguments)
    child.become_ordinary(options.avoid_cpu)
    from rtloop.report.page import write_report

    try:
        write_report(options.recording, options.out)
    except RecordingError as error:
        print(error, file=sys.stderr)
        return _TOLD
    return 0
