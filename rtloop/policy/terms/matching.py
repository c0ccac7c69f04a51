"""Two vectors meet: which element of the one belongs to which of the other.

Where both have names, the names decide: in whatever order, and however many more the other has. Where only
one has names, the order decides, unless the one with names was put into another order, or is not in the
policy's. Where none has names, the order decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rtloop.config.problem import Keys, Problem, any_of
from rtloop.policy.terms.elements import Elements, Scope, has_names, in_other_order, names_of
from rtloop.policy.terms.joints import unfound

Names = tuple[str, ...]
_SAME_NAMES = (
    "by the same names: `joints` and `named` of a term, in a group, call elements by their joints"
)


@dataclass(frozen=True)
class Values:
    """The values that another vector comes to."""

    size: int | None
    names: tuple[Names, ...] = ()
    """All that they are called, each time of all values; none where they have no names, or not yet."""
    is_moved: bool = False
    """Whether they are in another order than at their source."""

    @classmethod
    def of(cls, size: int | None, *names: Names | None, picked: Sequence[int] = ()) -> Values:
        """Of so many, called so; ``picked`` are their indices at the source, where not all were taken."""
        called = dict.fromkeys(told for each in names if (told := names_of(each)) is not None)
        return cls(size, tuple(called), list(picked) != sorted(picked))


def places(values: Values, there: Elements) -> tuple[int, ...] | None:
    """For each value, the index in the vector ``there`` that belongs to it; None where the order decides."""
    names = names_of(there.element_names)
    if names is None:
        return None
    for called in values.names:
        if all(names.count(name) == called.count(name) == 1 for name in called):
            indices = tuple(names.index(name) for name in called)
            return None if indices == tuple(range(len(names))) else indices
    return None


def matching_rules(
    keys: Keys, values: Values, there: Elements, label: str, scope: Scope
) -> Iterator[Problem]:
    """Broken rules where the vector ``there``, called ``label`` and named at ``keys``, comes to values."""
    names = names_of(there.element_names)
    if values.names and names is not None:
        lacking = [unfound(called, names, label) for called in values.names]
        doubled = [n for called in values.names for n in called if called.count(n) > 1]
        if all(lacking):
            shared = [len({*called} & {*names}) for called in values.names]
            lacks = lacking[shared.index(max(shared))] or ""
            cure = "" if max(shared) else f"; or {_SAME_NAMES}"
            yield Problem(keys, f"{lacks}{cure}", f"{label}, whose elements go by other names")
        elif doubled:
            expected = (
                f"names of which each is there once: it comes to several elements '{doubled[0]}'"
            )
            yield Problem(keys, expected, label)
        return
    if values.size is not None and there.element_count not in (None, values.size):
        expected = f"{values.size} elements, as many as it comes to"
        yield Problem(keys, expected, f"{label}, which has {there.element_count}")
    elif not scope.are_models_known:
        return  # what has no names yet may get them from the metadata
    elif values.names and not has_names(there):
        called = values.names[0]
        if values.is_moved or in_other_order(called, scope.joints):
            expected = (
                "elements with names: those that it comes to have some, and were put into another order; "
                "or a group with them in that order, to which it comes"
            )
            yield Problem(keys, expected, f"{label}, whose elements have no names")
    elif names is not None and not values.names and in_other_order(names, scope.joints):
        expected = (
            "names on both sides, or joints in the policy's order (a group with `joints: policy`): the "
            "elements that it comes to have no names"
        )
        yield Problem(keys, expected, f"{label}, with {any_of(list(names))}")
