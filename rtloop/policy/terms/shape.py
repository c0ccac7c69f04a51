"""What is done to every element on its way into the policy and out of it."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from rtloop.config.problem import Keys, Problem, number, same_length
from rtloop.config.section import Section
from rtloop.config.values import NamedValues, Ranges, Values
from rtloop.policy.terms.elements import DEFAULT_POSE


class Shape(Section):
    """``clip(x * scale + offset)``, in that order, in float32."""

    scale: Values = Field(default=1.0, description="factor per element")
    offset: NamedValues = Field(
        default=0.0, description="added after scaling; default_joint_pos is the pose of that name"
    )
    clip: Ranges | None = Field(
        default=None,
        description="[lowest, highest] after scale and offset; each a number, or one per element",
    )

    def shape_rules(
        self, here: Keys, size: int | None, size_from: str, size_at: Keys
    ) -> Iterator[Problem]:
        """Broken rules of the shape at ``here``, of ``size`` elements.

        The value at ``size_at`` says so, which messages call ``size_from``. Where the size is not
        known yet, None, lists need only be equally long.
        """
        vectors = {key: value for key, value in self.vectors.items() if not isinstance(value, str)}
        broken = list(same_length(here, vectors, size, size_from, size_at))
        yield from broken
        if isinstance(self.offset, str) and self.offset != DEFAULT_POSE:
            yield Problem((*here, "offset"), f"numbers, or {DEFAULT_POSE}")
        if self.clip is None:
            return
        for index, bound in enumerate(self.clip):
            if isinstance(bound, tuple):
                keys = (*here, "clip")
                sizes = {index: bound}
                yield from bound_length(keys, sizes, size, size_from, size_at)
        yield from self._clip_order((*here, "clip"))

    @property
    def vectors(self) -> dict[str, float | tuple[float, ...] | str | None]:
        """The keys that hold one value per element, beside the clip."""
        return {"scale": self.scale, "offset": self.offset}

    def _clip_order(self, keys: Keys) -> Iterator[Problem]:
        if self.clip is None:
            return
        low, high = self.clip
        lows = low if isinstance(low, tuple) else (low,)
        highs = high if isinstance(high, tuple) else (high,)
        for i in range(max(len(lows), len(highs))):
            least = lows[i] if len(lows) > i else lows[-1]
            most = highs[i] if len(highs) > i else highs[-1]
            if not least < most:
                expected = "[lowest, highest] with lowest < highest"
                yield Problem(keys, expected, f"[{number(least)}, {number(most)}]")
                return


def bound_length(
    keys: Keys,
    bounds: dict[int, tuple[float, ...]],
    size: int | None,
    size_from: str,
    size_at: Keys,
) -> Iterator[Problem]:
    """Bounds, by their index at ``keys``, that are not one for each of ``size`` elements."""
    for index, bound in bounds.items():
        if size is not None and len(bound) != size:
            expected = f"{size} as in '{size_from}', or one number for all"
            yield Problem((*keys, index), expected, judged=(size_at,))
