"""A mailbox: samples that another thread of this process leaves, commands that it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated

from pydantic import Discriminator, Field, Tag

from rtloop import core
from rtloop.config.problem import Keys, Problem
from rtloop.config.values import VECTOR_SIZE_MAX, ElementNames, NumberList
from rtloop.ports.around import Around
from rtloop.ports.command import numbers
from rtloop.ports.port import (
    INPUTS,
    OUTPUTS,
    FirstSample,
    InputSection,
    OutputSection,
    Port,
    ServedLoop,
)
from rtloop.ports.signal import Signal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from rtloop.link.section import LinkConfig


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "@truth"
    return "@whole" if isinstance(value, int) else "@list"


_Contents = Annotated[
    Annotated[bool, Tag("@truth")]
    | Annotated[int, Field(ge=1, le=VECTOR_SIZE_MAX), Tag("@whole")]
    | Annotated[NumberList, Tag("@list")],
    Discriminator(_kind),
]


@INPUTS.register
class MailboxInput(InputSection):
    """A vector that Python sets, with `Loop.write_input`."""

    kind = "mailbox"
    is_stepped = True
    can_pace = True

    mailbox: _Contents = Field(
        description="initial values, one for each element; their number, or true beside `names`, is a mailbox "
        "without any, and the loop waits until one is written"
    )

    names: ElementNames | None = Field(
        default=None, description="names of the elements, one for each; null is none"
    )

    @property
    def element_names(self) -> tuple[str, ...] | None:
        return self.names

    @property
    def initial(self) -> tuple[float, ...]:
        return self.mailbox if isinstance(self.mailbox, tuple) else ()

    @property
    def first_sample(self) -> FirstSample:
        return "file" if self.initial else "program"

    @property
    def element_count(self) -> int | None:
        """None never outlives the rules."""
        if isinstance(self.mailbox, bool):
            return None if self.names is None else len(self.names)
        return self.mailbox if isinstance(self.mailbox, int) else len(self.mailbox)

    @property
    def element_limit(self) -> int:
        return self.element_count or VECTOR_SIZE_MAX

    def rules(
        self, here: Keys, loop: ServedLoop, links: Mapping[str, LinkConfig]
    ) -> Iterator[Problem]:
        yield from super().rules(here, loop, links)
        if self.element_count is None:
            expected = "values, or their number, or true with `names` beside it"
            yield Problem((*here, "mailbox"), expected, judged=((*here, "names"),))
            return
        yield from name_rules(here, self.names, self.element_count, "mailbox")

    def open(self, name: str, loop: ServedLoop, around: Around) -> MailboxPort:
        return MailboxPort(
            name,
            n_inputs=self.element_count or 0,
            initial=self.initial,
            names=self.names,
            now_ns=around.timing.now_ns,
        )


@OUTPUTS.register
class MailboxOutput(OutputSection):
    """A vector that Python reads, with `Loop.read_output`; the size may be left out where a list tells it."""

    kind = "mailbox"
    is_stepped = True
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
            judged = ((*here, "size"), (*here, "names"), (*here, "safe"))
            yield Problem(here, expected, found, judged=judged, at_key=True)
        if self.element_count is not None:
            wrong_names = list(name_rules(here, self.names, self.element_count, "size"))
            yield from wrong_names or self.vector_rules(here)

    def open(self, name: str, loop: ServedLoop, around: Around) -> MailboxPort:
        safe = numbers(self.safe, self.known_names or (), 0.0)
        return MailboxPort(name, safe=safe, names=self.names, now_ns=around.timing.now_ns)


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
    """One mailbox. ``initial`` or ``n_inputs`` make it an input, ``safe`` an output.

    Each activation has a core port of its own, into which goes what was written before: of a mailbox that
    started with ``initial`` whatever was written last, of one without values only what was written since the
    activation before has ended. So no pose of before, and no value of the file, is taken for a measured one.
    """

    awaits = "Write one with `Loop.write_input`, from `configure` on"

    def __init__(
        self,
        name: str,
        *,
        n_inputs: int = 0,
        initial: tuple[float, ...] = (),
        safe: tuple[float, ...] = (),
        names: tuple[str, ...] | None = None,
        now_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self.name = name
        self._now_ns = now_ns
        self._n_inputs = len(initial) or n_inputs
        signals = tuple(Signal(n) for n in names or map(str, range(self._n_inputs or len(safe))))
        self.inputs = signals if self._n_inputs else ()
        self.outputs = signals if safe else ()
        self._initial = initial
        self._safe = safe
        self._writing = threading.Lock()  # the program may write while the loop is activated
        self._written: tuple[npt.NDArray[np.float32], int] | None = None
        self.prepare()  # Python may look into it before the first activation

    def prepare(self) -> None:
        with self._writing:
            self.core = core.Port("mailbox", {"inputs": self._n_inputs, "safe": self._safe})
            if self._written is not None:
                values, time_ns = self._written
                self.core.put(values, min(time_ns, self._now_ns()))  # simulated time may go back

    def put(self, values: npt.NDArray[np.float32]) -> None:
        self.leave(values, self._now_ns())

    def leave(self, values: npt.NDArray[np.float32], time_ns: int) -> None:
        """A sample that was taken at ``time_ns``. Raises ValueError as :meth:`put` does."""
        with self._writing:
            written = values.copy(), time_ns
            self.core.put(*written)
            self._written = written

    def arm(self, clear: bool) -> None:
        """The initial values count as written now, where nothing was written since it was opened."""
        if not self._initial:
            return
        import numpy as np  # a configuration does without

        with self._writing:
            if self._written is None:
                self.core.put(np.array(self._initial, np.float32), self._now_ns())

    def stop(self) -> str:
        if not self._initial:
            with self._writing:
                self._written = None
        return ""
