"""`rtloop policy quantize` as a user meets it, from a recording on; never how many microseconds."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rtloop.cli.main import main
from rtloop.config import load
from rtloop.run import Run
from tests.policy.models import linear
from tests.policy.quantize.test_quantize import perceptron

TEXT = """\
recording: {directory: runs}
loops:
  arm:
    class: soft
    rate_hz: 500
    inputs: {q: {mailbox: [0, 0, 0, 0, 0, 0]}}
    policy:
      model: policy.onnx
      observation: [{input: q, scale: 0.5}]
    outputs: {o: {mailbox: true, size: 3, safe: 0}}
    realtime: {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}
    max_share: {missed: 1, skipped: 1, stale: 1, held: 1}
"""
LOOSE = ("--max-error", "0.2", "--max-time", "1000", "--seconds", "0.02")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a loop, its policy, and `run.mcap` of it, whose inputs move."""
    folder = tmp_path_factory.mktemp("quantize")
    (folder / "policy.onnx").write_bytes(perceptron(6, 32, 3))
    (folder / "arm.yaml").write_text(TEXT.replace("directory: runs", f"directory: {folder}/runs"))
    random = np.random.default_rng(3)
    with Run(load(folder / "arm.yaml"), "arm") as run:
        end = time.monotonic() + 0.6
        while time.monotonic() < end:
            run.loops["arm"].write_input("q", random.uniform(-1, 1, 6).tolist())
            time.sleep(0.002)
    (recording,) = (folder / "runs").rglob("run.mcap")
    recording.rename(folder / "run.mcap")
    return folder


@pytest.fixture(autouse=True)
def folder(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for file in ("policy.onnx", "arm.yaml", "run.mcap"):
        (tmp_path / file).write_bytes((recorded / file).read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def quantize(*arguments: str, to: str = "int8") -> int:
    calibration = ("--calibration", "run.mcap") if "--calibration" not in arguments else ()
    return main(["policy", "quantize", "arm.yaml", "--to", to, *calibration, *arguments])


def told(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_what_is_accepted_is_written_and_the_line_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert quantize(*LOOSE) == 0
    text = capsys.readouterr().out
    assert text.startswith("arm: int8\nranges from ")
    assert "raw[0]" in text
    assert "float32 / itself" in text
    assert "in closed loop: not known: no plant is known of this policy (--plant)" in text
    assert f"written: {folder}/policy.int8.onnx" in text
    assert "arm.yaml:8:14: loops.arm.policy.model: `model: policy.int8.onnx` takes it" in text
    changed = TEXT.replace("model: policy.onnx", "model: policy.int8.onnx")
    (folder / "arm.yaml").write_text(changed)
    assert main(["check", "arm.yaml"]) == 0


def test_a_refusal_is_one_and_writes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(folder.iterdir())
    assert quantize("--max-error", "1e-9", "--max-time", "1e-9", "--seconds", "0.02") == 1
    text = capsys.readouterr().out
    assert "refused: too large an error: 'raw[" in text
    assert "refused: slower: " in text
    assert text.rstrip().endswith("nothing is written")
    assert sorted(folder.iterdir()) == before


def test_json_has_every_element(capsys: pytest.CaptureFixture[str]) -> None:
    assert quantize("--json", "-o", "half.onnx", *LOOSE, to="float16") == 0
    found = told(capsys)
    assert (found["to"], found["exit_code"], found["refused"]) == ("float16", 0, [])
    assert [error["element"] for error in found["errors"]] == ["raw[0]", "raw[1]", "raw[2]"]
    assert found["written"] == {"policy": "half.onnx"}
    assert found["compared_runs"] > 20
    assert found["closed_loop"] is None
    assert found["float32"]["n"] > 0
    assert quantize("--json", "--max-error", "1e-9", "--seconds", "0.02", to="float16") == 1
    found = told(capsys)
    assert (found["exit_code"], found["written"]) == (1, {})


def test_the_recording_must_be_of_that_loop(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "arm.yaml").write_text(TEXT.replace("  arm:", "  leg:"))
    assert quantize() == 2
    assert (
        "run.mcap: found loops 'arm'; expected 'leg', the loop of arm.yaml"
        in capsys.readouterr().err
    )
    (folder / "policy.onnx").write_bytes(linear(np.ones((2, 3), np.float32)))
    (folder / "arm.yaml").write_text(TEXT.replace("[0, 0, 0, 0, 0, 0]", "[0, 0]"))
    assert quantize() == 2
    error = capsys.readouterr().err
    assert "found input 'q' of 6 elements (0, 1, 2, 3, …); expected 2 elements (0, 1)" in error


def test_a_recording_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert quantize("--calibration", "nowhere.mcap") != 0
    assert "nowhere.mcap" in capsys.readouterr().err


def test_cases_are_what_is_compared_where_both_are_given(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    random = np.random.default_rng(4)
    values = random.uniform(-1, 1, (37, 6)).astype(np.float32)
    np.savez(folder / "cases.npz", in_q=values, raw=np.zeros((37, 3), np.float32))
    assert quantize("--cases", "cases.npz", "--json", *LOOSE) == 0
    assert told(capsys)["compared_runs"] == 37


def test_inputs_are_cases_enough(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is the float32 model that int8 is compared with, not what the cases say of it."""
    random = np.random.default_rng(4)
    np.savez(folder / "cases.npz", in_q=random.uniform(-1, 1, (37, 6)).astype(np.float32))
    assert quantize("--cases", "cases.npz", "--json", *LOOSE) == 0
    assert told(capsys)["compared_runs"] == 37


def test_the_limits_are_numbers_above_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert quantize("--max-error", "-1") == 2
    assert "-1 is no number above 0" in capsys.readouterr().err
