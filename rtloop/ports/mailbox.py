"""A mailbox: samples that another thread of this process leaves, commands that it takes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from rtloop import core
from rtloop.config.problem import Keys, Problem
from rtloop.config.values import VECTOR_SIZE_MAX, ElementNames, NumberList
from rtloop.ports.command import numbers
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

    names: ElementNames | None = Field(
        default=None, description="names of the elements, one for each; null is none"
    )

    @property
    def element_names(self) -> tuple[str, ...] | None:
        return self.names

    @property
    def element_count(self) -> int:
        return len(self.mailbox)

    @property
    def element_limit(self) -> int:
        return len(self.mailbox)

    def rules(
        self, here: Keys, loop: ServedLoop, links: Mapping[str, LinkConfig]
    ) -> Iterator[Problem]:
        yield from super().rules(here, loop, links)
        yield from name_rules(here, self.names, len(self.mailbox), "mailbox")

    def open(self, name: str, loop: ServedLoop, links: Mapping[str, LinkConfig]) -> MailboxPort:
        return MailboxPort(name, initial=self.mailbox, names=self.names)


@OUTPUTS.register
class MailboxOutput(OutputSection):
    """A vector that Python reads, with `Loop.read_output`; the size may be left out where a list tells it."""

    kind = "mailbox"
    can_hold = True

    mailbox: bool = Field(description="true for a mailbox, read from Python")
    size: int | None = Field(
        default=None, ge=1, le=VECTOR_SIZE_MAX, description="number of elements of a mailbox"
    )
    names: ElementNames | None = Field(
        default=None, description="names of the elements, one for each; null is none"
    )

    @property
    def element_names(self) -> tuple[str, ...] | None:
        return self.names

    @property
    def element_count(self) -> int | None:
        """``size``, or what a list tells; None never outlives the rules."""
        if self.size is None and self.names is not None:
            return len(self.names)
        return super().element_count if self.size is None else self.size

    def rules(
        self, here: Keys, loop: ServedLoop, links: Mapping[str, LinkConfig]
    ) -> Iterator[Problem]:
        if self.element_count is None:
            expected, found = "a size, names, or a list for safe", "a mailbox of unknown size"
            judged = ((*here, "size"), (*here, "safe"))
            yield Problem(here, expected, found, judged=judged, at_key=True)
        if self.element_count is not None:
            wrong_names = list(name_rules(here, self.names, self.element_count, "size"))
            yield from wrong_names or self.vector_rules(here)

    def open(self, name: str, loop: ServedLoop, links: Mapping[str, LinkConfig]) -> MailboxPort:
        safe = numbers(self.safe, self.known_names or (), 0.0)
        return MailboxPort(name, safe=safe, names=self.names)


def name_rules(
    here: Keys, names: tuple[str, ...] | None, size: int, size_from: str
) -> Iterator[Problem]:
    """Broken rules of the names of elements: one for each, and none twice."""
    keys = (*here, "names")
    if names is None:
        return
    if len(names) != size:
        expected = f"{size} names, as in '{size_from}'"
        yield Problem(keys, expected, judged=((*here, size_from),))
    for position, name in enumerate(names):
        if name in names[:position]:
            yield Problem((*keys, position), "each name once")


class MailboxPort(Port):
    """One mailbox. ``initial`` makes it an input, ``safe`` an output."""

    def __init__(
        self,
        name: str,
        *,
        initial: tuple[float, ...] = (),
        safe: tuple[float, ...] = (),
        names: tuple[str, ...] | None = None,
    ) -> None:
        self.name = name
        signals = tuple(Signal(n) for n in names or map(str, range(len(initial or safe))))
        self.inputs = signals if initial else ()
        self.outputs = signals if safe else ()
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
