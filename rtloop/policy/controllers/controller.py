"""What every controller is: a section of the configuration and a piece of the graph."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, ClassVar

from rtloop.config.kinds import Kinds, KindSection
from rtloop.config.problem import Keys, Problem
from rtloop.policy.shaping import row
from rtloop.policy.terms.elements import Scope
from rtloop.policy.terms.measured import Names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rtloop.policy.graph_builder import GraphBuilder


class Controller(KindSection):
    """From the targets of an action to the next ones, or to efforts, element by element.

    A kind is one class in a file of this folder: ``kind``, the key of that name, ``rules`` and ``emit``. The
    first sentence of its docstring is its documentation. What it remembers follows what was *applied*.
    """

    gives_efforts: ClassVar[bool] = False
    """What leaves it is no target any more: a torque, a force."""
    remembers: ClassVar[bool] = True
    """Whether what it gives follows from the cycles before."""

    def reads(self) -> tuple[str | None, ...]:
        """The inputs and groups in which the elements are found."""
        return ()

    @abstractmethod
    def rules(
        self, here: Keys, scope: Scope, names: Names | None, size: int | None
    ) -> Iterator[Problem]:
        """Broken rules of the controller at ``here``, on ``size`` elements of these names."""

    @abstractmethod
    def emit(self, builder: GraphBuilder, target: str, scope: Scope, names: Names | None) -> str:
        """Adds what computes its output from ``target``, both float32 [1, n], and returns its tensor."""


CONTROLLERS: Kinds[Controller] = Kinds(Controller, "rtloop.policy.controllers")


def between(
    builder: GraphBuilder,
    value: str,
    low: float | Sequence[float] | str,
    high: float | Sequence[float] | str,
    label: str,
) -> str:
    """A vector [1, n] between bounds, which are numbers or tensors. What is not finite stays seen."""
    size = builder.size(builder.must_be_finite(value))
    bounds = [
        bound if isinstance(bound, str) else builder.constant(row(bound, size), f"{label}_bound")
        for bound in (low, high)
    ]
    at_least = builder.node("Max", [value, bounds[0]], f"{label}_at_least")
    return builder.node("Min", [at_least, bounds[1]], label)
