"""`rtloop policy bench` as a user meets it; never how many microseconds."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from rtloop.cli.bench import percentiles
from rtloop.cli.main import main
from rtloop.policy.bench.distribution import Distribution
from tests.policy.models import linear, save
from tests.running import background, wait_for

TEXT = """\
loops:
  arm:
    class: soft
    rate_hz: 500
    inputs: {q: {mailbox: [0, 0, 0, 0]}}
    policy:
      model: policy.onnx
      observation: [{input: q}]
      action: {scale: 2.0}
    outputs: {o: {mailbox: true, size: 2, safe: 0}}
    realtime: {scheduler: other, lock_memory: false, cpu_dma_latency_us: null}
"""
SHORT = ("--seconds", "0.05")


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    nodes = [
        helper.make_node("MatMul", ["obs", "w"], ["a"]),
        helper.make_node("Tanh", ["a"], ["action"]),
    ]
    values = [("obs", TensorProto.FLOAT, [1, 4])], [("action", TensorProto.FLOAT, [1, 2])]
    weights = {"w": np.full((4, 2), 0.1, np.float32)}
    (tmp_path / "policy.onnx").write_bytes(save(nodes, *values, weights))
    (tmp_path / "arm.yaml").write_text(TEXT)
    return tmp_path


def told(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_every_version_stands_beside_ort_in_each_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "bench", "arm.yaml", "--versions", "float16,int8", *SHORT]) == 0
    text = capsys.readouterr().out
    assert text.startswith("arm: 500 Hz\n")
    assert "16 FLOP (MatMul); 32 B of weights" in text
    assert "unknown shape: Tanh 1, Mul 1" in text
    assert "one core, measured here: " in text
    titles = ("warm: ", "cold: ", "in the loop: ", "first run, and weights")
    tables = [block for block in text.split("\n\n") if block.startswith(titles)]
    assert len(tables) == len(titles)
    for table in tables:
        names = [line.split()[0] for line in table.splitlines()[2:]]
        assert names[:3] == ["ort", "float16", "int8"]
        assert ("high water" in table) == ("ort / itself" in table)
    assert "stolen by the hypervisor" in text
    assert "load before" in text
    assert "WCET" not in text.upper()


def test_json_has_what_the_tables_have(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["policy", "bench", "arm.yaml", "--versions", "int8", "--json", *SHORT]
    assert main(arguments) == 0
    found = told(capsys)
    assert (found["file"], found["name"], found["rate_hz"]) == ("arm.yaml", "arm", 500)
    assert (found["flops"], found["flops_by_operator"]) == (16, {"MatMul": 16})
    assert found["not_counted"] == {"Tanh": 1, "Mul": 1}
    assert list(found["versions"]) == ["ort", "int8"]
    for version in found["versions"].values():
        for what in ("warm", "cold", "in_loop"):
            assert version[what]["n"] > 0
            assert version[what]["high_water_us"] >= version[what]["p50_us"] > 0
            assert version["ratios"][what] > 0
    assert set(found["noise_floor"]) == {"warm", "cold", "in_loop"}
    assert set(found["measured_here"]) == {"flops_per_s", "bytes_per_s", "memory_bytes_per_s"}


def test_a_version_that_is_not_there_is_a_line_with_its_reason(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = helper.make_node("Sin", ["obs"], ["action"])
    values = [(name, TensorProto.FLOAT, [1, 3]) for name in ("obs", "action")]
    (folder / "sine.onnx").write_bytes(save([node], values[:1], values[1:], {}))
    assert main(["policy", "bench", "sine.onnx", "--versions", "ort,int8", *SHORT]) == 0
    text = capsys.readouterr().out
    reason = "int8: not measured: onnxruntime has none of its operators in int8 (Sin)"
    assert reason in text
    assert "no operator that is counted" in text


def test_a_model_alone_is_measured(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["policy", "bench", "policy.onnx", "--versions", "ort", "--json", *SHORT]) == 0
    found = told(capsys)
    assert found["name"] == "policy.onnx"
    assert found["rate_hz"] in (1000, 500, 200, 100)
    assert found["versions"]["ort"]["weight_bytes"] == 32


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["arm.yaml", "--versions", "ort,int4"],
            "found 'int4'; expected some of ort, aot, float16",
        ),
        (["gone.onnx"], "gone.onnx: found no such file; expected the path of an ONNX model"),
        (["policy.onnx", "--loop", "arm"], "a model alone; it has no loops"),
        (["arm.yaml", "--loop", "leg"], "there is no loop 'leg'; there is: 'arm'"),
        (["arm.yaml", "--seconds", "0"], "0 is no number above 0"),
    ],
)
def test_what_cannot_be_measured_is_told(
    capsys: pytest.CaptureFixture[str], arguments: list[str], expected: str
) -> None:
    assert main(["policy", "bench", *arguments]) == 2
    assert expected in capsys.readouterr().err


def test_a_model_that_cannot_be_used_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    weight = np.ones((3, 2), np.float32)
    (folder / "dynamic.onnx").write_bytes(linear(weight, [1, "length"]))
    assert main(["policy", "bench", "dynamic.onnx"]) == 2
    assert "dynamic dimension 'length'" in capsys.readouterr().err


def test_one_of_several_policies_is_named(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = "{model: policy.onnx, observation: [{input: q}]}"
    text = TEXT[: TEXT.index("    policy:")].replace(
        "inputs: {q", "inputs: {mode: {mailbox: [0]}, q"
    )
    text += f"    policies: {{stand: {policy}, walk: {policy}}}\n    switch: {{input: mode, blend_s: 0.1}}\n"
    (folder / "arm.yaml").write_text(text + TEXT[TEXT.index("    outputs:") :])
    assert main(["policy", "bench", "arm.yaml", *SHORT]) == 2
    assert "2 policies ('stand', 'walk'): say which one, with --policy" in capsys.readouterr().err
    arguments = ["--policy", "walk", "--versions", "ort", "--json", *SHORT]
    assert main(["policy", "bench", "arm.yaml", *arguments]) == 0
    assert told(capsys)["name"] == "arm/walk"
    assert main(["policy", "bench", "policy.onnx", "--policy", "walk"]) == 2
    assert "--policy: found policy.onnx, a model alone" in capsys.readouterr().err


def test_a_policy_without_a_model_is_measured(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = TEXT.replace("      model: policy.onnx\n", "").replace(
        "[{input: q}]", "[{input: q, select: [0, 1]}]"
    )
    (folder / "arm.yaml").write_text(text)
    assert main(["policy", "bench", "arm.yaml", "--versions", "ort,int8", "--json", *SHORT]) == 0
    found = told(capsys)
    assert found["versions"]["ort"]["weight_bytes"] == 0
    assert found["versions"]["int8"] == {"reason": "it has no models"}
    assert main(["policy", "quantize", "arm.yaml", "--to", "int8"]) == 2
    assert "found a policy without a model; expected `model`" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["bench"], ["quantize", "--to", "int8"]])
def test_a_python_function_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    (folder / "functions.py").write_text("def act(observation):\n    return observation[:2]\n")
    text = TEXT.replace("model: policy.onnx", 'python: "functions:act"')
    (folder / "arm.yaml").write_text(text)
    assert main(["policy", command[0], "arm.yaml", *command[1:]]) == 2
    error = capsys.readouterr().err
    assert (
        "arm.yaml:7:15: loops.arm.policy.python: found the Python function 'functions:act'" in error
    )


def test_a_long_time_is_told_in_digits() -> None:
    of = Distribution.of(np.array([1_234, 52_940_000, 123_456_789]))
    assert percentiles(of) == ("52940", "–", "–", "123457", "3")


def ring_of(pid: int) -> Path | None:
    """The ring of the loop that a process measures, which it may have unlinked."""
    for line in Path(f"/proc/{pid}/maps").read_text().splitlines():
        if "/rtloop-bench-" in line:
            return Path(line[line.index("/") :].removesuffix(" (deleted)"))
    return None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_whatever_ends_it_leaves_no_ring_in_memory(number: signal.Signals) -> None:
    command = ["policy", "bench", "arm.yaml", "--versions", "ort", "--seconds", "3"]
    with background(command) as process:
        wait_for(lambda: ring_of(process.pid) is not None, "the loop that is measured", 60)
        ring = ring_of(process.pid)
        process.send_signal(number)
        process.wait(30)
    assert ring is not None
    assert not ring.parent.exists()
