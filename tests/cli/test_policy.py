"""`rtloop policy show` and `verify` as a user meets them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest

from rtloop.cli.main import main
from rtloop.cli.terminal import Terminal
from tests.policy.arm import TEXT, WEIGHT, expected, saved
from tests.policy.models import linear
from tests.policy.test_show import CONFIG, SIZE


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "policy.onnx").write_bytes(linear(WEIGHT))
    (tmp_path / "arm.yaml").write_text(TEXT)
    return tmp_path


def _shown_folder(folder: Path) -> None:
    (folder / "policy.onnx").write_bytes(linear(np.ones((SIZE, 3), np.float32)))
    (folder / "arm.yaml").write_text(CONFIG.read_text())


def _told(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_show_folds_histories_unless_all_is_asked_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _shown_folder(folder)
    assert main(["policy", "show", "arm.yaml"]) == 0
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "  15  motors.c             motors[2]                   (x - 0.3) · 0.5" in text
    assert "… 2 more steps of them, 1 … 0 ago: elements 5 to 14 (--all shows them)" in text
    assert "default" in next(line for line in text.splitlines() if "arm.idle" in line)
    assert main(["policy", "show", "arm.yaml", "--all"]) == 0
    text = capsys.readouterr().out
    assert "more steps" not in text
    assert len([line for line in text.splitlines() if "gyro[" in line]) == 3 * 3 + 6 + 1 + 1
    assert "note: group: waist.2 = gyro[2]" in text


@pytest.mark.parametrize("columns", [40, 60, 79, 100, 200])
def test_show_fits_the_terminal_and_cuts_visibly(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    _shown_folder(folder)
    monkeypatch.setattr(Terminal, "columns", columns)
    assert main(["policy", "show", "arm.yaml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    wide = [line for line in lines if len(line) > columns and not line.startswith("note: ")]
    assert wide == [], "sentences are broken on a terminal alone"
    row = next(line for line in lines if line.startswith("   0  gyro.0"))
    assert ("…" in row) == (columns < 100)
    assert ("[-1, 1]" in row) == (columns >= 100)  # the formula says so, too


def test_show_as_json_has_every_element(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _shown_folder(folder)
    assert main(["policy", "show", "arm.yaml", "--json"]) == 0
    told = _told(capsys)
    assert told["file"] == "arm.yaml"
    assert len(told["loops"]["arm"]["observations"]["policy.obs"]) == SIZE
    assert len(told["loops"]["arm"]["command"]) == 5


def test_show_writes_the_graph(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "show", "arm.yaml", "--graph", "out.onnx"]) == 0
    assert "out.onnx" in capsys.readouterr().out
    session = onnxruntime.InferenceSession(folder / "out.onnx", providers=["CPUExecutionProvider"])
    assert "input/gyro" in [node.name for node in session.get_inputs()]
    told = {p.key: json.loads(p.value) for p in onnx.load(folder / "out.onnx").metadata_props}
    (last,) = (name for name, output in told["rtloop.feedback"].items() if output == "action")
    assert told["rtloop.initial"][last] == [0.5, -0.5]  # the safe command
    assert last in [node.name for node in session.get_inputs()]
    assert main(["policy", "show", "arm.yaml", "--graph", "nowhere/out.onnx"]) == 1
    assert "cannot write 'nowhere/out.onnx'" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["policy.onnx", "arm.yaml"])
def test_the_graph_overwrites_nothing_unasked(
    folder: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    before = (folder / name).read_bytes()
    assert main(["policy", "show", "arm.yaml", "--graph", name]) == 2
    assert f"{name} is there already; --force overwrites it" in capsys.readouterr().err
    assert (folder / name).read_bytes() == before
    assert main(["policy", "show", "arm.yaml", "--graph", name, "--force"]) == 0
    assert (folder / name).read_bytes() != before


def test_a_policy_that_check_refuses_is_not_shown(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "policy.onnx").write_bytes(linear(WEIGHT[1:]))
    assert main(["policy", "show", "arm.yaml", "--json"]) == 2
    assert "14" in _told(capsys)["error"]


def test_one_of_several_loops_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two = TEXT + TEXT.replace("loops:\n", "").replace("  arm:", "  leg:")
    (folder / "arm.yaml").write_text(two)
    cases = str(saved(folder, expected()))
    assert main(["policy", "show", "arm.yaml", "--json"]) == 0
    assert list(_told(capsys)["loops"]) == ["arm", "leg"]
    assert main(["policy", "show", "arm.yaml", "--loop", "leg", "--json"]) == 0
    assert list(_told(capsys)["loops"]) == ["leg"]
    assert main(["policy", "verify", "arm.yaml", cases]) == 2
    assert "2 loops ('arm', 'leg'): say which one" in capsys.readouterr().err
    assert main(["policy", "verify", "arm.yaml", cases, "--loop", "leg"]) == 0
    assert main(["policy", "verify", "arm.yaml", cases, "--loop", "foot"]) == 2
    assert "there is no loop 'foot'" in capsys.readouterr().err


def test_verify_ends_with_0_where_it_agrees_and_1_where_it_differs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = expected()
    cases = str(saved(folder, arrays))
    assert main(["policy", "verify", "arm.yaml", cases]) == 0
    text = capsys.readouterr().out
    assert "30 steps in closed loop" in text
    assert text.endswith("agrees\n")
    arrays["obs_policy.obs"][:, 9:11] *= 4
    saved(folder, arrays)
    assert main(["policy", "verify", "arm.yaml", cases]) == 1
    text = capsys.readouterr().out
    assert "differs first at step 0, obs_policy.obs[9] q.knee: got " in text
    assert "\nthe first that differ, of obs_policy.obs\n" in text
    assert "hint: policy.obs: q: 4 times as much is expected" in text
    assert main(["policy", "verify", "arm.yaml", cases, "--tolerance", "100"]) == 0
    capsys.readouterr()
    assert main(["policy", "verify", "arm.yaml", cases, "--json"]) == 1
    told = _told(capsys)
    assert (told["agrees"], told["exit_code"], told["loop"]) == (False, 1, "arm")
    assert told["first"]["element"] == "q.knee"
    assert told["compared"]["raw"]["first"] is None
    assert told["compared"]["obs_policy.obs"]["differing"] == 2


def test_verify_says_what_it_did_not_compare(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arrays = expected()
    arrays["in_gyro"][:] = 0
    cases = str(saved(folder, {key: arrays[key] for key in ("in_gyro", "in_q", "raw")}))
    main(["policy", "verify", "arm.yaml", cases, "--tolerance", "100"])
    text = capsys.readouterr().out
    assert "not seen: gyro.0, gyro.1, gyro.2" in text
    assert text.endswith(
        "agrees in what was compared: raw; not compared: obs_policy.obs, targets\n"
    )
    assert main(["policy", "verify", "arm.yaml", cases, "--tolerance", "100", "--json"]) == 0
    assert _told(capsys)["not_compared"] == ["obs_policy.obs", "targets"]


def test_limits_are_shown_and_told_where_they_act(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    limits = "safe: 0, min: -0.1, max: 0.25, max_rate_per_s: 2"
    (folder / "arm.yaml").write_text(TEXT.replace("safe: [0.5, -0.5]", limits))
    assert main(["policy", "show", "arm.yaml"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "[-0.1, 0.25] 2/s" in next(line for line in lines if " t.hip" in line)
    assert main(["policy", "show", "arm.yaml", "--json"]) == 0
    hip = _told(capsys)["loops"]["arm"]["command"][0]
    assert (hip["min"], hip["max"], hip["max_rate_per_s"]) == (-0.1, 0.25, 2)
    cases = str(saved(folder, expected(lambda _: [0, 0])))
    assert main(["policy", "verify", "arm.yaml", cases]) == 1
    text = " ".join(capsys.readouterr().out.split())
    assert "limits of the outputs would have changed what is commanded in " in text
    assert "differs first at step 0, sent[" in text


@pytest.mark.parametrize("columns", [60, 80])
def test_a_narrow_terminal_cuts_no_number_of_a_difference(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setattr(Terminal, "columns", columns)
    long = TEXT.replace("hip", "left_shoulder_pitch_joint").replace("knee", "left_hip_roll_joint")
    (folder / "arm.yaml").write_text(long)
    arrays = expected()
    arrays["obs_policy.obs"][3:, 9:] *= -1.2345678
    assert main(["policy", "verify", "arm.yaml", str(saved(folder, arrays))]) == 1
    text = capsys.readouterr().out
    table = text[text.index("the first that differ") :].splitlines()[1:7]
    assert max(map(len, table)) <= columns
    assert table[0].split()[-2:] == ["got", "expected"]
    for row in table[1:]:
        assert all(float(number) for number in row.split()[-2:])


def test_verify_ends_with_2_for_a_bad_file(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["policy", "verify", "arm.yaml", "none.npz", "--json"]) == 2
    assert "none.npz: found no such file" in _told(capsys)["error"]
    for tolerance in ("0", "-1", "nan", "inf", "x"):
        assert main(["policy", "verify", "arm.yaml", "none.npz", "--tolerance", tolerance]) == 2


def test_policy_alone_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy"]) == 2
    assert "usage" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["show", "verify"])
def test_help_has_an_example(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["policy", command, "--help"])
    assert ended.value.code == 0
    assert f"example:\n  rtloop policy {command} robot.yaml" in capsys.readouterr().out
