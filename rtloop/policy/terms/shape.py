"""What is done to every element on its way into the policy and out of it."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from rtloop.config.problem import Keys, Problem, number, same_length
from rtloop.config.section import Section
from rtloop.config.values import Range, Values


class Shape(Section):
    """``clip(x * scale + offset)``, in that order, in float32."""

    scale: Values = Field(default=1.0, description="factor per element")
    offset: Values = Field(default=0.0, description="added after scaling")
    clip: Range | None = Field(default=None, description="[lowest, highest] after scale and offset")

    def shape_rules(
        self, here: Keys, size: int | None, size_from: str, size_at: Keys
    ) -> Iterator[Problem]:
        """Broken rules of the shape at ``here``, of ``size`` elements.

        The value at ``size_at`` says so, which messages call ``size_from``. Where the size is not
        known yet, None, lists need only be equally long.
        """
        vectors: dict[str, float | tuple[float, ...] | None] = {
            "scale": self.scale,
            "offset": self.offset,
        }
        yield from same_length(here, vectors, size, size_from, size_at)
        if self.clip is not None and not self.clip[0] < self.clip[1]:
            expected = "[lowest, highest] with lowest < highest"
            found = f"[{number(self.clip[0])}, {number(self.clip[1])}]"
            yield Problem((*here, "clip"), expected, found)
