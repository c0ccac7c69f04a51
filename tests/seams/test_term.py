"""A term is one class: decay.py, in this folder, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rtloop.cli.main import main
from rtloop.telemetry.mcap.reader import read_recording
from tests.kinds import filled
from tests.seams.seam import write_loop

pytestmark = pytest.mark.usefixtures("echo", "decay")

OBSERVATION = "{input: canyon, select: [level]}"


def test_a_new_term_runs_from_yaml_to_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_loop(tmp_path, (OBSERVATION, "{decay: canyon, keep: 0.75, scale: 0.5}"))
    assert main(["check", str(path)]) == 0
    capsys.readouterr()
    assert main(["run", str(path), "--duration", "0.5", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    loop = read_recording(Path(summary["recording"]), signals=True).loops["relay"]
    average, expected = np.float32(0), []
    for measured in loop.inputs[:, 0]:
        average = average * np.float32(0.75) + measured * np.float32(0.25)
        expected.append(np.float32(0.5) * average * np.float32(2))
    assert len(expected) > 10
    np.testing.assert_array_equal(loop.outputs[:, 0], np.array(expected, np.float32))
    assert Path(summary["report"]).stat().st_size > 0


@pytest.mark.parametrize(
    ("term", "complaint"),
    [
        (
            "{decay: valley}",
            "loop.yaml:11:29: loops.relay.policy.observation[0].decay: found 'valley'; expected "
            "the name of an input: canyon",
        ),
        ("{decay: canyon, keep: 2}", "observation[0].keep: found 2; expected"),
        (
            "{decay: canyon, input: canyon}",
            "found both decay and input; expected <one of terms>",
        ),
        ("{decay: canyon, scale: [1, 2]}", "observation[0].scale: found a list of 2"),
    ],
)
def test_its_configuration_errors_have_their_place(
    term: str, complaint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_loop(tmp_path, (OBSERVATION, term))
    assert main(["check", str(path)]) == 2
    assert filled(complaint) in capsys.readouterr().err
