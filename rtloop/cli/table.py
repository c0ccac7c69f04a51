"""A table of texts that fits the terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from rtloop.cli.terminal import Terminal

#: A column is cut, at the end of its texts, but not below this.
NARROWEST = 5

Row = Sequence[str]


def table(
    header: Row, rows: Iterable[Row | str], terminal: Terminal, spare: Sequence[str] = ()
) -> Iterator[str]:
    """Lines that fit. Columns of nothing are left out; then, while lines are too long, those of ``spare``; then
    texts are cut. Numbers are not: half of one is another."""
    listed = list(rows)
    cells = [row for row in listed if not isinstance(row, str)]
    kept = [index for index in range(len(header)) if any(row[index] for row in cells)]
    widths = {i: max(len(header[i]), *(len(row[i]) for row in cells)) for i in kept}

    def width() -> int:
        return sum(widths[i] + 2 for i in kept)

    for name in spare:
        if width() > terminal.columns:
            kept = [index for index in kept if header[index] != name]
    texts = [i for i in kept if not all(_is_number(row[i]) for row in cells)]
    while width() > terminal.columns and max((widths[i] for i in texts), default=0) > NARROWEST:
        widths[max(texts, key=lambda i: widths[i])] -= 1

    def line(row: Row) -> str:
        aligned = (
            text.rjust(widths[i]) if i == 0 else text.ljust(widths[i])
            for i, text in ((i, _cut(row[i], widths[i])) for i in kept)
        )
        return ("  " + "  ".join(aligned)).rstrip()

    yield terminal.styled(line(header), "dim")
    for row in listed:
        yield "  " + _cut(row, terminal.columns - 2) if isinstance(row, str) else line(row)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return not text
    return True


def _cut(text: str, width: int) -> str:
    """In its middle: the end of a name is what tells it from the others."""
    if len(text) <= width:
        return text
    end = max(width - 1, 0) // 3
    return f"{text[: max(width - 1 - end, 0)]}…{text[len(text) - end :]}"
