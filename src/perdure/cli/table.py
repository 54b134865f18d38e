"""Lays out tables to fit the screen: the widest columns shrink first, and cut texts end in an ellipsis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from rich.cells import cell_len, set_cell_size

_GAP: Final = 2
_NARROWEST: Final = 8


class Cell(NamedTuple):
    """A text and its style."""

    text: str
    style: str = ""


class TextColumn(NamedTuple):
    """A column of a table."""

    title: str
    right: bool = False
    """Whether texts are right-aligned, like numbers."""
    whole: bool = False
    """Whether texts are never cut."""


def lay_out(
    columns: Sequence[TextColumn], rows: Sequence[Sequence[Cell]], screen_width: int | None
) -> list[list[Cell]]:
    """Pad or cut each text to the width of its column. The gap after a column belongs to its text."""
    widths = _widths(columns, rows, screen_width)
    return [[_fitted(cell, columns[index], widths, index) for index, cell in enumerate(row)] for row in rows]


def _widths(columns: Sequence[TextColumn], rows: Sequence[Sequence[Cell]], screen_width: int | None) -> list[int]:
    widths = [max(cell_len(row[index].text) for row in rows) for index in range(len(columns))]
    if screen_width is None:
        return widths
    yielding = [index for index, column in enumerate(columns) if not column.whole and not column.right]
    while (excess := sum(widths) + _GAP * (len(widths) - 1) - screen_width) > 0:
        widest = max((widths[index] for index in yielding), default=0)
        if widest <= _NARROWEST:
            break
        equals = [index for index in yielding if widths[index] == widest]
        next_widest = max((widths[index] for index in yielding if widths[index] < widest), default=_NARROWEST)
        narrower = max(next_widest, widest - -(-excess // len(equals)), _NARROWEST)
        for index in equals:
            widths[index] = narrower
    return widths


def _fitted(cell: Cell, column: TextColumn, widths: Sequence[int], index: int) -> Cell:
    width, size = widths[index], cell_len(cell.text)
    is_last = index == len(widths) - 1
    padding = " " * (width - size)
    text = cell.text if size <= width else set_cell_size(cell.text, width - 1) + "…"
    if column.right:
        text = padding + text
    elif not is_last:
        text += padding
    return Cell(text if is_last else text + " " * _GAP, cell.style)
