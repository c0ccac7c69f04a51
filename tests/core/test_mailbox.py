"""Mailboxes: newest value wins, and neither side waits."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rtloop import core
from tests.core.conftest import MS, Rig


def test_the_loop_takes_the_newest_sample(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.start(1.0)
    for value in (2.0, 3.0, 4.0):
        rig.put(value)
    rig.loop.step()
    assert rig.command() == 4.0
    rig.loop.step()
    assert rig.command() == 4.0, "a sample stays until there is a newer one"


def test_the_age_of_a_sample_counts_from_its_own_time(make_rig: Callable[..., Rig]) -> None:
    rig = make_rig()
    rig.loop.begin()
    rig.input.put(np.zeros(1, np.float32), rig.clock.now() - 7 * MS)
    rig.loop.step()
    assert rig.records()[0]["input_age_ns"] == 7 * MS


def test_the_safe_command_is_in_force_before_the_first_and_after_the_last(
    make_rig: Callable[..., Rig],
) -> None:
    rig = make_rig()
    assert rig.command() == -1.0
    rig.run(2, value=0.5)
    values, time_ns = rig.output.newest()
    assert values.dtype == np.float32
    assert values.tolist() == [0.5]
    assert time_ns == rig.clock.now()
    rig.loop.end()
    assert rig.safe_in_force()
    assert rig.command() == -1.0


def test_a_sample_of_the_wrong_size_or_type_is_refused() -> None:
    mailbox = core.Port("mailbox", {"inputs": 2})
    with pytest.raises(ValueError, match="got 3 values, expected 2"):
        mailbox.put(np.zeros(3, np.float32))
    with pytest.raises(TypeError):
        mailbox.put("no")  # type: ignore[arg-type]
