"""A transport is two files: echo.py and echo.cpp, in this folder, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rtloop.cli.main import main
from rtloop.telemetry.mcap.reader import read_recording
from tests.kinds import filled
from tests.seams.seam import write_loop

pytestmark = pytest.mark.usefixtures("echo")


def test_a_new_transport_runs_from_yaml_to_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_loop(tmp_path)
    assert main(["check", str(path)]) == 0
    assert "relay: soft, 200 Hz" in capsys.readouterr().out

    assert main(["run", str(path), "--duration", "0.5", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    relay = summary["loops"]["relay"]
    assert relay["executed"] > 10
    assert relay["outcomes"]["dropped"] == 0

    recording = read_recording(Path(summary["recording"]), signals=True).loops["relay"]
    assert [(s.name, s.unit) for s in recording.metadata.inputs] == [("canyon.level", "V")]
    assert recording.metadata.sources == ("canyon",)
    assert (recording.sources["age_ns"] >= 0).all()
    # The device measures what it was told, one command later; the policy doubles it.
    told, measured = recording.outputs[:-1, 0], recording.inputs[1:, 0]
    np.testing.assert_array_equal(measured, told)
    assert "relay" in Path(summary["report"]).read_text()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            ("canyon: {echo: wall, ", "canyon: {echo: 5, "),
            "loop.yaml:8:22: loops.relay.inputs.canyon.echo: found 5; expected",
        ),
        (
            ("canyon: {echo: wall, ", "canyon: {"),
            "loop.yaml:8:7: loops.relay.inputs.canyon: found <none of inputs>; "
            "expected <one of inputs>",
        ),
        (
            ("fails_after: 0", "fails_afer: 0"),
            "loops.relay.inputs.canyon.fails_afer: found an unknown key",
        ),
        (
            ("select: [level]", "select: [volume]"),
            "loops.relay.policy.observation[0].select[0]: found 'volume'; expected a field of "
            "input 'canyon': level",
        ),
    ],
)
def test_its_configuration_errors_have_their_place(
    change: tuple[str, str],
    complaint: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = write_loop(tmp_path, change)
    assert main(["check", str(path)]) == 2
    assert filled(complaint) in capsys.readouterr().err


def test_its_loss_is_a_fault_in_its_own_words(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_loop(tmp_path, ("fails_after: 0", "fails_after: 20"))
    assert main(["run", str(path), "--duration", "20", "--json"]) == 1
    summary = json.loads(capsys.readouterr().out)
    (problem,) = summary["problems"]
    assert "the echo 'wall' fell silent: Remote I/O error. Shout again" in problem
    assert summary["loops"]["relay"]["fault_reason"] == "port_error"
    assert summary["stopped_by"] == "fault"
