"""What is done to one number on its way, as people write it."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True)
class Formula:
    """What is done to one number, as people write it: ``(x - 0.9) · 0.05``."""

    text: str
    is_sum: bool = False
    """Whether it needs brackets before it is scaled."""
    scale: float = 1.0
    """All factors together."""
    clip: tuple[float, float] | None = None
    """The last bounds."""

    @property
    def ends_clipped(self) -> bool:
        """Whether nothing is done after the last bounds: values are within them, and on them where they act."""
        if self.clip is None:
            return False
        low, high = map(as_text, self.clip)
        return self.text.startswith("clip(") and self.text.endswith(f", {low}, {high})")

    def __str__(self) -> str:
        return self.text

    def as_dict(self) -> dict[str, Any]:
        return {"formula": self.text, "scale": self.scale, "clip": self.clip}

    def of(self, source: str) -> str:
        """The text, with what stands for ``x``."""
        return re.sub(r"(?<![\w.])x(?![\w.])", lambda _: source, self.text)

    def plus(self, value: float | str) -> Formula:
        if isinstance(value, str):
            return replace(self, text=f"{self.text} + {value}", is_sum=True)
        if value == 0.0:
            return self
        sign = "+" if value > 0 else "-"
        return replace(self, text=f"{self.text} {sign} {as_text(abs(value))}", is_sum=True)

    def less(self, value: float | str) -> Formula:
        if isinstance(value, str):
            return replace(self, text=f"{self.text} - {value}", is_sum=True)
        return self.plus(-value)

    def times(self, factor: float) -> Formula:
        if factor == 1.0:
            return self
        text = f"({self.text})" if self.is_sum else self.text
        scaled = f"{text} · {as_text(factor)}"
        return replace(self, text=scaled, is_sum=False, scale=self.scale * factor)

    def wrapped(self, low: float, high: float) -> Formula:
        text = f"wrap({self.text}, {as_text(low)}, {as_text(high)})"
        return replace(self, text=text, is_sum=False)

    def clipped(self, low: float, high: float) -> Formula:
        text = f"clip({self.text}, {as_text(low)}, {as_text(high)})"
        return replace(self, text=text, is_sum=False, clip=(low, high))


def as_text(value: float) -> str:
    """Seven digits at most: what float32 holds."""
    return f"{value:.7g}"
