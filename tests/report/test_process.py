"""The report is written by a process of its own, in memory that does not grow with the recording."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rtloop.errors import RecordingError, StoppedError
from rtloop.report.page import write_report
from rtloop.report.process import write_report_beside
from rtloop.stopping import stopped_when
from rtloop.telemetry.mcap.writer import RecordingWriter
from tests.telemetry.loops import batch_of, cycles, metadata

BLOCK = 20_000


def recorded(path: Path, blocks: int) -> Path:
    """20 000 cycles a block, the same ones again and again but for their index and times."""
    loop = metadata(n_inputs=1, n_outputs=1)
    batch = batch_of(cycles(BLOCK, miss_every=500), loop)
    writer = RecordingWriter(path)
    writer.describe_run("run", {})
    writer.add_loop(loop)
    for _ in range(blocks):
        writer.write("balance", batch)
        batch.records["cycle"] += BLOCK
        for name in ("release", "start", "read", "infer", "finish", "deadline"):
            batch.records[f"{name}_ns"] += BLOCK * loop.period_ns
    writer.finish({"loops": {}})
    return path


def test_the_page_is_the_same_as_from_this_process(tmp_path: Path) -> None:
    path = recorded(tmp_path / "run.mcap", 1)
    here = write_report(path, tmp_path / "here.html")
    beside = write_report_beside(path, tmp_path / "beside.html")
    assert beside.read_text() == here.read_text()


def test_what_is_wrong_with_a_recording_is_said_in_the_same_words(tmp_path: Path) -> None:
    path = recorded(tmp_path / "run.mcap", 1)
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(RecordingError) as here:
        write_report(path, tmp_path / "report.html")
    with pytest.raises(RecordingError) as beside:
        write_report_beside(path, tmp_path / "report.html")
    assert str(beside.value) == str(here.value)
    assert "rtloop recover" in str(here.value)


def test_a_process_that_dies_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying = tmp_path / "dying.py"
    dying.write_text("import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setattr("rtloop.child.ENTRY", dying)
    with pytest.raises(RecordingError, match=r"ended by signal 9; `rtloop report .*` tries again"):
        write_report_beside(tmp_path / "run.mcap", tmp_path / "report.html")


def test_a_process_that_hangs_is_ended_by_who_asks_for_a_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, pid = tmp_path / "hanging.py", tmp_path / "pid"
    hanging.write_text(
        f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(600)\n"
    )
    monkeypatch.setattr("rtloop.child.ENTRY", hanging)
    asked = ("SIGINT" if pid.exists() and pid.read_text() else "" for _ in itertools.count())
    with stopped_when(lambda: next(asked)), pytest.raises(StoppedError):
        write_report_beside(tmp_path / "run.mcap", tmp_path / "report.html")
    assert not Path(f"/proc/{pid.read_text()}").exists()


def test_it_imports_nothing_from_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = recorded(tmp_path / "run.mcap", 1)
    work = tmp_path / "work"
    work.mkdir()
    for name in ("numpy", "html", "mcap", "rtloop", "argparse"):
        (work / f"{name}.py").write_text("raise SystemExit('from the working directory')\n")
    monkeypatch.chdir(work)
    assert write_report_beside(path, tmp_path / "report.html").exists()


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="there is no CPU to go to")
def test_it_leaves_the_cpus_of_the_loops(tmp_path: Path) -> None:
    program = "import os; from rtloop.child import become_ordinary; become_ordinary([0])\n"
    program += "print(0 in os.sched_getaffinity(0), os.sched_getscheduler(0) == os.SCHED_OTHER)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True)
    assert done.stdout.split() == [b"False", b"True"]


_PEAK = """
import sys
from pathlib import Path
from rtloop.report.page import write_report
write_report(Path(sys.argv[1]), Path(sys.argv[2]))
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


def peak_kib(recording: Path) -> int:
    html = recording.with_suffix(".html")
    command = [sys.executable, "-c", _PEAK, str(recording), str(html)]
    return int(subprocess.run(command, capture_output=True, check=True).stdout)


def test_memory_does_not_grow_with_the_recording(tmp_path: Path) -> None:
    short = peak_kib(recorded(tmp_path / "short.mcap", 2))
    long = peak_kib(recorded(tmp_path / "long.mcap", 30))
    # 560 000 cycles more: their records alone would be 60 MiB, and were held several times.
    assert long - short < 12 * 1024, (short, long)
