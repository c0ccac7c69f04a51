"""A day of recording, accelerated: whether recorder and report keep their memory, and files are split."""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from benchmarks import command_line
from benchmarks.made_up_loop import NAME, MadeUpLoop
from benchmarks.memory import MIB, Samples
from benchmarks.result import Result, Table, Target
from rtloop.telemetry.mcap.part_names import parts_there
from rtloop.telemetry.recorder.split import Split
from rtloop.telemetry.recorder.start import RecorderProcess

HOUR_S = 3600.0
KEEP = 3
RING_S = 10
"""Of this clock; the ring of a real loop holds 60 s."""
_PEAK = """
import sys
from pathlib import Path
from rtloop.report.page import write_report
write_report(Path(sys.argv[1]), Path(sys.argv[2]))
status = Path("/proc/self/status").read_text()
print(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")))
"""


def measure(options: argparse.Namespace, result: Result) -> None:
    hours = options.seconds * options.speed / HOUR_S
    samples = Samples()
    most_files = 0
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run.mcap"
        loop = MadeUpLoop(1000, capacity=int(1000 * RING_S * options.speed))
        split_s = 60 * options.split_minutes / options.speed
        split = Split(size_bytes=10**9, seconds=split_s, keep=KEEP)
        recorder = RecorderProcess.start([loop.ring_path], out, split=split)
        recorder.wait_ready()
        feeder = threading.Thread(target=loop.run, args=(options.seconds, options.speed))
        began_s = time.monotonic()
        feeder.start()
        while feeder.is_alive():
            elapsed_s = time.monotonic() - began_s
            samples.add(recorder.pid, elapsed_s * options.speed / HOUR_S)
            most_files = max(most_files, len(parts_there(out)))
            if len(samples.total) % 60 == 1:
                command_line.progress(f"{samples.time_s[-1]:.1f} h of {hours:.1f}")
            time.sleep(min(0.5, options.seconds / 50))
        feeder.join()
        loop.finish()
        done = recorder.wait(60.0)
        files = parts_there(out)
        sizes = [file.stat().st_size for file in files]
        report_s, report_mib = _report(out)
    _tell(result, samples, hours)
    table = Table(["", ""], title=f"{hours:.3g} h at 1 kHz, {options.speed:g} times as fast")
    table.add("cycles", loop.fed)
    table.add("files at the end", len(files))
    table.add("MB of the largest", max(sizes) / 1e6)
    table.add("MB written", done.size_bytes / 1e6)
    table.add("report of what is kept, MiB at most", report_mib)
    table.add("report of what is kept, s", report_s)
    result.tables.append(table)
    result.targets += [
        Target("records lost", done.lost.get(NAME, 0) if not done.error else None, "=", 0),
        # One more for the moment in which the oldest is about to go.
        Target("files at any time", most_files, "≤", KEEP + 1),
        Target("report, memory at most", report_mib, "<", 100.0, " MiB"),
    ]
    result.notes.append(
        "flushed 4 times a second as ever, so a file has up to 14 400 chunks an hour less than in real "
        "time: 1.5 MB of index, which goes with the file"
    )


def _tell(result: Result, samples: Samples, hours: float) -> None:
    table = Table(["hour", "recorder, anonymous MiB"], title="memory")
    step = max(1, len(samples.total) // 12)
    for at_h, anonymous in list(zip(samples.time_s, samples.anonymous, strict=True))[::step]:
        table.add(f"{at_h:.2f}", anonymous / MIB)
    result.tables.append(table)
    # The first files fill what every later one uses again.
    growth = samples.growth_mib(samples.anonymous, min(2.0, hours / 3))
    result.targets.append(Target("growth of the recorder", growth, "<", 4.0, " MiB"))
    most = max(samples.anonymous, default=0) / MIB
    result.targets.append(Target("recorder at most", most, "<", 80.0, " MiB"))


def _report(recording: Path) -> tuple[float, float]:
    began_s = time.monotonic()
    command = [sys.executable, "-c", _PEAK, str(recording), str(recording.with_suffix(".html"))]
    done = subprocess.run(command, capture_output=True, check=True)
    return time.monotonic() - began_s, int(done.stdout) / 1024


def main() -> int:
    parser = command_line.parser(__doc__, seconds=432)
    parser.add_argument(
        "--speed", type=float, default=200.0, help="times as fast as the loop (default 200: a day)"
    )
    parser.add_argument(
        "--split-minutes", type=float, default=60.0, help="of the loop (default 60)"
    )
    return command_line.run("day", "A day of recording", parser, measure)


if __name__ == "__main__":
    sys.exit(main())
