"""What is known of the elements of a vector, and of the vectors that a term may read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

from rtloop.config.problem import Keys
from rtloop.config.values import VECTOR_SIZE_MAX

if TYPE_CHECKING:
    from rtloop.policy.roles import Stage
    from rtloop.policy.terms.term import ObservationTerm

DEFAULT_POSE = "default_joint_pos"
"""The name of the pose that an action of zero commands."""


class Elements(Protocol):
    """What is known of a vector: the section of a loop's input says this of its samples."""

    @property
    def element_count(self) -> int | None:
        """None while only the device knows."""

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
        """Whether the elements have names that are not known yet, or may have."""


def has_names(elements: Elements) -> bool:
    """Whether the elements have names, known or not yet."""
    return elements.named or elements.element_names is not None


def names_of(names: Sequence[str] | None) -> tuple[str, ...] | None:
    """The names; None where there are none. A number is none: elements without names are counted so."""
    if names is None or any(name.isdigit() for name in names):
        return None
    return tuple(names)


def in_other_order(names: Sequence[str], joints: Sequence[str] | None) -> bool:
    """Whether some of the names are joints, and these not in the order of ``joints``."""
    known = [name for name in names if name in (joints or ())]
    return known != [joint for joint in joints or () if joint in known]


@dataclass(frozen=True)
class Vector:
    """Elements of a vector that no section declares, or of which the device has told by now."""

    element_count: int | None = None
    element_names: tuple[str, ...] | None = None
    kind: str = ""
    names_may_come: bool = False

    @property
    def element_limit(self) -> int:
        return VECTOR_SIZE_MAX if self.element_count is None else self.element_count

    @property
    def named(self) -> bool:
        return self.names_may_come or self.element_names is not None


@dataclass(frozen=True)
class Joined:
    """Vectors, one after the other, as one."""

    parts: tuple[Elements, ...]
    kind: str = ""
    element_limit: int = VECTOR_SIZE_MAX

    @property
    def element_count(self) -> int | None:
        counts = [part.element_count for part in self.parts]
        known = [count for count in counts if count is not None]
        return sum(known) if known and len(known) == len(counts) else None

    @property
    def element_names(self) -> tuple[str, ...] | None:
        names = [part.element_names for part in self.parts]
        known = [of_one for of_one in names if of_one is not None]
        return sum(known, ()) if known and len(known) == len(names) else None

    @property
    def named(self) -> bool:
        return all(part.named for part in self.parts)


@dataclass(frozen=True)
class Pose:
    """One value for each joint of the policy: ``default_joint_pos``."""

    values: tuple[float, ...]
    joints: tuple[str, ...] | None = None
    """The names of the joints; None where they have none."""

    def of(
        self, names: Sequence[str] | None, size: int, is_moved: bool = False
    ) -> tuple[float, ...] | None:
        """The values of ``size`` elements: of those of these names, or of all in their order.

        None where there is none for some, or where the elements were moved out of the order of their
        source and nothing says whose the values are.
        """
        called = names_of(names)
        if self.joints is not None and called is not None:
            by_name = dict(zip(self.joints, self.values, strict=True))
            known = all(name in by_name for name in called) and len({*called}) == len(called)
            return tuple(by_name[name] for name in called) if known else None
        if len(self.values) != size or (called is not None and is_moved):
            return None
        return self.values


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
    groups: Mapping[str, Sequence[ObservationTerm]] = field(default_factory=dict)
    """The policy's named lists of terms, each of which is a vector."""
    groups_at: Keys = ("groups",)
    outputs: Mapping[str, Elements] = field(default_factory=dict)
    """What the models answer, as ``MODEL.OUTPUT``; empty while they are not loaded."""
    joints: tuple[str, ...] | None = None
    """The joints of the policy, in its order."""
    pose: Pose | None = None
    """``default_joint_pos``."""
    command: Elements = field(default_factory=lambda: Joined(()))
    """All elements of all outputs of the loop."""
    period_s: Fraction | None = None
    """The nominal time between two runs of the policy."""
    are_models_known: bool = False
    """Whether ``outputs`` and ``models_of_terms`` are complete."""
    models_of_terms: Mapping[str, Stage] = field(default_factory=dict)
    """Of terms that are models: by ``ObservationTerm.source``."""

    def vector(self, name: str) -> Elements | None:
        """An input of the loop or a group of the policy; None where there is none of that name."""
        if name in self.inputs:
            return self.inputs[name]
        return self.joined(self.groups[name], "group") if name in self.groups else None

    @property
    def vector_names(self) -> list[str]:
        return [*self.inputs, *self.groups]

    def joined(self, terms: Sequence[ObservationTerm], kind: str = "") -> Vector:
        """The values of terms, one after the other."""
        counts: list[int | None] = []
        names: list[str] | None = []
        for term in terms:
            counts.append(term.size(self))
            own = term.element_names(self)
            names = None if names is None or own is None else [*names, *own]
        known = [count for count in counts if count is not None]
        total = sum(known) if len(known) == len(counts) else None
        may_come = all(term.has_names(self) for term in terms)
        return Vector(total, None if names is None else tuple(names), kind, may_come)
