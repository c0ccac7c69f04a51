"""A mailbox: samples that another thread of this process leaves, commands that it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from rtloop import core
from rtloop.config.problem import Keys, Problem
from rtloop.config.values import VECTOR_SIZE_MAX, NumberList, per_element
from rtloop.ports.port import INPUTS, OUTPUTS, InputSection, OutputSection, Port, ServedLoop
from rtloop.ports.signal import Signal

if TYPE_CHECKING:
    from rtloop.link.section import LinkConfig


@INPUTS.register
class MailboxInput(InputSection):
    """A vector that Python sets, with `Loop.write_input`."""

    kind = "mailbox"

    mailbox: NumberList = Field(
        description="initial values; their count is the size of the mailbox"
    )

    @property
    def element_count(self) -> int:
        return len(self.mailbox)

    @property
    def element_limit(self) -> int:
        return len(self.mailbox)

    def open(self, name: str, loop: ServedLoop, links: Mapping[str, LinkConfig]) -> MailboxPort:
        return MailboxPort(name, initial=self.mailbox)


@OUTPUTS.register
class MailboxOutput(OutputSection):
    """A vector that Python reads, with `Loop.read_output`; the size may be left out where a list tells it."""

    kind = "mailbox"

    mailbox: bool = Field(description="true for a mailbox, read from Python")
    size: int | None = Field(
        default=None, ge=1, le=VECTOR_SIZE_MAX, description="number of elements of a mailbox"
    )

    @property
    def element_count(self) -> int | None:
        """``size``, or what a list tells; None never outlives the rules."""
        return super().element_count if self.size is None else self.size

    def rules(
        self, here: Keys, loop: ServedLoop, links: Mapping[str, LinkConfig]
    ) -> Iterator[Problem]:
        if self.element_count is None:
            expected, found = "a size, or a list for safe", "a mailbox of unknown size"
            judged = ((*here, "size"), (*here, "safe"))
            yield Problem(here, expected, found, judged=judged, at_key=True)
        yield from self.vector_rules(here, self.size)

    def open(self, name: str, loop: ServedLoop, links: Mapping[str, LinkConfig]) -> MailboxPort:
        return MailboxPort(name, safe=per_element(self.safe, self.element_count or 1))


class MailboxPort(Port):
    """One mailbox. ``initial`` makes it an input, ``safe`` an output."""

    def __init__(
        self, name: str, *, initial: tuple[float, ...] = (), safe: tuple[float, ...] = ()
    ) -> None:
        self.name = name
        self.inputs = tuple(Signal(str(i)) for i in range(len(initial)))
        self.outputs = tuple(Signal(str(i)) for i in range(len(safe)))
        self._initial = initial
        self._safe = safe
        self.prepare()  # Python may look into it before the first activation

    def prepare(self) -> None:
        self.core = core.Port("mailbox", {"inputs": len(self._initial), "safe": self._safe})

    def arm(self, clear: bool) -> None:
        """The initial values count as written now."""
        if self._initial:
            import numpy as np  # a configuration does without

            self.core.put(np.array(self._initial, np.float32))
