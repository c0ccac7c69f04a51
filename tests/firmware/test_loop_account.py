"""The account that a device keeps of its own loop, against a model of it that keeps every job."""

from __future__ import annotations

import itertools
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.firmware.loop_account import FIRM, HARD, SOFT, LoopAccount, Terms, Verdict, bucket


class AccountInC:
    def __init__(self, program: Path) -> None:
        self.process = subprocess.Popen(
            [str(program)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, *words: object) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(*words, file=self.process.stdin, flush=True)
        return self.process.stdout.readline()

    def begin(self, terms: Terms) -> None:
        assert self.ask("a", *terms) == "1\n"

    def job(self, *times_us: int) -> Verdict:
        lateness_us, *flags = map(int, self.ask("j", *times_us).split())
        return Verdict(lateness_us, *map(bool, flags))

    def came_to(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads(self.ask("e"))
        return told


@pytest.fixture(scope="module")
def in_c(firmware_build: Path) -> Iterator[AccountInC]:
    account = AccountInC(firmware_build / "loop_account_jobs")
    yield account
    account.process.communicate("")
    assert account.process.returncode == 0


@st.composite
def schedules(draw: st.DrawFn) -> tuple[Terms, list[tuple[int, int, int]]]:
    """Jobs of a grid that is kept, late, skipped, or begun anew; each with its three times."""
    period_us = draw(st.sampled_from([1, 7, 1000, 20_000, 2_000_000]))
    window = draw(st.sampled_from([0, 1, 2, 5, 33, 1024]))
    terms = Terms(
        draw(st.sampled_from([HARD, FIRM, SOFT])),
        draw(st.integers(0, 1)),
        draw(st.integers(0, min(4, window - 1) if window else 4)),
        window,
        draw(st.integers(0, 3)),
        period_us,
        draw(st.integers(1, period_us)),
    )
    release_us = draw(st.integers(0, 2**33))
    jobs = []
    steps = st.sampled_from([1, 1, 1, 1, 1, 2, 3, 40, 0, -5])
    early_or_late = st.integers(-period_us // 3, period_us // 3)
    for _ in range(draw(st.integers(0, 60))):
        release_us = max(0, release_us + draw(steps) * period_us)
        told_us = max(0, release_us + draw(early_or_late))
        start_us = told_us + draw(st.integers(-3, 2 * period_us))
        finish_us = start_us + draw(st.integers(-3, 2 * period_us))
        jobs.append((told_us, max(0, start_us), max(0, finish_us)))
    return terms, jobs


@settings(max_examples=150, deadline=None)
@given(schedules())
def test_the_account_in_c_is_that_of_the_model(
    in_c: AccountInC, schedule: tuple[Terms, list[tuple[int, int, int]]]
) -> None:
    terms, jobs = schedule
    model = LoopAccount(terms)
    in_c.begin(terms)
    for job in jobs:
        assert in_c.job(*job) == model.job(*job)
    told = in_c.came_to()
    assert told == model.came_to()
    assert told["jobs"] == len(jobs)
    assert told["response"]["n"] == sum(told["response"]["counts"]) == len(jobs)


def test_a_day_without_a_job_breaks_the_limit_once(in_c: AccountInC) -> None:
    in_c.begin(Terms(FIRM, 0, 10, 1000, 0, 1000, 1000))
    in_c.job(0, 0, 10)
    verdict = in_c.job(86_400_000_000, 86_400_000_000, 86_400_000_010)
    assert verdict == (-990, False, True, False)
    told = in_c.came_to()
    assert told["skipped"] == told["max_consecutive"] == 86_399_999
    assert told["limit_broken"] == 1


def test_a_job_longer_than_its_numbers_is_told_as_the_longest(in_c: AccountInC) -> None:
    in_c.begin(Terms(SOFT, 0, 0, 0, 0, 1000, 1000))
    assert in_c.job(5, 5, 2**63).lateness_us == 2**31 - 1 - 1000
    assert in_c.came_to()["response"]["counts"][79] == 1


def test_a_bucket_is_never_wider_than_a_quarter_of_what_it_holds() -> None:
    edges = [us for us in range(1, 1 << 16) if bucket(us) != bucket(us - 1)]
    assert all(high - low <= max(1, low // 4) for low, high in itertools.pairwise(edges))
