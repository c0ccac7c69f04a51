"""The domains of ROS 2 that tests are in: of sessions side by side, too."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import domain

OTHER = """
import sys
from tests import domain

domain.DOMAINS = range(int(sys.argv[1]), int(sys.argv[1]) + 1)
with domain.claimed_number():
    pass
"""


def test_a_number_is_given_to_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with domain.claimed_number() as number:
        monkeypatch.setattr(domain, "DOMAINS", range(number, number + 1))
        with pytest.raises(AssertionError, match="is taken"), domain.claimed_number():
            pass
        other = subprocess.run(
            [sys.executable, "-c", OTHER, str(number)],
            cwd=Path(__file__).parents[1],
            capture_output=True,
            text=True,
        )
        assert other.returncode == 1
        assert "is taken" in other.stderr


def test_a_number_is_given_back() -> None:
    for _ in range(2 * len(domain.DOMAINS)):
        with domain.claimed_number():
            pass
