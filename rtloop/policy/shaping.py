"""The shape of all terms at once: select, scale, offset, clip.

However many terms there are, each step is at most one node: on small policies the time goes by the
number of nodes. A step that no term uses is left out.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from rtloop.errors import Place, do_each
from rtloop.policy.graph_builder import GraphBuilder
from rtloop.policy.terms.elements import Scope
from rtloop.policy.terms.shape import Shape
from rtloop.policy.terms.term import ObservationTerm

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt


def emitted(
    builder: GraphBuilder,
    terms: Sequence[ObservationTerm],
    scope: Scope,
    where: Callable[..., Place],
) -> dict[str, str]:
    """The tensor of each source; terms of one source share it. Each is what its term says it is.

    Raises ConfigError with every term whose nodes fail, or yield anything else.
    """
    tensors: dict[str, str] = {}

    def emit(index: int, term: ObservationTerm) -> None:
        if term.source in tensors:
            return
        with builder.blaming(where("observation", index, term.kind)):
            tensors[term.source] = tensor = term.emit(builder)
            builder.check(tensor, (1, term.elements(scope).element_count or 0))

    do_each(partial(emit, index, term) for index, term in enumerate(terms))
    return tensors


def selected(
    builder: GraphBuilder,
    terms: Sequence[ObservationTerm],
    tensors: Mapping[str, str],
    scope: Scope,
) -> str:
    """The sources of all terms, joined, and what the terms select of them: float32 [1, n]."""
    import numpy as np

    begins: dict[str, int] = {}  # by tensor: where it begins in the vector of all of them
    width = 0
    picked: list[int] = []
    for term in terms:
        tensor = tensors[term.source]
        if tensor not in begins:
            begins[tensor] = width
            width += term.elements(scope).element_count or 0
        picked += [begins[tensor] + index for index in term.indices(scope)]
    value = next(iter(begins))
    if len(begins) > 1:
        value = builder.node("Concat", list(begins), "joined", axis=1)
    if picked != list(range(width)):
        indices = builder.constant(np.array(picked, np.int64), "indices")
        value = builder.node("Gather", [value, indices], "selected", axis=1)
    return value


def shaped(
    builder: GraphBuilder, value: str, parts: Sequence[tuple[Shape, int]], label: str
) -> str:
    """Scale, offset and clip of a vector [1, n], whose parts have these shapes and sizes."""
    scale = _row((shape.scale, size) for shape, size in parts)
    offset = _row((shape.offset, size) for shape, size in parts)
    clips = [(shape.clip or (-math.inf, math.inf), size) for shape, size in parts]
    low = _row((clip[0], size) for clip, size in clips)
    high = _row((clip[1], size) for clip, size in clips)
    for operator, operand, neutral in (
        ("Mul", scale, 1.0),
        ("Add", offset, 0.0),
        ("Max", low, -math.inf),
        ("Min", high, math.inf),
    ):
        if (operand != neutral).any():
            step = f"{label}_{operator.lower()}"
            value = builder.node(operator, [value, builder.constant(operand, f"{step}_by")], step)
    return value


def _row(
    parts: Iterable[tuple[float | tuple[float, ...], int]],
) -> npt.NDArray[np.float32]:
    """One row, float32 [1, sum of sizes], from the value and the size of each part."""
    import numpy as np

    rows = [np.broadcast_to(np.asarray(value, np.float32), (size,)) for value, size in parts]
    return np.concatenate(rows).reshape(1, -1)
