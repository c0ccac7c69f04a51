"""Numbers and durations as a reader of a report likes to see them. All text is HTML-safe."""

import html
from typing import Final

THIN_SPACE: Final = "\u202f"
NOTHING: Final = "–"


def escape(text: object) -> str:
    """Any text, safe inside elements and attributes."""
    return html.escape(str(text), quote=True)


def count(value: int) -> str:
    """1234567 → 1 234 567, with narrow no-break spaces."""
    return f"{value:,}".replace(",", THIN_SPACE).replace("-", "−")


def microseconds(value: float | None, digits: int = 1) -> str:
    """A number of µs without its unit; the column or axis says it."""
    if value is None:
        return NOTHING
    return f"{value:,.{digits}f}".replace(",", THIN_SPACE).replace("-", "−")


def duration_us(value: float) -> str:
    """A duration in the unit that fits: 312 µs, 1.25 ms, 2.1 s."""
    size = abs(value)
    scale, unit = (1.0, "µs") if size < 1e3 else (1e3, "ms") if size < 1e6 else (1e6, "s")
    number = size / scale
    digits = 0 if number >= 100 or (unit == "µs" and number >= 10) else 1 if number >= 10 else 2
    text = f"{number:.{digits}f}"
    if "." in text:
        text = text.rstrip("0").rstrip(".")
    return f"{'−' if value < 0 else ''}{text}\u00a0{unit}"


def span_s(seconds: float) -> str:
    """How long something took, for people: 2.5 s, 4 min 12 s, 1 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f}\u00a0s" if seconds < 10 else f"{seconds:.0f}\u00a0s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}\u00a0min {rest}\u00a0s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours}\u00a0h {minutes}\u00a0min"


def share(part: int, whole: int) -> str:
    """A share in percent with as many digits as it takes to tell it from zero and from all."""
    if whole == 0:
        return NOTHING
    percent = 100 * part / whole
    if part == 0 or part == whole or percent >= 10:
        digits = 0 if percent in (0, 100) else 1
    elif percent >= 0.1:
        digits = 2
    else:
        digits = 4
    return f"{percent:.{digits}f}{THIN_SPACE}%"


def size_bytes(value: int) -> str:
    """12.3 MB"""
    number = float(value)
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000 or unit == "GB":
            break
        number /= 1000
    return f"{number:.0f}\u00a0{unit}" if unit == "B" else f"{number:.1f}\u00a0{unit}"


def plural(number: int, one: str, many: str | None = None) -> str:
    """``3 cycles``, ``1 cycle``."""
    return f"{count(number)}\u00a0{one if number == 1 else many or one + 's'}"
