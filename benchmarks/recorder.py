"""What recording costs: the recorder's process beside a loop of 1 and of 10 kHz, and its writer against
one message at a time."""

from __future__ import annotations

import argparse
import io
import sys
import tempfile
import time
from pathlib import Path

import psutil
from mcap.writer import Writer

from benchmarks import command_line
from benchmarks.made_up_loop import NAME, MadeUpLoop
from benchmarks.result import Result, Table, Target
from rtloop.policy.bench.distribution import ratio
from rtloop.telemetry.mcap.reader import read_recording
from rtloop.telemetry.mcap.writer import CHUNK_BYTES, RecordingWriter
from rtloop.telemetry.observe.ring import Batch, Ring
from rtloop.telemetry.recorder.start import RecorderProcess

_BATCH = 400
"""Cycles that a recorder finds at once, at 4 kHz."""
_REPEATS = 5


def measure(options: argparse.Namespace, result: Result) -> None:
    table = Table(["", "% of a core", "µs a cycle", "B a cycle", "lost"], title="recorder process")
    for rate_hz, most in ((1_000, 2.0), (10_000, 5.0)):
        command_line.progress(f"{rate_hz} Hz")
        with tempfile.TemporaryDirectory() as folder:
            share, n_bytes, n, lost = _beside(Path(folder), rate_hz, options.seconds)
        table.add(f"{rate_hz} Hz", 100 * share, 1e6 * share / rate_hz, ratio(n_bytes, n), lost)
        result.targets.append(Target(f"recorder at {rate_hz} Hz", 100 * share, "≤", most, " %"))
        result.targets.append(Target(f"records lost at {rate_hz} Hz", lost, "=", 0))
    result.tables.append(table)
    command_line.progress("its writer")
    _writers(result)


def _beside(folder: Path, rate_hz: int, seconds: float) -> tuple[float, int, int, int]:
    loop = MadeUpLoop(rate_hz, capacity=10 * rate_hz)
    recorder = RecorderProcess.start([loop.ring_path], folder / "run.mcap")
    recorder.wait_ready()
    loop.run(0.2)  # its first batch, which imports and compiles
    process = psutil.Process(recorder.pid)
    before_s, began_s = _cpu_s(process), time.monotonic()
    loop.run(seconds)
    share = (_cpu_s(process) - before_s) / (time.monotonic() - began_s)
    loop.finish()
    done = recorder.wait()
    return share, done.size_bytes, loop.fed, done.lost[NAME]


def _writers(result: Result) -> None:
    """The same cycles by turns: as arrays, and the same messages one by one by the mcap package."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        loop = MadeUpLoop(10_000, capacity=20_001)
        loop.feed(20_000)
        batch = Ring(loop.ring_path).read(20_000)
        arrays_s, single_s = [], []
        for i in range(_REPEATS):
            out = path / f"{i}.mcap"
            began_s = time.process_time()
            _write(loop, batch, out)
            arrays_s.append(time.process_time() - began_s)
            messages = _messages(out)
            began_s = time.process_time()
            _write_singly(messages)
            single_s.append(time.process_time() - began_s)
        read_back = len(read_recording(path / "0.mcap").loops[NAME].records)
    result.targets.append(Target("cycles not read back", len(batch) - read_back, "=", 0))
    table = Table(["", "µs a cycle"], title="writer alone, compression included")
    table.add("arrays of messages", 1e6 * min(arrays_s) / len(batch))
    table.add("one message at a time (mcap package)", 1e6 * min(single_s) / len(batch))
    result.tables.append(table)
    result.targets.append(
        Target("arrays / one at a time", ratio(min(arrays_s), min(single_s)), "≤", 0.5, " ×")
    )


def _write(loop: MadeUpLoop, batch: Batch, out: Path) -> None:
    writer = RecordingWriter(out)
    writer.describe_run("made-up", {})
    writer.add_loop(loop.metadata)
    for begin in range(0, len(batch), _BATCH):
        writer.write(NAME, batch.part(begin, begin + _BATCH))
    writer.finish({})


def _messages(path: Path) -> list[tuple[int, int, bytes]]:
    from mcap.reader import make_reader

    with path.open("rb") as file:
        found = make_reader(file).iter_messages(log_time_order=False)
        return [(channel.id, message.log_time, message.data) for _, channel, message in found]


def _write_singly(messages: list[tuple[int, int, bytes]]) -> None:
    """Less than a recorder did: the messages are encoded already."""
    writer = Writer(io.BytesIO(), chunk_size=CHUNK_BYTES, enable_data_crcs=True)
    writer.start(profile="ros2")
    for channel in sorted({channel for channel, _, _ in messages}):
        writer.register_channel(f"/{channel}", "cdr", 0)
    for sequence, (channel, at, data) in enumerate(messages):
        writer.add_message(channel, at, data, at, sequence)
    writer.finish()  # type: ignore[no-untyped-call]


def _cpu_s(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def main() -> int:
    parser = command_line.parser(__doc__, seconds=30)
    return command_line.run("recorder", "What recording costs", parser, measure)


if __name__ == "__main__":
    sys.exit(main())
