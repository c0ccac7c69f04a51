"""Wide tables: rows on a screen, on a phone one card a row whose values bring their heads along."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from rtloop.report.typography import escape

Cell = str | tuple[str, str]
"""HTML, or HTML and a CSS class."""


@dataclass(frozen=True)
class Column:
    """``css`` is that of its head and cells: ``words`` for text, ``minor`` for what may go first."""

    head: str
    css: str = ""
    label: str = ""
    """Of a value on a card, where the head does not say it all."""


def wide_table(columns: Sequence[Column], rows: Iterable[Sequence[Cell]]) -> Iterator[str]:
    """The table as HTML; the first cell of each row is the title of its card."""
    yield '<div class="scroll"><table class="wide">\n<thead><tr>'
    yield "".join(f"<th{_class(column.css)}>{escape(column.head)}</th>" for column in columns)
    yield "</tr></thead>\n<tbody>"
    for row in rows:
        cells = [_cell(column, cell) for column, cell in zip(columns, row, strict=True)]
        yield f"<tr>{''.join(cells)}</tr>"
    yield "</tbody></table></div>"


def _cell(column: Column, cell: Cell) -> str:
    html, css = (cell, "") if isinstance(cell, str) else cell
    label = escape(column.label or column.head)
    return f'<td{_class(column.css, css)} data-label="{label}">{html}</td>'


def _class(*names: str) -> str:
    text = " ".join(name for name in names if name)
    return f' class="{text}"' if text else ""
