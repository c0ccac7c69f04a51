"""Runs of configurations that were made in Python, from build to report."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rtloop as package
from rtloop import Config, ConfigError, LoopSummary, Run, RunSummary, loads, open_recording
from rtloop.config import load
from tests.running import POLICY, rtloop, wait_for


def balance(**keys: Any) -> dict[str, Any]:
    said = {
        "loop_class": "soft",
        "rate_hz": 200,
        "inputs": {"cart": {"mailbox": np.zeros(4)}, "spare": {"mailbox": [7]}},
        "policy": {"model": POLICY, "observation": [{"input": "cart"}], "action": {"scale": 10}},
        "outputs": {"force": {"mailbox": True, "size": 1, "min": -10, "max": 10, "safe": 0}},
        "realtime": {"scheduler": "other", "lock_memory": False, "cpu_dma_latency_us": None},
        "max_share": {"missed": 1, "skipped": 1},
    }
    return said | keys


def test_a_run_is_recorded_with_its_configuration_and_read_back_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "mine.onnx").write_bytes(POLICY.read_bytes())
    monkeypatch.chdir(tmp_path)
    policy = {"model": "mine.onnx", "observation": [{"input": "cart"}]}
    config = Config(
        loops={"balance": balance(policy=policy)}, recording={"directory": tmp_path / "runs"}
    )
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    run = Run(config)
    assert run.statistics() == {}
    with run:
        run.loops["balance"].write_input("cart", [0, 0, 0.25, 0])
        wait_for(lambda: run.statistics()["balance"].executed >= 20, "20 cycles")
        assert run.statistics()["balance"].state == "active"
        assert repr(run) == "<Run 'python', active: balance>"
    assert run.summary is not None
    assert run.statistics() == run.summary.loops

    recording = open_recording(run.recording)
    assert recording.run["config_path"] == "<python>"
    assert loads(recording.run["config_text"]) == config
    assert repr(recording).startswith(f"<Recording {run.run_id} balance: ")
    recorded = recording.loops["balance"]
    n = len(recorded.records)
    assert recorded.input("cart").shape == (n, 4)
    assert recorded.input("cart")[-1, 2] == 0.25
    assert (recorded.input("spare") == 7).all()
    assert recorded.output("force").shape == (n, 1)
    assert recorded.time_s[0] == 0
    assert recorded.time_s[-1] == pytest.approx((n - 1 + recorded.summary.skipped) / 200)
    with pytest.raises(KeyError, match="found 'crt'; expected one of cart, spare"):
        recorded.input("crt")

    page = run.write_report().read_text()
    assert "rate_hz: 200.0" in page
    assert str(tmp_path / "mine.onnx") in page
    written = tmp_path / "elsewhere" / "again.yaml"
    written.write_text(recording.run["config_text"])
    assert load(written) == config
    assert rtloop("check", written).returncode == 0


def test_a_run_is_named_after_its_file_or_as_one_says(tmp_path: Path) -> None:
    config = Config(loops={"balance": balance()})
    assert Run(config).name == "python"
    assert Run(config, "mine").name == "mine"
    (tmp_path / "robot.yaml").write_text(config.to_yaml())
    assert Run(load(tmp_path / "robot.yaml")).name == "robot"


def test_what_a_run_refuses_is_told_by_the_name_of_its_argument() -> None:
    inputs = {"cart": {"mailbox": np.zeros(3)}}
    config = Config(loops={"balance": balance(inputs=inputs)})
    with pytest.raises(ConfigError) as caught:
        Run(config, record=False).configure()
    assert str(caught.value).startswith('loops["balance"].policy.observation: found ')
    wrong: Any
    for wrong, told in (("robot.yaml", "'robot.yaml'"), ({}, "an empty mapping"), (None, "None")):
        with pytest.raises(
            TypeError, match=rf"config: found {told}; expected a Config: rtloop.load"
        ):
            Run(wrong)
    wrong = 5
    with pytest.raises(ConfigError, match="found 5 as the name of a run"):
        Run(config, wrong)
    with pytest.raises(ValueError, match="duration_s: found nan; expected seconds"):
        Run(config).wait(math.nan)


def test_summaries_show_themselves_in_a_line_and_as_a_table() -> None:
    run = Run(Config(loops={"balance": balance()}), record=False)
    with run:
        wait_for(lambda: run.statistics()["balance"].response_us.n >= 5, "5 cycles")
    summary = run.summary
    assert isinstance(summary, RunSummary)
    loop: LoopSummary = summary.loops["balance"]
    assert repr(summary).startswith(
        f"<RunSummary balance: soft, 200 Hz, {loop.executed} executed, "
    )
    assert "\n" not in repr(summary)
    page = summary._repr_html_()
    assert page.count("<tr>") == 2
    assert f"<td>{loop.executed}</td>" in page
    assert "<td>balance</td>" in page
    problem = RunSummary(loops={}, rights=(), problems=("<b> was lost",))
    assert "<p>&lt;b&gt; was lost</p>" in problem._repr_html_()
    assert repr(problem) == "<RunSummary no loop began; 1 problem>"


def test_every_name_of_the_package_is_there_and_none_is_loaded_before_it_is_used() -> None:
    assert {name for name in package.__all__ if getattr(package, name) is None} == set()
    assert set(package.__all__) <= set(dir(package))
    code = "import sys, rtloop; print(*{'numpy', 'pydantic', 'onnx', 'rtloop.core'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (done.stdout.strip(), done.returncode) == ("", 0)
