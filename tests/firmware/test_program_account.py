"""What the firmware program accounts for of its own loop, and of the age of what it applies."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.firmware.program import ACTIVE, HOST_STOP, SAFE, FirmwareProgram, Host

Start = Callable[..., FirmwareProgram]
#: A device on a busy machine is late by itself: periods so long that it is not by these.
SLOW = ("--rate-hz", "10", "--command-timeout-ms", "10000")
DEADLINE_MISSES = 2


def ask_stats(host: Host) -> dict[str, int]:
    host.send("stats_request")
    told: dict[str, int] = host.wait_for("stats")
    return told


def test_a_hard_loop_that_misses_is_safe_at_once_and_tells_by_how_much(
    start_program: Start,
) -> None:
    delay = ("--loop-deadline-us", "60000", "--loop-delay-us", "80000", "--loop-delay-every", "3")
    program = start_program(*SLOW, "--loop-class", "hard", *delay)
    with Host(program.path) as host:
        host.activate(command_timeout_us=10_000_000)
        miss = host.wait_for("event", lambda f: f["event"] == 5)
        assert miss["lateness_us"] >= 20_000
        assert (miss["loop_class"], miss["state"], miss["reasons"]) == (0, SAFE, DEADLINE_MISSES)
        assert miss["total"] == 1
        stats = ask_stats(host)
        assert (stats["loop_class"], stats["misses"]) == (0, 1)
        assert stats["lateness_max_us"] == miss["lateness_us"]
        assert stats["first_miss_us"] & 0xFFFFFFFF == miss["valid_until_us"]
        assert stats["worst_job"] == stats["first_miss_job"] >= 2
        host.send("histogram_request", kind=0)
        counts = host.wait_for("histogram_counts", lambda f: f["kind"] == 0)["counts"]
        assert sum(counts) == stats["jobs"]
        assert counts[-1] > 0
    assert program.stop()["loop"]["misses"] == 1


def test_a_soft_loop_counts_what_it_misses_and_goes_on(start_program: Start) -> None:
    delay = ("--loop-deadline-us", "60000", "--loop-delay-us", "80000")
    program = start_program(*SLOW, *delay, "--loop-limit", "1/2")
    with Host(program.path) as host:
        host.activate(command_timeout_us=10_000_000)
        host.wait_for("event", lambda f: f["event"] == 5 and f["total"] >= 3)
        stats = ask_stats(host)
        assert stats["misses"] >= 3
        assert (stats["window"], stats["max_misses"]) == (2, 1)
        assert stats["limit_broken"] == stats["misses"] - 1
        assert host.wait_for("sensor")["state"] == ACTIVE
        host.send("stop", reason_bits=0)
        assert host.wait_until_safe() == HOST_STOP
        assert ask_stats(host)["jobs"] >= stats["jobs"]


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (("--loop-class", "weak"), "give hard, firm or soft"),
        (("--loop-limit", "5/5"), "M below N"),
        (("--loop-limit", "5"), "M below N"),
        (("--rate-hz", "100", "--loop-deadline-us", "10001"), "at most the period, 10000"),
    ],
)
def test_wrong_terms_of_its_loop_are_refused(
    start_program: Start, capfd: pytest.CaptureFixture[str], wrong: tuple[str, ...], said: str
) -> None:
    with pytest.raises(AssertionError, match="it did not start"):
        start_program(*wrong)
    assert said in capfd.readouterr().err
