"""A loop that sleeps until a sample comes: told in time, never of the same one twice."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from rtloop import core

MS = 1_000_000


def one(value: float) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
    return np.array([value], np.float32)


def test_a_mailbox_tells_of_each_sample_once() -> None:
    mailbox = core.Port("mailbox", {"inputs": 1})
    assert mailbox.paces
    assert mailbox.await_sample(0) == -1, "nothing came, and the time is past"
    mailbox.put(one(1), 5)
    mailbox.put(one(2), 7)
    assert mailbox.await_sample(0) == 7, "the newest"
    assert mailbox.await_sample(0) == -1
    mailbox.put(one(3), 6)
    assert mailbox.await_sample(0) == 6, "it is newer because it came later, whatever its time says"


def test_a_port_without_samples_paces_nothing() -> None:
    assert not core.Port("mailbox", {"safe": [0.0]}).paces
    assert not core.Relay(1, 2, False).reader().paces


def test_a_wait_ends_with_the_sample_and_with_its_time() -> None:
    mailbox = core.Port("mailbox", {"inputs": 1})
    before = time.monotonic_ns()
    assert mailbox.await_sample(before + 20 * MS) == -1
    assert time.monotonic_ns() >= before + 20 * MS
    told: list[int] = []
    waiting = threading.Thread(
        target=lambda: told.append(mailbox.await_sample(time.monotonic_ns() + 60_000 * MS))
    )
    waiting.start()
    time.sleep(0.02)
    mailbox.put(one(1), 11)
    waiting.join(10)
    assert told == [11]


@pytest.mark.parametrize("pause_s", [0.0, 0.0005])
def test_no_sample_is_slept_through(pause_s: float) -> None:
    mailbox = core.Port("mailbox", {"inputs": 1})
    n = 400

    def bring() -> None:
        for number in range(1, n + 1):
            mailbox.put(one(number), number)
            time.sleep(pause_s)

    bringing = threading.Thread(target=bring)
    bringing.start()
    told = [0]
    while told[-1] < n:
        told.append(mailbox.await_sample(time.monotonic_ns() + 20_000 * MS))
    bringing.join()
    assert told == sorted(set(told)), "each at most once, in the order in which they came"
