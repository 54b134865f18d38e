"""What people see: lines, fields, tables and JSON, in the width and with the colours that the terminal has."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TextIO

import msgspec
from rich.console import Console
from rich.text import Text

from perdure.cli.table import Cell, Column, laid_out

GOOD: Final = "green"
BAD: Final = "red"
ATTENTION: Final = "yellow"
QUIET: Final = "bright_black"
STRONG: Final = "bold"

_LINES: Final = 40
"""How many lines of JSON are shown on a terminal, unless all are asked for."""

# What would move the cursor, ring, or turn the direction of writing: shown, never sent to the terminal.
_UNSHOWN: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def shown(text: str) -> str:
    """The text with control characters made visible."""
    return _UNSHOWN.sub(lambda found: ascii(found[0])[1:-1], text)


def in_one_line(text: str) -> str:
    """The text with its line breaks and tabs made visible, too."""
    return shown(text).replace("\n", "\\n").replace("\t", "\\t")


def moment(at: datetime) -> str:
    """A time, in UTC and to the millisecond."""
    return f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}.{at.microsecond // 1000:03d}Z"


def second(at: datetime | None) -> Cell:
    """A time in a table: in UTC and to the second."""
    return Cell("-" if at is None else f"{at.astimezone(UTC):%Y-%m-%d %H:%M:%S}Z", QUIET)


def span(seconds: float | None) -> str:
    """A length of time: ``0.4 s``, ``12 s``, ``3 min 5 s``, ``2 h 10 min``."""
    if seconds is None:
        return "-"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60:,} h {minutes % 60} min"


def count(number: int, noun: str) -> str:
    """A number of things: ``1 event``, ``1,200 events``."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


class _Console(Console):
    def on_broken_pipe(self) -> None:
        raise BrokenPipeError  # rich would end the process with status 1, as if there were a problem


class Screen:
    """Prints for people.

    Args:
        file: where to print; the standard output unless told.
    """

    def __init__(self, file: TextIO | None = None) -> None:
        self.console = _Console(
            file=file or sys.stdout, highlight=False, markup=False, emoji=False, soft_wrap=True, legacy_windows=False
        )

    @property
    def is_terminal(self) -> bool:
        """Whether somebody sees it, rather than a file or another program."""
        return self.console.is_terminal

    @property
    def width(self) -> int | None:
        """How many cells a line has; None where it isn't a terminal, and nothing is cut."""
        return self.console.width if self.is_terminal else None

    def line(self, text: str = "", style: str = "") -> None:
        """Print a text as it is; control characters in it are made visible."""
        self.console.print(Text(shown(text), style=style))

    def cells(self, cells: Iterable[Cell]) -> None:
        """Print a line of several styles."""
        self.console.print(self.made_of(cells))

    def text(self, text: str) -> None:
        """Print a text of many lines, which ends with a line break itself."""
        self.console.print(Text(shown(text)), end="")

    def made_of(self, cells: Iterable[Cell]) -> Text:
        """A line of several styles."""
        return _line(map(_cell, cells))

    def fields(self, fields: Iterable[tuple[str, object]]) -> None:
        """Print names and values, a line each; what has no value is left out."""
        kept = [(name, str(value)) for name, value in fields if value is not None]
        width = max((len(name) for name, _ in kept), default=0)
        for name, value in kept:
            self.cells([Cell(f"{name:<{width}}  ", QUIET), Cell(value)])

    def table(self, columns: Sequence[Column], rows: Iterable[Sequence[str | Cell]]) -> None:
        """Print a table, as wide as the terminal at most; elsewhere nothing is cut."""
        for line in self.table_lines(columns, rows):
            self.console.print(line)

    def table_lines(self, columns: Sequence[Column], rows: Iterable[Sequence[str | Cell]]) -> list[Text]:
        """The lines of a table."""
        body = [[_cell(one) for one in row] for row in rows]
        titles = [Cell(column.title, QUIET) for column in columns]
        return [_line(row) for row in laid_out(columns, [titles, *body], self.width)]

    def row(self, cells: Sequence[str | Cell]) -> None:
        """Print a row that stands for itself; on a terminal it is cut at the edge."""
        line = Text()
        for cell in map(_cell, cells):
            line.append(f"{'  ' if line else ''}{cell.text}", style=cell.style)
        if self.width is not None:
            line.truncate(self.width, overflow="ellipsis")
        self.console.print(line)

    def json(self, value: Any, *, in_full: bool = False) -> None:
        """Print a value as JSON; on a terminal only the first lines of it, unless it is wanted in full."""
        lines = msgspec.json.format(msgspec.json.encode(value, enc_hook=repr)).decode().splitlines()
        kept = lines if in_full or not self.is_terminal else lines[:_LINES]
        for line in kept:
            self.line(line if in_full or self.width is None else _cut(line, self.width))
        if len(kept) < len(lines):
            self.line(f"… {len(lines) - len(kept):,} more lines: --full shows them", QUIET)


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
