"""A 50 Hz policy over a 1 kHz PD in one loop, recorded: both grids must hold, whatever the machine does."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks import command_line
from benchmarks.policies import Network
from benchmarks.result import Result, Table, Target
from rtloop import Run
from rtloop.config import loads
from rtloop.policy.bench.distribution import Distribution
from rtloop.telemetry.mcap.reader import LoopRecording, read_recording
from rtloop.telemetry.observe.records import EVENT_BITS, response_ns

EVERY = 20
JOINTS = 12
LOOP = """
recording: {{directory: {folder}}}
loops:
  legs:
    class: soft
    rate_hz: 1000
    realtime: {{cpu_affinity: [{cpu}], thread_priority: {priority}}}
    inputs:
      gyro_and_more: {{mailbox: {rest}}}
      joint_pos: {{mailbox: {still}}}
      joint_vel: {{mailbox: {still}}}
    policy:
      model: {folder}/policy.onnx
      every: {every}
      between: interpolate
      observation:
        - {{input: gyro_and_more}}
        - {{input: joint_pos}}
        - {{input: joint_vel}}
        - {{last_action: true}}
      action:
        scale: 0.25
        controllers:
          - {{pd: {{stiffness: 40, damping: 1, limit: 25, position: joint_pos, velocity: joint_vel}}}}
    outputs:
      torques: {{mailbox: true, safe: {still}}}
"""


def measure(options: argparse.Namespace, result: Result) -> None:
    network = Network((48, 512, 256, 128, JOINTS), "Elu")
    still = [0.0] * JOINTS
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "policy.onnx").write_bytes(network.model())
        text = LOOP.format(
            folder=folder,
            cpu=options.cpu,
            priority=options.priority,
            every=EVERY,
            rest=[0.1] * (network.n_inputs - 3 * JOINTS),
            still=still,
        )
        with Run(loads(text, f"{folder}/rates.yaml"), "rates") as run:
            run.wait(duration_s=options.seconds)
            status = run.loops["legs"].status()
        recording = read_recording(next(Path(folder).glob("*/run.mcap")), signals=True)
    legs = recording.loops["legs"]
    records = legs.records
    with_policy = (records["events"] & EVENT_BITS["policy"]) != 0
    times = Table(
        ["", "p50 µs", "p99 µs", "p99.9 µs", "N"], title=f"1 kHz, {network.name} at 50 Hz"
    )
    for name, which in (("cycles with the policy", with_policy), ("between", ~with_policy)):
        times.add(name, *Distribution.of(response_ns(records[which])).us())
    result.tables.append(times)
    periods = np.unique(records["cycle"] // EVERY)
    result.notes.append(
        f"{status['skipped']} of {status['elapsed_periods']} releases were skipped; "
        f"{len(periods)} periods of the policy had a cycle"
    )
    result.targets += [
        Target(
            "elapsed - executed - skipped",
            status["elapsed_periods"] - status["executed"] - status["skipped"],
            "=",
            0,
        ),
        Target("records lost", legs.summary.records_lost, "=", 0),
        Target("periods - runs of the policy", len(periods) - int(with_policy.sum()), "=", 0),
        Target("runs beside the first cycle of a period", _misplaced(records, with_policy), "=", 0),
        Target("commands off the line", _off_the_line(legs), "=", 0),
    ]


def _misplaced(records: NDArray[np.void], with_policy: NDArray[np.bool_]) -> int:
    """Runs of the policy that were not in the first cycle that its period had."""
    _, first = np.unique(records["cycle"] // EVERY, return_index=True)
    return len(np.setxor1d(first, np.flatnonzero(with_policy)))


def _off_the_line(legs: LoopRecording) -> int:
    """Cycles, without any loss before, whose torque is not that of the straight line between two targets."""
    cycles, torques = legs.records["cycle"], legs.outputs
    whole = np.flatnonzero((cycles[2:] - cycles[:-2] == 2) & (cycles[1:-1] % EVERY != 0)) + 1
    whole = whole[(cycles[whole] % EVERY != EVERY - 1)]
    bend = torques[whole - 1] - 2 * torques[whole] + torques[whole + 1]
    return int((np.abs(bend) > 1e-3).any(axis=1).sum())


def main() -> int:
    parser = command_line.parser(__doc__, seconds=300)
    return command_line.run("rates", "a policy slower than its loop", parser, measure)


if __name__ == "__main__":
    sys.exit(main())
