"""What a term was in the steps before, beside what it is now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, Strict
from pydantic_core import PydanticCustomError

from rtloop.config.section import Section

if TYPE_CHECKING:
    from rtloop.policy.graph_builder import GraphBuilder

#: Steps of the longest history: 20 s at 50 Hz.
LONGEST = 1000


class HistoryConfig(Section):
    """Values of this step and of steps before, side by side."""

    steps: Annotated[
        tuple[Annotated[int, Field(ge=0, le=LONGEST)], ...],
        Strict(False),
        Field(min_length=1, max_length=LONGEST + 1),
    ] = Field(description="how many steps ago, in order: [2, 1, 0] is oldest first; 0 is this step")
    start: Literal["first", "zero"] = Field(
        default="first", description="what stands for steps before the first: its values, or zeros"
    )
    interleave: bool = Field(
        default=False,
        description="true for all steps of the first element, then of the next; false for whole "
        "vectors, step by step",
    )

    @property
    def depth(self) -> int:
        """The oldest step that is observed."""
        return max(self.steps)


def _oldest_first(value: Any) -> Any:
    """``5`` is Isaac Lab's ``history_length``: the newest five, oldest first."""
    if isinstance(value, int) and not isinstance(value, bool) and 1 <= value <= LONGEST + 1:
        return {"steps": list(range(value - 1, -1, -1))}
    if not isinstance(value, (dict, HistoryConfig)):
        raise PydanticCustomError("no_history", _EXPECTED)
    return value


_EXPECTED = (
    f"a number of steps from 1 to {LONGEST + 1}, or a mapping with `steps`, as {{steps: [4, 2, 0]}}"
)
History = Annotated[HistoryConfig, BeforeValidator(_oldest_first, json_schema_input_type=Any)]
"""A number is that of Isaac Lab's ``history_length``."""


def remembered(builder: GraphBuilder, value: str, size: int, history: HistoryConfig) -> str:
    """The steps of ``value``, float32 [1, size]: float32 [1, size * steps].

    One shift register, newest first; what is observed of it is one Gather.
    """
    import numpy as np

    now = value
    if history.depth > 0:
        register = builder.feedback(
            "history",
            (1, history.depth * size),
            lambda _: builder.node("Gather", [now, kept], "kept", axis=1),
        )
        before = register
        if history.start == "first":
            repeated = builder.constant(np.tile(np.arange(size), history.depth), "repeated")
            first = builder.node("Gather", [value, repeated], "first", axis=1)
            before = builder.node("Where", [builder.has_run, register, first], "before")
        now = builder.node("Concat", [value, before], "remembered", axis=1)
        kept = builder.constant(np.arange(history.depth * size), "kept_steps")
    grid = np.asarray(history.steps)[:, None] * size + np.arange(size)[None, :]
    indices = (grid.T if history.interleave else grid).reshape(-1)
    return builder.node(
        "Gather", [now, builder.constant(indices.astype(np.int64), "steps")], "history_seen", axis=1
    )
