"""Reads rows of a `TableProjection` as objects: through its view, or folded from the log as of a point of the past.

`TableProjection.get`, `find` and `find_children` call it. Each statement reads a view, and in the same snapshot which
build the view shows. So rows are never decoded by the columns of another build, even while the view is switched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from datetime import datetime
from functools import lru_cache
from inspect import signature
from typing import Any, Final, NamedTuple

import asyncpg
import msgspec

from perdure.checks import check_instance
from perdure.children import ChildTable
from perdure.errors import BuildStateError, InvalidArgumentError, ProjectionDefinitionError, UnknownProjectionError
from perdure.projections.engines.table.definition import TableDefinition
from perdure.projections.engines.table.row_search import RowSearch
from perdure.projections.engines.table.shown_table import mismatches, readable_columns
from perdure.projections.engines.table.table import Table
from perdure.projections.live_fold import LiveFold, until_of
from perdure.projections.sql import statements
from perdure.projections.state.builds import tables_in
from perdure.projections.state.identity import Key, TableShape
from perdure.projections.state.shown_rows import read_names
from perdure.row_query import RowPage, RowQuery
from perdure.store import EventStore
from perdure.stores.postgres.connections.database import Connection, Database, database_of
from perdure.stores.postgres.sql_files import quote_identifier
from perdure.stores.postgres.transactions.transaction import PostgreSQLTransaction
from perdure.transaction import Transaction

_PATIENCE: Final = 10.0
"""Seconds that a query of the past waits for a position that open appends still hold back."""
_MOST_SWITCHES: Final = 20
"""How many switches in a row a read follows."""
_CHANGED: Final = (asyncpg.UndefinedTableError, asyncpg.UndefinedColumnError, asyncpg.InvalidCachedStatementError)
"""What a statement raises if the views were switched after the shown build was read."""

_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


async def get(
    projection: Any,
    store: EventStore,
    key: object,
    *,
    at_position: int | None,
    at_time: datetime | None,
    tx: Transaction | None,
) -> Any:
    """Return the row of a key, or None. See `TableProjection.get`."""
    definition = _definition(projection)
    table = definition.table
    where = dict(zip(table.key, table.asked_key(key), strict=True))
    query = RowQuery(where, (), 1, None, at_position, at_time, tx)
    page = await _search(definition, store, RowSearch(table, query))
    return page.rows[0] if page.rows else None


async def find(projection: Any, store: EventStore, child: ChildTable[Any] | None, query: RowQuery) -> RowPage[Any]:
    """Return a page of rows, or of child rows. See `TableProjection.find`."""
    definition = _definition(projection)
    table = definition.table if child is None else definition.children[definition.child_name(child)]
    return await _search(definition, store, RowSearch(table, query))


async def _search(definition: TableDefinition, store: EventStore, search: RowSearch) -> RowPage[Any]:
    check_instance("store", store, EventStore)
    tx = search.query.tx
    if tx is not None:
        return await _search_within(definition, store, search, tx)
    until = until_of(None, search.query.at_position, search.query.at_time)
    if isinstance(store.database, Database) and not search.query.is_of_the_past:
        reader = _ViewReader(store.database, definition)
        async with store.database.connection() as connection:
            return await reader.search(connection, search)
    live = LiveFold(store, _with_handlers(definition), _PATIENCE)
    rows = (await live.rows(_key_in(definition.table, search), until)).get(search.table.name, {})
    return search.among([search.table.codec.decode(row) for row in rows.values()])


async def _search_within(
    definition: TableDefinition, store: EventStore, search: RowSearch, tx: Transaction
) -> RowPage[Any]:
    store.check_transaction(tx)
    if search.query.is_of_the_past:
        raise InvalidArgumentError(
            "tx", "can't be combined with at_position or at_time: these rows are folded from the log, outside of it"
        )
    assert isinstance(tx, PostgreSQLTransaction)  # noqa: S101 - only such stores have transactions
    async with tx.reading() as connection:
        return await _ViewReader(database_of(store), definition, tx.savepoint).search(connection, search)


def _key_in(table: Table, search: RowSearch) -> Key | None:
    """Return the key of the only projection's row that a query concerns; None if there may be several."""
    values = search.values
    if any(values.get(name) is None for name in table.key):
        return None
    return tuple([values[name] for name in table.key])


@lru_cache(maxsize=512)
def _definition(projection: Any) -> TableDefinition:
    """Return the definition of a class. Rows are read without its handlers, so its constructor isn't needed."""
    return TableDefinition(projection.__new__(projection))


def _with_handlers(definition: TableDefinition) -> TableDefinition:
    """Return the definition of an instance whose handlers can be called."""
    projection = type(definition.projection)
    try:
        signature(projection).bind()
    except TypeError as error:
        reason = f"{projection.__name__}() can't be created without arguments ({error}): use LiveProjection"
        raise ProjectionDefinitionError(definition.name, reason) from None
    return TableDefinition(projection())


class _Shown(NamedTuple):
    """The build that the views of a projection show."""

    version: int
    build: int
    schema: str
    tables: Sequence[TableShape]

    def table_of(self, view: str) -> TableShape | None:
        return next((table for table in self.tables if table.view == view), None)


class _ShownId(msgspec.Struct):
    """The same, as a statement returns it with the rows."""

    version: int
    build: int
    table_schema: str


class _ViewReader:
    """Reads rows through the views of one projection.

    A view that is switched meanwhile makes a statement fail, which would fail the caller's transaction, too. So there,
    `savepoint` is around the statement.
    """

    def __init__(
        self,
        database: Database,
        definition: TableDefinition,
        savepoint: Callable[[], AbstractAsyncContextManager[None]] = nullcontext,
    ) -> None:
        self._database = database
        self._definition = definition
        self._savepoint = savepoint
        self._sql = statements("rows", schema=database.quoted_schema)

    async def search(self, connection: Connection, search: RowSearch) -> RowPage[Any]:
        build = await self._shown(connection)
        for _ in range(_MOST_SWITCHES):
            rows = await self._rows_of(connection, search, build)
            if rows is not None:
                return search.page([search.table.codec.decode(row) for row in rows])
            build = await self._shown(connection)
        reason = "is shown, but another one was each time that its rows were read: try again"
        raise BuildStateError(self._definition.name, build.version, build.build, reason)

    async def _shown(self, connection: Connection) -> _Shown:
        row = await connection.fetchrow(self._sql["shown"], self._definition.name)
        if row is None:
            names = await read_names(self._database, connection)
            raise UnknownProjectionError(self._definition.name, names, in_database=True)
        return _Shown(row["version"], row["build"], row["table_schema"], tables_in(row["shape"] or "[]"))

    async def _rows_of(self, connection: Connection, search: RowSearch, build: _Shown) -> Sequence[msgspec.Raw] | None:
        """Return the rows of the build that was shown; None if the views show another one now."""
        table = search.table
        found = build.table_of(table.view)
        if reasons := mismatches(table, found, search.columns):
            wanted = self._definition.version
            reason = f"is shown, which isn't read as version {wanted}: {'; '.join(reasons)}; wait for version {wanted}"
            raise BuildStateError(self._definition.name, build.version, build.build, reason)
        view = f"{quote_identifier(build.schema)}.{quote_identifier(table.view)}"
        statement = search.statement(view, readable_columns(table, found), self._database.quoted_schema)
        try:
            async with self._savepoint():
                row = await connection.fetchrow(statement.sql, self._definition.name, *statement.arguments)
        except _CHANGED:
            if await self._shown(connection) == build:
                raise
            return None
        assert row is not None  # noqa: S101 - it has no condition
        if row["shown"] is None or msgspec.json.decode(row["shown"], type=_ShownId) != _ShownId(*build[:3]):
            return None
        return _split(row["rows"])
