"""The onnxruntime that is installed, and what it must not do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rtloop.cli.main import main

ROOT = Path(__file__).parents[2]
CHECK_AND_RUN = """
from pathlib import Path
from rtloop.policy import load_policy
from tests.core.conftest import identity_graph
load_policy(Path("rtloop/demos/cartpole/policy.onnx"))
identity_graph(3)
"""


def test_nothing_is_written_or_reported_behind_the_users_back(tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("XDG_", "ORT_"))}
    environment["HOME"] = str(tmp_path)
    subprocess.run([sys.executable, "-c", CHECK_AND_RUN], cwd=ROOT, env=environment, check=True)
    assert list(tmp_path.rglob("*onnxruntime*")) == []


def test_where_it_is_not_installed_one_is_told_so(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert main(["check", str(ROOT / "rtloop/demos/cartpole/cartpole.yaml")]) == 1
    assert "onnxruntime is not installed for this Python: pip install" in capsys.readouterr().err
