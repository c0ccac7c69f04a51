"""What every observation term is: a section of the configuration and a piece of the graph.

A term has a *source*, which is what its kind is about, and a *shape*, which all kinds share, in this
order: ``select`` or ``joints``, ``minus``, ``wrap``, ``scale``, ``offset``, ``clip``, ``history``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from rtloop.config.kinds import Kinds, KindSection
from rtloop.config.problem import Keys, Problem, any_of, number, unknown, written
from rtloop.config.values import NamedValues, Range, Selection, as_float32
from rtloop.policy.terms.elements import (
    DEFAULT_POSE,
    Elements,
    Scope,
    has_names,
    in_other_order,
)
from rtloop.policy.terms.history import History
from rtloop.policy.terms.joints import Joints, Pattern, joint_names, joint_rules, unfound
from rtloop.policy.terms.matching import Values, matching_rules, pose_rules
from rtloop.policy.terms.shape import Shape

if TYPE_CHECKING:
    from collections.abc import Callable

    from rtloop.errors import Place
    from rtloop.policy.graph_builder import GraphBuilder
    from rtloop.policy.roles import Stage


class ObservationTerm(Shape, KindSection):
    """A part of the policy's observation: elements of a source, scaled, moved, clipped, remembered.

    A kind is one class in a file of its family: ``kind``, the key of that name, further keys of
    its own, ``elements`` and ``emit``. The first sentence of its docstring is its documentation.

    The rules run twice: when the file is read, on what is known then, and when the graph is
    composed and every size is known.
    """

    select: Selection | None = Field(
        default=None, description="names of elements or indices from 0, in order; null is all"
    )
    joints: Joints | None = Field(
        default=None, description="`policy`, or names: the elements of these joints, in their order"
    )
    named: Pattern = Field(
        default="{}", description="how the source names the element of a joint: {}_pos"
    )
    minus: NamedValues = Field(
        default=0.0,
        description="subtracted before scaling: numbers, default_joint_pos, or the name of an input or group "
        "(by the names of its elements, where both have them)",
    )
    wrap: Range | None = Field(
        default=None, description="[from, below]: brought in there by whole turns, before scaling"
    )
    history: History | None = Field(
        default=None,
        description="how many steps are observed, oldest first; or `steps`, `start` and `interleave`",
    )

    # --- what a kind says ---

    is_of_each_cycle: ClassVar[bool] = False
    """Whether it remembers cycles of the loop, not runs of the policy."""

    @abstractmethod
    def elements(self, scope: Scope) -> Elements:
        """The elements of the source, before ``select``. Asked only where no source rule broke."""

    @abstractmethod
    def emit(self, builder: GraphBuilder) -> str:
        """Adds to the graph what computes the source, and returns the name of its tensor.

        float32 [1, n], with n the count of ``elements``. Called once for all terms of one source.
        """

    def least_size(self, name: str, scope: Scope) -> int:
        """The elements that an input must have which the source reads, as far as the term tells."""
        return 1

    def load_model(self, where: Callable[..., Place]) -> Stage | None:
        """The model that the term is; None for one that is none. ``where`` tells the place of its keys.

        Raises ConfigError.
        """
        return None

    def source_rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        """Broken rules about the source. ``here`` is where the term stands."""
        yield from ()

    def declared_at(self, scope: Scope) -> Keys:
        """Where the file says how many elements the source has; () where it does not."""
        return ()

    @property
    def is_of_the_machine(self) -> bool:
        """Whether the order of its elements is the machine's, and not one that the policy's section says."""
        return False

    @property
    def label(self) -> str:
        """How messages call the source."""
        return self.kind

    @property
    def prefix(self) -> str:
        """What stands before the names of its elements, where people read them: ``joint_pos.knee``."""
        return self.kind

    def inner(self, scope: Scope) -> Sequence[ObservationTerm]:
        """The terms that the source joins; none where it is no group."""
        return ()

    @property
    def fixed(self) -> tuple[float, ...]:
        """The values of the source, where they never change; else none."""
        return ()

    def reads(self) -> tuple[str, ...]:
        """The names of the inputs and groups that the source reads."""
        return ()

    # --- what all kinds have ---

    def reads_all(self) -> tuple[str, ...]:
        """The names of the inputs and groups that the term reads."""
        return (*self.reads(), self.minus) if isinstance(self.minus, str) else self.reads()

    @property
    def source(self) -> str:
        """Equal for terms that read the same, whatever their shape."""
        own = type(self).model_fields.keys() - ObservationTerm.model_fields.keys()
        return repr((self.kind, [(key, getattr(self, key)) for key in sorted(own)]))

    @property
    def vectors(self) -> dict[str, float | tuple[float, ...] | str | None]:
        return {"minus": self.minus, **super().vectors}

    def size(self, scope: Scope) -> int | None:
        """The number of values, those of the history included; None while only the device knows."""
        count = self.width(scope)
        if count is None or self.history is None:
            return count
        return count * len(self.history.steps)

    def width(self, scope: Scope) -> int | None:
        """The number of values of one step; None while only the device knows."""
        if self.select is not None:
            return len(self.select)
        if self.joints is not None:
            names = joint_names(self.joints, scope.joints)
            return None if names is None else len(names)
        return self.elements(scope).element_count

    def indices(self, scope: Scope) -> tuple[int, ...]:
        """The selected elements as indices into the source, whose elements are known by now."""
        elements = self.elements(scope)
        names = elements.element_names or ()
        if self.select is not None:
            return tuple(names.index(e) if isinstance(e, str) else e for e in self.select)
        if self.joints is not None:
            return tuple(names.index(name) for name in self._wanted(scope))
        return tuple(range(elements.element_count or 0))

    def element_names(self, scope: Scope) -> tuple[str, ...] | None:
        """The names of the values of one step; None where they have none, or not yet.

        Elements of joints go by the names of the joints. With a history there is no name for one value.
        """
        if self.history is not None and len(self.history.steps) > 1:
            return None
        return self.step_names(scope)

    def has_names(self, scope: Scope) -> bool:
        """Whether there are ``element_names``, known or not yet."""
        if self.history is not None and len(self.history.steps) > 1:
            return False
        return self.joints is not None or has_names(self.elements(scope))

    def step_names(self, scope: Scope) -> tuple[str, ...] | None:
        """``element_names``, whatever the history."""
        if self.joints is not None:
            return joint_names(self.joints, scope.joints)
        names = self.elements(scope).element_names
        if names is None:
            selected = tuple(e for e in self.select or () if isinstance(e, str))
            return selected if selected and selected == self.select else None
        if not all(e in names if isinstance(e, str) else e < len(names) for e in self.select or ()):
            return None  # its own rules tell what is not there
        return tuple(names[index] for index in self.indices(scope))

    def is_moved(self, scope: Scope) -> bool:
        """Whether the values of one step are in another order than at the source, as far as is known."""
        names = self.elements(scope).element_names or ()
        if self.select is not None:
            picked = [names.index(e) if e in names else e for e in self.select]
        else:
            picked = [names.index(name) for name in self._wanted(scope) if name in names]
        numbers = [index for index in picked if isinstance(index, int)]
        return numbers != sorted(numbers)

    def values(self, scope: Scope) -> Values:
        """What a vector that is subtracted comes to: by the names of the joints, and by those at the source."""
        called = [self.step_names(scope), *([self._wanted(scope)] if self.joints else ())]
        values = Values.of(self.width(scope), *(names or None for names in called))
        return replace(values, is_moved=self.is_moved(scope))

    def _wanted(self, scope: Scope) -> tuple[str, ...]:
        """The names that the source has for the joints; () while they are not known."""
        joints = joint_names(self.joints or (), scope.joints) or ()
        return tuple(self.named.replace("{}", joint) for joint in joints)

    # --- rules ---

    def rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        """Every broken rule of the term, which stands at ``here``."""
        yield from self._key_rules(here)
        broken = list(self.source_rules(here, scope))
        if broken:
            yield from broken
            selected = None if self.select is None else len(self.select)
            yield from self.shape_rules(here, selected, "select", (*here, "select"))
            return
        elements = self.elements(scope)
        declared_at = self.declared_at(scope)
        size_at = declared_at or (*here, self.kind)
        judged = (size_at, (*here, self.kind))
        picks = list(self._pick_rules(here, elements, judged, scope))
        yield from picks
        if self.select is not None or self.joints is not None:
            key = "joints" if self.select is None else "select"
            size = self.width(scope)
            yield from self.shape_rules(here, size, key, (*here, key))
        else:
            size_from = self.label
            if declared_at:
                kind = (elements.kind,) if elements.kind else ()
                size_from = written((*declared_at[-2:], *kind))
            yield from self.shape_rules(here, elements.element_count, size_from, size_at)
        if not picks:
            yield from self._pose_rules(here, scope)
            yield from self._minus_rules(here, scope)

    def _key_rules(self, here: Keys) -> Iterator[Problem]:
        if self.select is not None and self.joints is not None:
            expected = "either `select` or `joints`: both say which elements, in which order"
            yield Problem(
                (*here, "joints"), expected, "both", judged=((*here, "select"),), at_key=True
            )
        if self.joints is None and "named" in self.model_fields_set:
            yield Problem((*here, "named"), "`joints` beside it", at_key=True)
        if self.wrap is not None and not as_float32(self.wrap[0]) < as_float32(self.wrap[1]):
            low, high = self.wrap
            found = f"[{number(low)}, {number(high)}]"
            if low < high:
                found = f"[{low!r}, {high!r}], which are one number in float32"
            yield Problem((*here, "wrap"), "[from, below] with from < below", found)

    def _pick_rules(
        self, here: Keys, elements: Elements, judged: tuple[Keys, ...], scope: Scope
    ) -> Iterator[Problem]:
        if self.select is not None:
            yield from self._select_rules(here, elements, judged)
        elif self.joints is not None:
            yield from self._joints_rules(here, elements, judged, scope)
        elif (
            # Not before: the joints of the section may be wrong, which the model's metadata show.
            scope.are_models_known
            and self.is_of_the_machine
            and in_other_order(elements.element_names or (), scope.joints)
        ):
            expected = (
                "`joints: policy` beside it: its elements are joints of the policy in another order"
            )
            yield Problem((*here, self.kind), expected, judged=judged)

    def _joints_rules(
        self, here: Keys, elements: Elements, judged: tuple[Keys, ...], scope: Scope
    ) -> Iterator[Problem]:
        keys, joints = (*here, "joints"), self.joints or ()
        if joint_names(joints, scope.joints) is None and not scope.are_models_known:
            return
        broken = list(joint_rules(keys, joints, scope.joints, (*scope.groups_at[:-1], "joints")))
        yield from broken
        if broken:
            return
        if not has_names(elements):
            expected = f"`select` with indices: the elements of {self.label} have no names"
            yield Problem(keys, expected, judged=judged)
        elif elements.element_names is not None:
            lacks = unfound(self._wanted(scope), elements.element_names, self.label)
            if lacks is not None:
                key = "named" if "named" in self.model_fields_set else "joints"
                yield Problem((*here, key), lacks, judged=judged)

    def _select_rules(
        self, here: Keys, elements: Elements, judged: tuple[Keys, ...]
    ) -> Iterator[Problem]:
        select, names, limit = self.select or (), elements.element_names, elements.element_limit
        is_known = elements.element_count is not None
        indices = [names.index(e) if names and e in names else e for e in select]
        for position, element in enumerate(select):
            keys = (*here, "select", position)
            if indices[position] in indices[:position]:
                yield Problem(keys, "each element once")
            elif isinstance(element, int):
                if element >= limit:
                    what = (is_known and elements.kind) or "vector"
                    expected = f"an index below {limit}, the size of the {what}"
                    yield Problem(keys, expected, judged=judged)
            elif not has_names(elements):
                expected = f"an index from 0: the elements of {self.label} have no names"
                yield Problem(keys, expected, judged=judged)
            elif names is not None and names.count(element) > 1:
                expected = (
                    f"an index: {names.count(element)} elements of {self.label} are called so"
                )
                yield Problem(keys, expected, judged=judged)
            elif names is not None and element not in names:
                expected = f"a field of {self.label}: {any_of(list(names))}"
                near = get_close_matches(element, names, 1)
                nearest = f"'{near[0]}'" if near else None
                yield Problem(keys, expected, nearest=nearest, judged=judged)

    def _pose_rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        for key in ("minus", "offset"):
            if getattr(self, key) == DEFAULT_POSE:
                names, size = self.step_names(scope), self.width(scope)
                yield from pose_rules((*here, key), scope, names, size, self.is_moved(scope))

    def _minus_rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        name = self.minus
        if not isinstance(name, str) or name == DEFAULT_POSE:
            return
        keys = (*here, "minus")
        vector = scope.vector(name)
        if vector is None:
            known = [*scope.vector_names, DEFAULT_POSE]
            yield unknown(keys, name, "input or group", known, scope.inputs_at)
            return
        yield from matching_rules(keys, self.values(scope), vector, f"'{name}'", scope)


TERMS: Kinds[ObservationTerm] = Kinds(ObservationTerm, "rtloop.policy.terms")
"""Every kind of term, by the key that names it."""
