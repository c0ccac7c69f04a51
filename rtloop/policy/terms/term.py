"""What every observation term is: a section of the configuration and a piece of the graph.

A term has a *source*, which is what its kind is about, and a *shape*, which all kinds share:
``select``, then ``scale``, ``offset`` and ``clip``.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from difflib import get_close_matches
from typing import TYPE_CHECKING

from pydantic import Field

from rtloop.config.kinds import Kinds, KindSection
from rtloop.config.problem import Keys, Problem, any_of, written
from rtloop.config.values import Selection
from rtloop.policy.terms.elements import Elements, Scope
from rtloop.policy.terms.shape import Shape

if TYPE_CHECKING:
    from rtloop.policy.graph_builder import GraphBuilder


class ObservationTerm(Shape, KindSection):
    """A part of the policy's observation: elements of a source, scaled, moved and clipped.

    A kind is one class in a file of its family: ``kind``, the key of that name, further keys of
    its own, ``elements`` and ``emit``. The first sentence of its docstring is its documentation.

    The rules run twice: when the file is read, on what is known then, and when the graph is
    composed and every size is known.
    """

    select: Selection | None = Field(
        default=None, description="names of elements or indices from 0, in order; null is all"
    )

    # --- what a kind says ---

    @abstractmethod
    def elements(self, scope: Scope) -> Elements:
        """The elements of the source, before ``select``. Asked only where no source rule broke."""

    @abstractmethod
    def emit(self, builder: GraphBuilder) -> str:
        """Adds to the graph what computes the source, and returns the name of its tensor.

        float32 [1, n], with n the count of ``elements``. Called once for all terms of one source.
        """

    def source_rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        """Broken rules about the source. ``here`` is where the term stands."""
        yield from ()

    def declared_at(self, scope: Scope) -> Keys:
        """Where the file says how many elements the source has; () where it does not."""
        return ()

    @property
    def label(self) -> str:
        """How messages call the source."""
        return self.kind

    # --- what all kinds have ---

    @property
    def source(self) -> str:
        """Equal for terms that read the same, whatever their shape."""
        own = type(self).model_fields.keys() - ObservationTerm.model_fields.keys()
        return repr((self.kind, [(key, getattr(self, key)) for key in sorted(own)]))

    def size(self, scope: Scope) -> int | None:
        """The number of values after ``select``; None while only the device knows."""
        return self.elements(scope).element_count if self.select is None else len(self.select)

    def indices(self, scope: Scope) -> tuple[int, ...]:
        """The selected elements as indices into the source, whose elements are known by now."""
        elements = self.elements(scope)
        if self.select is None:
            return tuple(range(elements.element_count or 0))
        names = elements.element_names or ()
        return tuple(names.index(e) if isinstance(e, str) else e for e in self.select)

    def element_names(self, scope: Scope) -> tuple[str, ...] | None:
        """The names of the values after ``select``; None where they have none, or not yet."""
        names = self.elements(scope).element_names
        return None if names is None else tuple(names[index] for index in self.indices(scope))

    def rules(self, here: Keys, scope: Scope) -> Iterator[Problem]:
        """Every broken rule of the term, which stands at ``here``."""
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
        yield from self._select_rules(here, elements, judged)
        if self.select is not None:
            yield from self.shape_rules(here, len(self.select), "select", (*here, "select"))
            return
        size_from = self.label
        if declared_at:
            key = (elements.kind,) if elements.kind else ()
            size_from = written((*declared_at[-2:], *key))
        yield from self.shape_rules(here, elements.element_count, size_from, size_at)

    def _select_rules(
        self, here: Keys, elements: Elements, judged: tuple[Keys, ...]
    ) -> Iterator[Problem]:
        select, names, limit = self.select or (), elements.element_names, elements.element_limit
        is_known = elements.element_count is not None
        for position, element in enumerate(select):
            keys = (*here, "select", position)
            if element in select[:position]:
                yield Problem(keys, "each element once")
            elif isinstance(element, int):
                if element >= limit:
                    what = (is_known and elements.kind) or "vector"
                    expected = f"an index below {limit}, the size of the {what}"
                    yield Problem(keys, expected, judged=judged)
            elif not elements.named:
                expected = f"an index from 0: the elements of {self.label} have no names"
                yield Problem(keys, expected, judged=judged)
            elif names is not None and element not in names:
                expected = f"a field of {self.label}: {any_of(list(names))}"
                near = get_close_matches(element, names, 1)
                nearest = f"'{near[0]}'" if near else None
                yield Problem(keys, expected, nearest=nearest, judged=judged)


TERMS: Kinds[ObservationTerm] = Kinds(ObservationTerm, "rtloop.policy.terms")
"""Every kind of term, by the key that names it."""
