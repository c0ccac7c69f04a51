"""docs/python.md, block by block, as a reader would run it."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest

import rtloop
from tests.running import POLICY

TEXT = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(python|text)\n(.*?)```", TEXT, re.DOTALL)


def test_every_block_runs_and_what_it_refuses_is_told_as_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(POLICY, tmp_path)
    monkeypatch.chdir(tmp_path)
    scope: dict[str, Any] = {}
    told = shown = 0
    for index, (language, block) in enumerate(BLOCKS):
        if language == "text":
            shown += 1
            continue
        following = BLOCKS[index + 1 : index + 2]
        if not following or following[0][0] != "text":
            exec(block, scope)
            continue
        with pytest.raises(rtloop.ConfigError) as caught:
            exec(block, scope)
        for line, as_shown in zip(
            str(caught.value).split("\n"), following[0][1].rstrip("\n").split("\n"), strict=True
        ):
            assert re.fullmatch(re.escape(as_shown).replace("…", ".*"), line)
        told += 1
    assert told == shown == 1
    assert "<RunSummary balance: soft, 200 Hz, " in capsys.readouterr().out
    assert set(scope["response_us"]) == {100, 200}
    assert scope["so_far"].executed > 0
    assert scope["report"].is_file()
    cycles = len(scope["recording"].loops["balance"].records)
    assert scope["commands_newton"].shape == (cycles, 1)
    assert scope["cart"].shape == (cycles, 4)
