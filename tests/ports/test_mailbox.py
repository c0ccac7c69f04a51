"""Mailboxes: sizes, and what lies in them before the loop runs."""

from __future__ import annotations

import numpy as np
import pytest

from rtloop.ports.mailbox import MailboxInput, MailboxOutput, MailboxPort
from rtloop.ports.signal import Signal


def test_a_mailbox_is_as_large_as_its_initial_values() -> None:
    section = MailboxInput(mailbox=(1.0, 2.0))
    assert (section.element_count, section.element_limit) == (2, 2)
    assert (section.named, section.element_names, section.identity) == (False, None, None)


@pytest.mark.parametrize(
    ("section", "size"),
    [
        (MailboxOutput(mailbox=True, size=3, safe=0.0), 3),
        (MailboxOutput(mailbox=True, safe=(0.0, 1.0)), 2),
        (MailboxOutput(mailbox=True, safe=0.0, max_rate_per_s=(1.0,)), 1),
    ],
)
def test_an_output_knows_its_size_where_the_file_tells_it(
    section: MailboxOutput, size: int
) -> None:
    assert section.element_count == size


def test_the_initial_values_are_put_when_it_is_armed() -> None:
    port = MailboxPort("target", initial=(1.0, 2.0))
    assert port.inputs == (Signal("0"), Signal("1"))
    assert port.outputs == ()
    assert (port.core.n_inputs, port.core.n_outputs) == (2, 0)
    port.prepare()
    port.arm(clear=False)
    with pytest.raises(ValueError, match="wrong size|2"):
        port.core.put(np.zeros(3, np.float32))
    port.stop()
    port.close()


def test_an_output_holds_the_safe_command_until_one_is_written() -> None:
    port = MailboxPort("force", safe=(1.5, -2.0))
    assert port.outputs == (Signal("0"), Signal("1"))
    values, time_ns = port.core.newest()
    assert (values.tolist(), time_ns) == ([1.5, -2.0], -1)


def test_each_activation_has_a_mailbox_of_its_own() -> None:
    port = MailboxPort("force", safe=(0.0,))
    first = port.core
    port.prepare()
    assert port.core is not first
