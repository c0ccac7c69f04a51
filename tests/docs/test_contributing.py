"""The commands of CONTRIBUTING.md can be typed as they stand."""

from __future__ import annotations

import re
from pathlib import Path

TEXT = (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_a_fresh_environment_has_a_pip_that_knows_groups_before_one_is_asked_for() -> None:
    (first, *_) = re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
    assert first.index("pip install --upgrade pip") < first.index("--group")
