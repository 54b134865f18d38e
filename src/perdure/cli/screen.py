"""Prints lines, fields, tables and JSON, in the width and colours of the terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec
from rich.console import Console
from rich.text import Text

from perdure.cli.table import Cell, TextColumn, lay_out

GOOD: Final = "green"
BAD: Final = "red"
ATTENTION: Final = "yellow"
QUIET: Final = "bright_black"
STRONG: Final = "bold"

_LINES: Final = 40
"""The number of lines of JSON that a terminal gets without ``--full``."""

# Characters that move the cursor, beep or change the writing direction are escaped, never sent to the terminal.
_UNSHOWN: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str) -> str:
    """Return the text with control characters escaped."""
    return _UNSHOWN.sub(lambda found: ascii(found[0])[1:-1], text)


def in_one_line(text: str) -> str:
    """Return the text with control characters, line breaks and tabs escaped."""
    return shown(text).replace("\n", "\\n").replace("\t", "\\t")


def moment(at: datetime) -> str:
    """Format a time in UTC, to the millisecond."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}Z"


def second(at: datetime | None) -> Cell:
    """Format a time for a table: in UTC, to the second."""
    return Cell("-" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z", QUIET)


def span(seconds: float | None) -> str:
    """Format a duration: ``0.4 s``, ``12 s``, ``3 min 5 s``, ``2 h 10 min``."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def count(number: int, noun: str) -> str:
    """Format a number of things: ``1 event``, ``1,200 events``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # rich would end the process with status 1, which means a problem


class Screen:
    """Prints the output of a command for people.

    Args:
        file: where to print. Default: the standard output.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self.console = _Console(
            file=file or sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True, legacy_windows=False
        )

    @property
    def is_terminal(self) -> bool:
        """Whether the output is a terminal, not a file or another program."""
        return self.console.is_terminal

    @property
    def width(self) -> int | None:
        """The width of a line in cells; None if the output isn't a terminal, where nothing is cut."""
        return self.console.width if self.is_terminal else None

    def line(self, text: str = "", style: str = "") -> None:
        """Print a line of text, with control characters escaped."""
        self.console.print(Text(shown(text), style=style))

    def cells(self, cells: Iterable[Cell]) -> None:
        """Print a line with several styles."""
        self.console.print(self.styled_line(cells))

    def text(self, text: str) -> None:
        """Print a text of several lines that ends with a line break."""
        self.console.print(Text(shown(text)), end="")

    def styled_line(self, cells: Iterable[Cell]) -> Text:
        """Return a line with several styles."""
        return _line(map(_cell, cells))

    def fields(self, fields: Iterable[tuple[str, object]]) -> None:
        """Print names and values, one per line. Values of None are left out."""
        present = [(name, str(value)) for name, value in fields if value is not None]
        width = max((len(name) for name, _ in present), default=0)
        for name, value in present:
            self.cells([Cell(f"{name:<{width}}  ", QUIET), Cell(value)])

    def table(self, columns: Sequence[TextColumn], rows: Iterable[Sequence[str | Cell]]) -> None:
        """Print a table. A terminal gets it cut to its width."""
        for line in self.table_lines(columns, rows):
            self.console.print(line)

    def table_lines(self, columns: Sequence[TextColumn], rows: Iterable[Sequence[str | Cell]]) -> list[Text]:
        """Return the lines of a table."""
        body = [[_cell(one) for one in row] for row in rows]
        titles = [Cell(column.title, QUIET) for column in columns]
        return [_line(row) for row in lay_out(columns, [titles, *body], self.width)]

    def row(self, cells: Sequence[str | Cell]) -> None:
        """Print a single row, not aligned with others. A terminal gets it cut to its width."""
        line = Text()
        for cell in map(_cell, cells):
            line.append(f"{'  ' if line else ''}{cell.text}", style=cell.style)
        if self.width is not None:
            line.truncate(self.width, overflow="ellipsis")
        self.console.print(line)

    def json(self, value: Any, *, in_full: bool = False) -> None:
        """Print a value as JSON. A terminal gets only the first lines, unless `in_full` is set."""
        lines = msgspec.json.format(msgspec.json.encode(value, enc_hook=repr)).decode().splitlines()
        printed = lines if in_full or not self.is_terminal else lines[:_LINES]
        for line in printed:
            self.line(line if in_full or self.width is None else _cut(line, self.width))
        if len(printed) < len(lines):
            self.line(f"… {len(lines) - len(printed):,} more lines; --full shows all", QUIET)


def _line(cells: Iterable[Cell]) -> Text:
    line = Text(no_wrap=True)
    for cell in cells:
        line.append(cell.text, style=cell.style)
    return line


def _cell(one: str | Cell) -> Cell:
    cell = one if isinstance(one, Cell) else Cell(one)
    return Cell(in_one_line(cell.text), cell.style)


def _cut(line: str, width: int) -> str:
    return line if len(line) <= width else f"{line[: width - 1]}…"
