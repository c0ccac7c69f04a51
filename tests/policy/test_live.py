"""Real policies in real loops: what a run recorded is what the graph gives for the samples it recorded."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rtloop import Run, core
from rtloop.assembly import assemble
from rtloop.assumed import assumed_inputs, assumed_outputs
from rtloop.config import Config, loads
from rtloop.telemetry.mcap.reader import LoopRecording, read_recording
from tests.policy.test_wild import NAMES, folder_of

CYCLES = 60
_APPLIED = (core.OUTCOMES["written"], core.OUTCOMES["written_late"])


def _config(name: str, folder: Path) -> Config:
    text = (folder / f"{name}.yaml").read_text()
    return loads(f"recording: {{directory: {folder}}}\n{text}", str(folder / "live.yaml"))


@pytest.mark.parametrize("name", NAMES)
def test_a_run_commands_what_its_graph_gives_for_what_it_read(name: str, tmp_path: Path) -> None:
    config = _config(name, folder_of(name, tmp_path))
    ((loop_name, loop),) = config.loops.items()
    expected = np.load(tmp_path / "expected.npz")
    with Run(config, "live") as run:
        running = run.loops[loop_name]
        for step in range(CYCLES):
            for key in loop.inputs:
                running.write_input(key, expected[f"in_{key}"][step].astype(float).tolist())
            run.wait(duration_s=loop.period_ns / 1e9)
    recording = read_recording(next(tmp_path.glob("*/run.mcap")), signals=True).loops[loop_name]
    assert len(recording.records) >= CYCLES // 2
    _compare(config, loop_name, recording)


def _compare(config: Config, name: str, recording: LoopRecording) -> None:
    loop = config.loops[name]
    policy = loop.policy.load(lambda *keys: config.where("loops", name, "policy", *keys))
    inputs = assumed_inputs(config, name, policy)
    runner = assemble(config, name, inputs, assumed_outputs(loop, policy), policy).runner
    ends = np.cumsum([len(signals) for signals in inputs.values()])[:-1]
    assert recording.inputs.shape[1] == sum(len(signals) for signals in inputs.values())
    for record, read, sent in zip(
        recording.records, recording.inputs, recording.outputs, strict=True
    ):
        applied = int(record["outcome"]) in _APPLIED
        command = runner.run(np.split(read, ends), applied, cycle=int(record["cycle"]))
        if applied:
            np.testing.assert_array_equal(command, sent)
