"""Searches the rows of one table: with SQL through its view, or in memory among rows that were folded.

Both return the same rows in the same order: indexes have the order that values have in Python.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from perdure.checks import check_count
from perdure.projections.engines.table.row_order import Cursor, RowOrder, column_values
from perdure.projections.engines.table.storage import loaded_column
from perdure.projections.engines.table.table import Table
from perdure.projections.sql import statements
from perdure.row_query import RowPage, RowQuery
from perdure.stores.postgres.sql_files import fill_in, quote_identifier

MOST_ROWS: Final = 10_000
"""How many rows a page may have."""
_SQL: Final = statements("rows")


class RowStatement(NamedTuple):
    """The statement that finds rows, with its arguments after the name of the projection."""

    sql: str
    arguments: tuple[object, ...]


class RowSearch:
    """A query of one table, checked before anything is read.

    Args:
        table: the table.
        query: the query.

    Raises:
        InvalidArgumentError: the query can't be used, or no index serves it.
    """

    def __init__(self, table: Table, query: RowQuery) -> None:
        check_count("limit", query.limit, 1, MOST_ROWS)
        self.table = table
        self.query = query
        self._order = RowOrder(table, query.where, query.order_by)
        values = column_values(table, tuple(sorted(query.where)))
        asked = values.encoded(query.where)
        self._asked = asked.decode()
        self._asked_values = values.decode(asked)
        self._cursor = Cursor(table, self._order, asked)
        self._after = None if query.after is None else self._cursor.decode(query.after)

    @property
    def values(self) -> Mapping[str, Any]:
        """The values that the query asks for, by column."""
        return {name: getattr(self._asked_values, name) for name in sorted(self.query.where)}

    @property
    def columns(self) -> frozenset[str]:
        """The columns that the query names, by which rows are found and ordered."""
        return frozenset((*self.query.where, *self._order.columns))

    def statement(self, view: str, columns: Mapping[str, str], schema: str) -> RowStatement:
        """Return the statement for a view.

        Args:
            view: the qualified view, quoted.
            columns: the columns to load, and their SQL types.
            schema: the quoted schema of the store.
        """
        order = ", ".join(f"t.{quote_identifier(name)}{self._direction}" for name in self._order.columns)
        loaded = ", ".join(loaded_column(name, kind) for name, kind in columns.items())
        # Each text is filled in once: names of views and columns may look like placeholders.
        places = [
            fill_in(_SQL["place"], place=str(number), order=order, loaded=loaded, view=view, conditions=conditions)
            for number, conditions in enumerate(map(" and ".join, self._places()))
        ]
        sql = fill_in(_SQL["find"], places=" union all ".join(places), view=view, schema=schema)
        return RowStatement(sql, (self._asked, self._after_json(), self.query.limit + 1))

    @property
    def _direction(self) -> str:
        return " desc" if self._order.is_descending else ""

    def _after_json(self) -> str:
        if self._after is None:
            return "{}"
        values = column_values(self.table, self._order.columns)
        return values.encoded({name: getattr(self._after, name) for name in values.names}).decode()

    def _places(self) -> list[list[str]]:
        """Return the conditions of each index scan that is needed, in the order in which their rows come.

        After the row (a, b) come the rows (a, more than b), and then those with more than a.
        """
        equal = [
            f"t.{quote_identifier(name)} {'is null' if value is None else f'= asked.{quote_identifier(name)}'}"
            for name, value in self.values.items()
        ]
        if self._after is None:
            return [equal or ["true"]]
        places: list[list[str]] = []
        columns = self._order.columns
        for count in reversed(range(len(columns))):
            same = [self._same(name) for name in columns[:count]]
            places += [[*equal, *same, beyond] for beyond in self._beyond(columns[count])]
        return places

    def _same(self, name: str) -> str:
        column = quote_identifier(name)
        return f"t.{column} is null" if getattr(self._after, name) is None else f"t.{column} = after.{column}"

    def _beyond(self, name: str) -> list[str]:
        """Return the conditions for values that come after that of the cursor: None is the last one, or the first."""
        column = quote_identifier(name)
        is_null = getattr(self._after, name) is None
        if self._order.is_descending:
            return [f"t.{column} is not null" if is_null else f"t.{column} < after.{column}"]
        if is_null:
            return []
        is_nullable = any(each.nullable for each in self.table.columns if each.name == name)
        return [f"t.{column} > after.{column}", *([f"t.{column} is null"] if is_nullable else [])]

    def among(self, rows: Iterable[Any]) -> RowPage[Any]:
        """Return the page of rows that the query asks for, among all rows of the table."""
        asked = self.values.items()
        found = [row for row in rows if all(getattr(row, name) == value for name, value in asked)]
        found.sort(key=self._order.place_of, reverse=self._order.is_descending)
        if self._after is not None:
            last, is_descending = self._order.place_of(self._after), self._order.is_descending
            places = [self._order.place_of(row) for row in found]
            found = [
                row
                for row, place in zip(found, places, strict=True)
                if (place < last if is_descending else place > last)
            ]
        return self.page(found[: self.query.limit + 1])

    def page(self, rows: Sequence[Any]) -> RowPage[Any]:
        """Return a page of these rows, which may be one more than asked for."""
        limit = self.query.limit
        return RowPage(rows[:limit], self._cursor.of(rows[limit - 1]) if len(rows) > limit else None)
