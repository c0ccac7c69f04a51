"""Which process wrote something, and whether it still lives: a pid alone may have been reused."""

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessIdentity:
    """A process by pid and start time (clock ticks since boot, field 22 of /proc/PID/stat)."""

    pid: int
    start_time: int

    @classmethod
    def of_this_process(cls) -> "ProcessIdentity":
        """The identity of the caller."""
        pid = os.getpid()
        _, start_time = _state_and_start_time(pid) or ("", 0)
        return cls(pid, start_time)

    def alive(self) -> bool:
        """True while the process runs. A zombie is dead: it can write nothing any more."""
        found = _state_and_start_time(self.pid)
        if found is None:
            return False
        state, start_time = found
        return state not in "ZXx" and start_time == self.start_time

    def open_pidfd(self) -> int | None:
        """A descriptor that becomes readable when the process ends, or None when it has.

        The caller closes it. Checked after opening, so that a reused pid is never watched.
        """
        try:
            descriptor = os.pidfd_open(self.pid)
        except OSError:
            return None
        if self.alive():
            return descriptor
        os.close(descriptor)
        return None


def _state_and_start_time(pid: int) -> tuple[str, int] | None:
    if pid <= 0:
        return None
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The command name in parentheses may itself hold spaces and parentheses.
    fields = text[text.rindex(")") + 2 :].split()
    return fields[0], int(fields[19])
