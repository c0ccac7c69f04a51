"""What is known of the elements of a vector, and of the vectors that a term may read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from rtloop.config.problem import Keys
from rtloop.config.values import VECTOR_SIZE_MAX


class Sized(Protocol):
    """A vector of a size that may not be known yet."""

    @property
    def element_count(self) -> int | None:
        """None while only the device knows."""


class Elements(Sized, Protocol):
    """What is known of a vector: the section of a loop's input says this of its samples."""

    @property
    def kind(self) -> str:
        """The key of the section that says the count; empty where no section does."""

    @property
    def element_limit(self) -> int:
        """The largest count that there can be."""

    @property
    def element_names(self) -> tuple[str, ...] | None:
        """None where there are none, or while only the device knows."""

    @property
    def named(self) -> bool:
        """Whether the elements have names, known or not yet."""


@dataclass(frozen=True)
class Vector:
    """Elements of a vector that no section declares, or of which the device has told by now."""

    element_count: int | None = None
    element_names: tuple[str, ...] | None = None
    kind: str = ""

    @property
    def element_limit(self) -> int:
        return VECTOR_SIZE_MAX if self.element_count is None else self.element_count

    @property
    def named(self) -> bool:
        return self.element_names is not None


@dataclass(frozen=True)
class Scope:
    """What the terms of a loop can refer to.

    ``inputs`` are the loop's, declared at the keys ``inputs_at``; ``action`` is the raw output of
    the policy. Sizes and names may be missing while the file is read, and are not when the graph
    is composed.
    """

    inputs: Mapping[str, Elements]
    action: Elements
    inputs_at: Keys = ("inputs",)
