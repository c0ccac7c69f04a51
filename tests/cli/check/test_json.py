"""What `check` and other commands tell programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import onnx
import pytest
from onnx import TensorProto, helper

from rtloop.cli.main import main
from tests.cli.check.loops import ALONE, TEXT, written
from tests.policy.models import save


def json_of(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, Any]:
    code = main([*map(str, arguments), "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_problems_are_told_to_programs_with_their_places(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(
        folder, TEXT, {"rate_hz: 100": "rate_hz: fast", "{device: nothere}": "{device: 5}"}
    )
    code, found = json_of(capsys, "check", path)
    assert (code, found["exit_code"]) == (2, 2)
    assert (
        found["problems"][0]
        == {
            "file": str(path),
            "line": 2,
            "column": 18,
            "key": "links.cart.device",
            "found": "5",
            "expected": "text (path of the serial device)",
            "message": "found 5; expected text (path of the serial device)",
            "severity": "error",
        }
        or found["problems"][0]["key"] == "links.cart.device"
    )
    assert [p["key"] for p in found["problems"]] == [
        "links.cart.device",
        "loops.a.rate_hz",
        "loops.b.rate_hz",
    ]
    assert [p["line"] for p in found["problems"]] == [2, 7, 16]
    assert {p["severity"] for p in found["problems"]} == {"error"}
    assert "\n".join(found["error"].splitlines()) == found["error"]


def test_warnings_are_among_the_problems(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, found = json_of(capsys, "check", written(folder, TEXT, {}))
    assert code == 0
    assert "error" not in found
    (warning,) = found["problems"]
    assert (warning["key"], warning["severity"]) == ("links.cart.device", "warning")
    assert found["warnings"] == [f"{warning['file']}:2:18: links.cart.device: {warning['message']}"]


GUESSED = "state {h_in: h_out} was guessed from the names"
BATCH = "dimension 'N' is a batch and was fixed to 1"


@pytest.fixture
def concluding(folder: Path) -> Path:
    """A loop whose policy has a state by its names, a batch, and joints and pose in its metadata."""
    element = TensorProto.FLOAT
    state = [(name, element, [1, 4]) for name in ("h_in", "h_out")]
    model = save(
        [
            helper.make_node("Identity", ["obs"], ["action"]),
            helper.make_node("Identity", ["h_in"], ["h_out"]),
        ],
        [("obs", element, ["N", 3]), state[0]],
        [("action", element, ["N", 3]), state[1]],
        {},
    )
    proto = onnx.load_from_string(model)
    helper.set_model_props(proto, {"joint_names": "a,b,c", "default_joint_pos": "1,2,3"})
    (folder / "three.onnx").write_bytes(proto.SerializeToString())
    return written(folder, ALONE, {"size: 3": "names: [a, b, c]"})


def test_what_is_concluded_of_a_policy_is_told(
    concluding: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, found = json_of(capsys, "check", concluding)
    assert code == 0
    notes = found["loops"]["b"]["notes"]
    assert notes[:2] == [BATCH, GUESSED]
    assert [note.partition(" of the model's metadata")[0] for note in notes[2:4]] == [
        "joints are those",
        "default_joint_pos is that",
    ]
    assert [note.partition(":")[0] for note in notes[4:]] == [
        "nobody writes mailboxes in `rtloop run`"
    ]
    assert main(["check", str(concluding)]) == 0
    text = capsys.readouterr().out
    assert all(f"\n  b: {note}\n" in text for note in notes)


def test_a_run_tells_what_it_concluded(
    concluding: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--duration", "0.1", "--no-record", "--no-report"]
    main(["run", str(concluding), *arguments])
    told = " ".join(capsys.readouterr().out.split())
    assert f"b: {GUESSED}" in told
    assert f"b: {BATCH}" in told


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["run", "nothere.yaml"], 2),
        (["run", "text.onnx"], 2),
        (["run"], 2),
        (["run", "nothere.yaml", "--duration", "-1"], 2),
        (["fly"], 2),
        (["check", "nothere.yaml"], 2),
        (["check", "nothere.yaml", "--nothing-like-that"], 2),
        (["demo", "nothere"], 2),
        (["report", "text.onnx"], 1),
        (["report", "nothere.mcap"], 1),
        (["report", "nothere.mcap", "--out", "~nobody of that name/x"], 2),
        (["recover", "text.onnx"], 1),
        (["recover", "nothere.mcap"], 1),
    ],
)
def test_every_command_tells_its_errors_as_json(
    arguments: list[str], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    given, found = json_of(capsys, *arguments)
    assert given == code
    if isinstance(found, list):  # recover says for each run what became of it
        assert [entry for entry in found if entry["error"]]
        return
    assert found["exit_code"] == code
    assert found["error"]
    assert found["problems"]
    for problem in found["problems"]:
        assert problem["message"] in found["error"]
        assert problem["severity"] == "error"


def test_without_json_errors_are_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run"]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert "required: FILE" in told.err
    assert "usage: rtloop run" in told.err


def test_a_path_of_the_command_line_may_begin_with_a_tilde(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(folder))
    written(folder, ALONE, {})
    assert main(["check", "~/loops.yaml"]) == 0
    assert f"{folder}/loops.yaml is valid" in capsys.readouterr().out
    assert main(["check", "~nobody-of-that-name/loops.yaml"]) == 2
    assert "no such user" in capsys.readouterr().err
