"""What a model runs on, as people, programs and recordings are told."""

from __future__ import annotations

import json
import os
import pty
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtloop.cli.check import check
from rtloop.cli.main import main
from rtloop.config import load
from rtloop.policy.aot import gain as gain_module
from rtloop.run import Run
from rtloop.telemetry.mcap.reader import read_recording
from tests.core.compiled import needs_compiler
from tests.policy.aot.conftest import needs_tools, opened_loop
from tests.policy.aot.test_brought import TWICE, brought
from tests.policy.models import linear

THREE = linear(np.ones((3, 2), np.float32))


def run_briefly() -> Path:
    with Run(load(Path("loop.yaml")), "test") as run:
        time.sleep(0.3)
        run.stop()
        run.write_report()
    return run.directory


@needs_compiler
@pytest.mark.usefixtures("without_generator")
@pytest.mark.parametrize("is_there", [True, False])
def test_a_recording_says_what_each_model_ran_on(is_there: bool) -> None:
    if is_there:
        brought(None)
    opened_loop(TWICE, 3, 3)
    directory = run_briefly()
    expected = "aot" if is_there else "ort"
    loop = read_recording(directory / "run.mcap").loops["a"]
    assert loop.metadata.run["policy_backends"] == {"policy": expected}
    assert len(loop.records) > 0
    report = (directory / "report.html").read_text()
    assert ("policy: aot" in report) == is_there


@needs_compiler
@pytest.mark.usefixtures("without_generator")
def test_check_and_show_tell_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    opened_loop(TWICE, 3, 3)
    note = "policy runs in onnxruntime, not compiled: emx-onnx-cgen, which writes the C, is not"
    assert main(["check", "loop.yaml"]) == 0
    assert f"  a: {note}" in capsys.readouterr().out
    assert main(["policy", "show", "loop.yaml"]) == 0
    assert f"note: {note}" in capsys.readouterr().out
    brought(None)
    opened_loop(TWICE, 3, 3)
    assert main(["check", "--json", "loop.yaml"]) == 0
    (loop,) = json.loads(capsys.readouterr().out)["loops"].values()
    assert loop["backends"] == {"policy": "aot"}
    assert "policy runs compiled ahead of time (a generator, a compiler)" in loop["notes"]


@pytest.mark.usefixtures("without_generator")
def test_without_a_generator_check_does_not_speak_of_it(
    capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    opened_loop(THREE, 3, 2, "ort")
    assert main(["check", "loop.yaml"]) == 0
    assert "aot" not in capsys.readouterr().out
    assert check(Path("loop.yaml")).loops[0].gain is None
    assert not cache.exists()


@needs_tools
def test_check_says_what_it_would_gain(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened_loop(THREE, 3, 2, "ort")
    assert main(["check", "loop.yaml"]) == 0
    assert "  a: `backend: aot` takes " in capsys.readouterr().out
    assert main(["check", "--json", "loop.yaml"]) == 0
    (loop,) = json.loads(capsys.readouterr().out)["loops"].values()
    assert loop["backends"] == {"policy": "ort"}
    assert loop["aot_p50_us"] > 0
    assert loop["ort_p50_us"] > 0
    opened_loop(THREE, 3, 2, "aot")
    assert check(Path("loop.yaml")).loops[0].gain is None, "it is chosen already"
    monkeypatch.setattr(gain_module, "LARGEST_BYTES", 10)
    opened_loop(THREE, 3, 2, "ort")
    assert check(Path("loop.yaml")).loops[0].gain is None, "that would take long"


def compiled_into(folder: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, Any]:
    code = main(["policy", "compile", "loop.yaml", "--into", folder, "--json"])
    return code, json.loads(capsys.readouterr().out)


@needs_tools
def test_what_was_compiled_is_taken_along(
    capsys: pytest.CaptureFixture[str], request: pytest.FixtureRequest, cache: Path
) -> None:
    opened_loop(THREE, 3, 2, "ort")
    code, told = compiled_into("compiled", capsys)
    (object_,) = told["loops"]["a"]["objects"]
    assert (code, told["exit_code"]) == (0, 0)
    assert Path("compiled", f"{object_['model']}-{object_['key'][:16]}.so").exists()
    assert not cache.exists(), "nothing beside what was asked for"
    assert main(["policy", "compile", "loop.yaml", "--into", "compiled"]) == 0
    assert "a: policy runs compiled ahead of time (emx-onnx-cgen" in capsys.readouterr().out
    request.getfixturevalue("without_generator")  # the robot
    found = opened_loop(THREE, 3, 2, aot_cache="compiled")
    assert found.assembled.backends.by_model == {"policy": "aot"}
    Path("compiled").rename("elsewhere")
    found = opened_loop(THREE, 3, 2, aot_cache="compiled")
    assert found.assembled.backends.by_model == {"policy": "ort"}


@pytest.mark.usefixtures("without_generator")
def test_compile_ends_with_1_where_something_is_not_compiled(
    capsys: pytest.CaptureFixture[str],
) -> None:
    opened_loop(THREE, 3, 2)
    code, told = compiled_into("compiled", capsys)
    assert (code, told["exit_code"]) == (1, 1)
    assert "is not installed" in told["loops"]["a"]["reasons"]["policy"]


@needs_tools
@pytest.mark.parametrize("is_terminal", [True, False])
def test_who_waits_at_a_terminal_is_told_why(
    is_terminal: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened_loop(THREE, 3, 2, "ort")
    ours, theirs = pty.openpty() if is_terminal else os.pipe()
    reader, writer = ours, theirs
    with os.fdopen(writer, "w") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        assert main(["policy", "compile", "loop.yaml"]) == 0
        stream.flush()
        os.set_blocking(reader, False)
        try:
            said = os.read(reader, 1000).decode()
        except BlockingIOError:
            said = ""
    os.close(reader)
    assert ("compiling 'policy' for this CPU …" in said) == is_terminal
    assert "compiling" not in capsys.readouterr().out
