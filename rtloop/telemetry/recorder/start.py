"""The parent's side of the recorder: start it beside a loop, watch it, collect its result."""

import json
import os
import selectors
import subprocess
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote

from rtloop import child
from rtloop.errors import RecordingError
from rtloop.telemetry.observe.summary import LoopSummary
from rtloop.telemetry.recorder.split import Split

#: A recorder may take so long to start, on a board with a slow disk.
READY_S = 30.0
_END_GRACE_S = 2.0
#: Those that still write, until somebody looks whether they have ended.
_left_behind: list["subprocess.Popen[bytes]"] = []
# Said on the recorder's stdin, a line each: what went wrong in the run (a list in JSON), and that
# the loops have ended.
PROBLEMS = b"problems "
END = b"end\n"
# What the pipe holds: nobody waits for a recorder that does not listen.
_PROBLEMS_BYTES_MAX = 60_000
# Of one sentence, in characters: one at least fits, in up to 12 bytes each, or a run that went wrong would have
# a recording that says nothing did.
_PROBLEM_MAX = 4_000


@dataclass(frozen=True)
class RecordingResult:
    """How a recording ended. ``error`` is None when the file is whole."""

    recording: Path
    records: dict[str, int] = field(default_factory=dict)
    """Cycles written, by loop."""
    lost: dict[str, int] = field(default_factory=dict)
    """Cycles that were overwritten in the ring before they could be written, by loop."""
    size_bytes: int = 0
    error: str | None = None
    loops: dict[str, LoopSummary] = field(default_factory=dict)
    """Counted from every record."""


class RecorderProcess:
    """A running recorder. It survives its parent: nothing here has to be called for that."""

    def __init__(self, process: "subprocess.Popen[bytes]", out: Path) -> None:
        self._process = process
        self.out = out
        self._stdout = b""
        self._stderr = b""
        for pipe in (process.stdout, process.stderr):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)

    @classmethod
    def start(
        cls,
        rings: Sequence[Path],
        out: Path,
        *,
        split: Split | None = None,
        keep_rings: bool = False,
        aside: bool = False,
        avoid_cpus: Sequence[int] = (),
    ) -> "RecorderProcess":
        """Start recording ``rings`` (which exist) to the new file ``out``; returns at once.

        With a ``split`` there may be more files beside it (``mcap.parts``). One that records ``aside``
        begins with what the rings hold, until :meth:`end`, and leaves them to whoever else records them.

        ``avoid_cpus`` are the loop's. Raises ``RecordingError`` when no process can be started.
        """
        options = ["--out", str(out)]
        for option, value in (
            ("--split-bytes", split and split.size_bytes),
            ("--split-seconds", split and split.seconds),
            ("--keep", split and split.keep),
        ):
            options += [option, str(value)] if value is not None else []
        options += ["--keep-rings"] if keep_rings else []
        options += ["--aside"] if aside else []
        options += [option for cpu in avoid_cpus for option in ("--avoid-cpu", str(cpu))]
        try:
            process = subprocess.Popen(
                [*child.command("recorder"), *options, "--", *map(str, rings)],
                env=child.environment(),
                stdin=subprocess.PIPE,  # for end()
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # a closing terminal must not take the recorder along
                close_fds=True,  # nor must it hold on to the loop's /dev/cpu_dma_latency
            )
        except OSError as error:
            raise RecordingError(f"cannot start the recorder: {error}") from None
        return cls(process, out)

    @property
    def pid(self) -> int:
        """The recorder's process id."""
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Whether it still writes."""
        return self._process.poll() is None

    def wait_ready(self, timeout_s: float = READY_S) -> None:
        """Wait until file and rings are open. ``RecordingError`` when they cannot be."""
        if not self.is_ready(timeout_s):
            raise RecordingError(f"the recorder did not get ready within {timeout_s:g} s")

    def is_ready(self, timeout_s: float = 0.0) -> bool:
        """Whether file and rings are open, by then. ``RecordingError`` when they cannot be."""
        deadline_s = time.monotonic() + timeout_s
        while b"\n" not in self._stdout and self._process.poll() is None:
            self._collect(max(0.0, deadline_s - time.monotonic()))
            if b"\n" not in self._stdout and time.monotonic() >= deadline_s:
                return False
        if b'"ready"' not in self._stdout:  # it has said why, and is about to end
            if not self._wait_until(deadline_s):
                return False
            raise RecordingError(self._result().error or "the recorder ended at once")
        return True

    def poll(self) -> str | None:
        """Why recording has stopped although the loops go on, or None while all is well. Never waits."""
        self._collect(0.0)
        if self._process.poll() is None:
            return None
        self._collect(0.0)
        return self._result().error or (
            f"the recorder ended before the loops. Run `rtloop recover {quote(str(self.out))}` after the run."
        )

    def tell(self, problems: Sequence[str]) -> None:
        """What went wrong in the run, in sentences: its recording says so, too, if it is told before the
        rings are finalized. Returns at once."""
        # What no UTF-8 can say, as in the name of a file, must not keep the recorder from finishing.
        cut = [problem[:_PROBLEM_MAX] for problem in problems]
        told = [problem.encode(errors="backslashreplace").decode() for problem in cut]
        while len(said := PROBLEMS + json.dumps(told).encode() + b"\n") > _PROBLEMS_BYTES_MAX:
            del told[-1]
        self._say(said)

    def _say(self, line: bytes) -> None:
        stdin = self._process.stdin
        if stdin is not None and not stdin.closed:
            with suppress(OSError):  # it has ended
                os.write(stdin.fileno(), line)

    def end(self) -> None:
        """Tell it that the loops have ended: it writes what the rings hold and finishes, even if a ring
        is not finalized, because a cycle hangs. Returns at once."""
        self._say(END)
        if self._process.stdin is not None:
            self._process.stdin.close()

    def wait(self, timeout_s: float = 15.0) -> RecordingResult:
        """Wait for the end, by itself once the rings are finalized. Never longer than ~2 s over.

        A recorder that does not come to an end is told to (:meth:`end`), then killed; ``error`` says so.
        """
        if self._wait_until(time.monotonic() + timeout_s):
            return self._result()
        self.end()
        if self._wait_until(time.monotonic() + _END_GRACE_S):
            return self._result()
        self._process.kill()
        self._process.wait()
        self._close()
        return RecordingResult(
            self.out,
            error=f"the recorder did not finish within {timeout_s:g} s and was ended; "
            f"run `rtloop recover {quote(str(self.out))}`",
        )

    def ended(self, timeout_s: float = 0.0) -> "RecordingResult | None":
        """The same of one that ends by then; None where it still writes."""
        return self._result() if self._wait_until(time.monotonic() + timeout_s) else None

    def wait_or_leave(self, timeout_s: float) -> "RecordingResult | None":
        """The same of one that was told to end, but it is never killed: None where it still writes.

        It goes on by itself then, whatever becomes of this process.
        """
        if (result := self.ended(timeout_s)) is not None:
            return result
        self._close()
        _left_behind[:] = [one for one in _left_behind if one.poll() is None]
        _left_behind.append(self._process)
        return None

    def _wait_until(self, deadline_s: float) -> bool:
        while self._process.poll() is None:
            left_s = deadline_s - time.monotonic()
            if left_s <= 0:
                return False
            self._collect(min(left_s, 0.05))
        self._collect(0.0)
        self._close()
        return True

    def _close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def _collect(self, timeout_s: float) -> None:
        """Take what the recorder has said, waiting up to ``timeout_s`` for something."""
        out, err = self._process.stdout, self._process.stderr
        pipes = [pipe for pipe in (out, err) if pipe is not None and not pipe.closed]
        if not pipes:  # it has closed both, and is about to end
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout_s)
            return
        # Not select(): descriptors of a large program are beyond what it can watch.
        with selectors.DefaultSelector() as selector:
            for pipe in pipes:
                selector.register(pipe, selectors.EVENT_READ, pipe)
            readable = [key.data for key, _ in selector.select(timeout_s)]
        for pipe in readable:
            data = pipe.read()
            if data == b"":
                pipe.close()  # an ended pipe is always readable: keep it out of the next select
            elif pipe is out:
                self._stdout += data or b""
            else:
                self._stderr += data or b""

    def _result(self) -> RecordingResult:
        lines = self._stdout.decode(errors="replace").splitlines()
        try:
            said = json.loads(lines[-1])
            if "recording" not in said:
                raise ValueError("no result")
            loops = {k: LoopSummary.from_dict(v) for k, v in said.get("loops", {}).items()}
        except (ValueError, IndexError, TypeError, AttributeError, RecordingError):
            return RecordingResult(self.out, error=self._how_it_died())
        return RecordingResult(
            recording=Path(said["recording"]),
            records=said.get("records", {}),
            lost=said.get("lost", {}),
            size_bytes=said.get("bytes", 0),
            error=said.get("error"),
            loops=loops,
        )

    def _how_it_died(self) -> str:
        code = self._process.returncode
        how = f"was ended by signal {-code}" if code and code < 0 else f"ended with code {code}"
        said = self._stderr.decode(errors="replace").strip()
        last = f": {said.splitlines()[-1]}" if said else ""
        return (
            f"the recorder {how}{last}. Run `rtloop recover {quote(str(self.out))}` after the run."
        )
