"""The command ``rtloop init``: where it writes, what it says, what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rtloop.cli.main import main
from tests.policy.importing.loops import linear


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.onnx").write_bytes(linear(3, 2)[0])
    return "policy.onnx"


def test_nothing_is_overwritten_without_force(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "loop.yaml").write_text("mine")
    assert main(["init", model]) == 2
    assert "loop.yaml is there already; --force overwrites it" in capsys.readouterr().err
    assert (tmp_path / "loop.yaml").read_text() == "mine"
    assert main(["init", model, "--force"]) == 0
    assert "loops:" in (tmp_path / "loop.yaml").read_text()
    assert main(["init", model, "-o", "other.yaml"]) == 0


def test_a_dash_is_stdout_and_what_is_left_open_goes_to_stderr(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", model, "-o", "-"]) == 0
    said = capsys.readouterr()
    assert not (tmp_path / "loop.yaml").exists()
    lines = said.out.splitlines()
    listed = [line for line in said.err.splitlines() if line.startswith("  line ")]
    assert len(listed) == sum("# TODO(you): " in line for line in lines) > 3
    for line in listed:
        number, _, words = line.removeprefix("  line ").partition(": ")
        assert "TODO(you): " in lines[int(number) - 1]
        assert lines[int(number) - 1].partition("TODO(you): ")[2] in words


def test_what_is_left_open_as_json(model: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["init", model, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["file"] == "loop.yaml"
    assert all(todo["line"] > 0 and todo["todo"] for todo in found["todos"])


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["nothere.onnx"], 2, "no such policy file"),
        (["policy.onnx", "nothere.yaml"], 2, "nothere.yaml: cannot be read"),
        (["policy.onnx", "--rename", "obs=Bad Name"], 2, "--rename: 'Bad Name' is no name"),
        (["policy.onnx", "--rename", "obs"], 2, "obs is no NAME=VALUE"),
        (
            ["policy.onnx", "--rename", "ob=x"],
            2,
            "found 'ob', which nothing is called; expected one of action, obs",
        ),
        (
            ["policy.onnx", "--rename", "obs=action"],
            2,
            "the name 'action' for both 'obs' and 'action'",
        ),
        (
            ["policy.onnx", "--rename", "obs=a", "--rename", "obs=b"],
            2,
            "obs is given as a and as b",
        ),
        (["policy.onnx", "-o", "policy.onnx", "--force"], 2, "policy.onnx is what is read"),
        (["bundle.yaml", "--joints", "a,b"], 2, "--joints: found beside a bundle"),
        (["bundle.yaml", "--fix-dimension", "n=2"], 2, "--fix-dimension: found beside a bundle"),
        (["policy.onnx", "--joints", "a,a"], 2, "a,a is no list of different names"),
        (["policy.onnx", "--fix-dimension", "n=0"], 2, "n=0 is no size"),
        (["policy.onnx", "-o", "nowhere/loop.yaml"], 1, "cannot be written: No such file"),
        (["policy.onnx", "-o", "-", "--json"], 2, "both want stdout"),
    ],
)
def test_what_is_wrong_is_said(
    model: str, arguments: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["init", *arguments]) == code
    assert message in capsys.readouterr().err
    assert Path("policy.onnx").read_bytes() == linear(3, 2)[0]
