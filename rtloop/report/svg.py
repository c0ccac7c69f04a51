"""A little SVG: axes with round ticks, and elements that take their colours from the page."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

from rtloop.report.typography import THIN_SPACE, escape


@dataclass(frozen=True)
class Axis:
    """Maps values to pixels, linearly or by logarithm (``log``, for values above zero)."""

    low: float
    high: float
    from_px: float
    to_px: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value; values outside land on the edge."""
        low, high, at = self.low, self.high, min(max(value, self.low), self.high)
        if self.log:
            low, high, at = math.log10(low), math.log10(high), math.log10(at)
        share = (at - low) / (high - low) if high > low else 0.0
        return self.from_px + share * (self.to_px - self.from_px)

    def ticks(self, about: int = 6) -> list[float]:
        """Round values inside the axis, roughly ``about`` of them."""
        if self.log:
            powers = range(math.ceil(math.log10(self.low)), math.floor(math.log10(self.high)) + 1)
            return [10.0**power for power in powers]
        step = round_step((self.high - self.low) / about)
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return [i * step for i in range(first, last + 1)]


def round_step(raw: float) -> float:
    """The smallest of 1, 2, 2.5, 5 × 10ⁿ that is not below ``raw``."""
    if raw <= 0 or not math.isfinite(raw):
        return 1.0
    scale = 10.0 ** math.floor(math.log10(raw))
    return next((m * scale for m in (1, 2, 2.5, 5) if m * scale >= raw * (1 - 1e-9)), 10 * scale)


def tick_label(value: float, step: float) -> str:
    """A tick's number with the digits its step needs."""
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    if round(step, digits) != step:
        digits += 1
    text = f"{value:,.{digits}f}".replace(",", THIN_SPACE).replace("-", "−")
    return "0" if float(f"{value:.{digits}f}") == 0 else text


@dataclass
class Drawing:
    """An SVG image being drawn; sizes in its own pixels, scaled to the page's width."""

    width: float
    height: float
    label: str
    """What it shows, for those who do not see it."""
    stretched: bool = False
    """Whether it fills its box, whatever the box's shape: for drawings without text."""
    parts: list[str] = field(default_factory=list)

    def line(self, x1: float, y1: float, x2: float, y2: float, css: str) -> None:
        """A straight line of a CSS class."""
        self.parts.append(
            f'<line class="{css}" x1="{_n(x1)}" y1="{_n(y1)}" x2="{_n(x2)}" y2="{_n(y2)}"/>'
        )

    def rect(
        self, x: float, y: float, width: float, height: float, css: str, title: str = ""
    ) -> None:
        """A rectangle, with a tooltip."""
        body = f"><title>{escape(title)}</title></rect>" if title else "/>"
        self.parts.append(
            f'<rect class="{css}" x="{_n(x)}" y="{_n(y)}" width="{_n(width)}" '
            f'height="{_n(height)}"{body}'
        )

    def text(self, x: float, y: float, text: str, css: str = "tick", anchor: str = "start") -> None:
        """A line of text; ``anchor`` is start, middle or end."""
        self.parts.append(
            f'<text class="{css}" x="{_n(x)}" y="{_n(y)}" text-anchor="{anchor}">'
            f"{escape(text)}</text>"
        )

    def path(self, points: str, css: str, title: str = "") -> None:
        """A path given as SVG path data."""
        body = f"><title>{escape(title)}</title></path>" if title else "/>"
        self.parts.append(f'<path class="{css}" d="{points}"{body}')

    def dot(self, x: float, y: float, radius: float, css: str, title: str = "") -> None:
        """A filled circle, with a tooltip."""
        body = f"><title>{escape(title)}</title></circle>" if title else "/>"
        self.parts.append(f'<circle class="{css}" cx="{_n(x)}" cy="{_n(y)}" r="{_n(radius)}"{body}')

    def x_axis(
        self, axis: Axis, y: float, title: str, about: int = 8, top: float | None = None
    ) -> None:
        """Ticks and numbers below ``y``; with ``top``, faint grid lines up to there."""
        ticks = axis.ticks(about)
        step = ticks[1] - ticks[0] if len(ticks) > 1 else 1.0
        self.line(axis.from_px, y, axis.to_px, y, "axis")
        for tick in ticks:
            x = axis(tick)
            if top is not None:
                self.line(x, top, x, y, "grid")
            self.line(x, y, x, y + 4, "axis")
            self.text(x, y + 19, tick_label(tick, step), anchor="middle")
        self.text((axis.from_px + axis.to_px) / 2, y + 36, title, "unit", anchor="middle")

    def y_axis(self, axis: Axis, x: float, right: float, about: int = 5) -> None:
        """Numbers left of ``x`` and faint grid lines to ``right``."""
        ticks = axis.ticks(about)
        step = 1.0 if axis.log or len(ticks) < 2 else ticks[1] - ticks[0]
        for tick in ticks:
            y = axis(tick)
            self.line(x, y, right, y, "grid")
            self.text(x - 6, y + 3.5, tick_label(tick, step), anchor="end")

    def __str__(self) -> str:
        return "".join(self._pieces())

    def as_image(self, title: str, description: str, css: str) -> str:
        """A file of its own, with the colours that ``css`` gives it."""
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{_n(self.width)}" '
            f'height="{_n(self.height)}" viewBox="0 0 {_n(self.width)} {_n(self.height)}">'
            f"<title>{escape(title)}</title><desc>{escape(description)}</desc>"
            f"<style>{css}</style>{''.join(self.parts)}</svg>\n"
        )

    def _pieces(self) -> Iterator[str]:
        shape = ' preserveAspectRatio="none"' if self.stretched else ""
        yield (
            f'<svg viewBox="0 0 {_n(self.width)} {_n(self.height)}"{shape} role="img" '
            f'aria-label="{escape(self.label)}">'
        )
        yield from self.parts
        yield "</svg>"


def _n(value: float) -> str:
    text = f"{value:.1f}"
    return text.removesuffix(".0")
