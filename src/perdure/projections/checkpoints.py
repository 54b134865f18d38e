"""Where each projection stands: position and event, in the transaction that writes its rows."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from traceback import format_exception
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from perdure.errors import ProjectionDefinitionError, ProjectionShapeError
from perdure.events import StoredEvent
from perdure.projections.definition import Definition
from perdure.projections.fold import Failure
from perdure.projections.storage import Storage
from perdure.projections.tables import TableShape
from perdure.stores.postgres.database import Connection, Database
from perdure.stores.postgres.statements import Statements

_FOLDER: Final = Path(__file__).parent / "sql" / "checkpoint"


class EventFailure(msgspec.Struct, frozen=True, kw_only=True):
    """Why a projection is paused: the event it can't take, and the error."""

    global_position: int
    stream_id: str
    stream_version: int
    event_id: UUID
    event_type: str
    error_type: str
    """The class of the error."""
    message: str
    traceback: str
    attempts: int
    """How often it was tried."""
    failed_at: datetime


class Checkpoint(NamedTuple):
    """Where a projection stands."""

    global_position: int
    event_id: UUID | None
    failure: EventFailure | None = None
    """Why it is paused; None when it isn't."""


class Checkpoints:
    """The checkpoint of one projection.

    Args:
        database: the database of the store.
        definition: the projection.
        schema: the schema that holds its tables and views.
    """

    def __init__(self, database: Database, definition: Definition, schema: str) -> None:
        self._database = database
        self._definition = definition
        self._schema = schema
        self._id = (definition.name, definition.version)
        self._sql = Statements(_FOLDER, schema=database.quoted_schema)

    async def set_up(self, storage: Storage) -> bool:
        """Make the tables unless they are there. Returns whether the views show them.

        The views of an older version stay until `show`, when the new tables are full; there are none to wait for at
        first, and those of a newer version stay for good.

        Raises:
            ProjectionDefinitionError, ProjectionShapeError: it isn't what was set up under this name and version.
        """
        name = self._definition.name
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(self._sql["lock"], name)
            found = await connection.fetchrow(self._sql["find"], *self._id)
            if found is None:
                await connection.execute(self._sql["add"], *self._id, self._schema, self._definition.shape)
                await storage.create(connection)
            elif found["table_schema"] != self._schema:
                raise ProjectionDefinitionError(name, f"its tables are in schema {found['table_schema']!r}: say so")
            elif found["shape"] != self._definition.shape:
                raise ProjectionShapeError(name, _differences(found["shape"], self._definition.shape))
            shown = await connection.fetchrow(self._sql["shown"], name)
            if shown is None:
                await storage.show(connection)
                await connection.execute(self._sql["show"], *self._id)
            return shown is None or shown["version"] >= self._definition.version

    async def show(self, storage: Storage) -> None:
        """Let the views show this version, unless they show a newer one."""
        async with self._database.connection() as connection, connection.transaction():
            await connection.execute(self._sql["lock"], self._definition.name)
            shown = await connection.fetchrow(self._sql["shown"], self._definition.name)
            if shown is None or shown["version"] < self._definition.version:
                is_beside = shown is not None and shown["table_schema"] == self._schema
                await storage.show(connection, instead_of=_tables(shown["shape"]) if shown and is_beside else ())
                await connection.execute(self._sql["show"], *self._id)

    async def read(self) -> Checkpoint:
        """Where the projection stands."""
        (row,) = await self._database.fetch(self._sql["read"], *self._id)
        failure = msgspec.json.decode(row["error"], type=EventFailure) if row["status"] == "paused" else None
        return Checkpoint(row["global_position"], row["event_id"], failure)

    async def advance(self, connection: Connection, since: Checkpoint, to: StoredEvent) -> bool:
        """Move the checkpoint, within the caller's transaction. False: it isn't where it was, or is paused."""
        moved = await connection.fetchval(
            self._sql["advance"], *self._id, since.global_position, to.global_position, to.event_id
        )
        return moved is not None

    async def pause(self, at: Checkpoint, failure: Failure, attempts: int) -> None:
        """Pause the projection, with the reason, unless the checkpoint isn't where it was."""
        await self._database.fetch(
            self._sql["pause"], *self._id, at.global_position, msgspec.json.encode(_told(failure, attempts)).decode()
        )

    async def resume(self) -> None:
        """Let it go on, if it is paused."""
        await self._database.fetch(self._sql["resume"], *self._id)

    async def log_end(self) -> int:
        """The position of the last event of the log."""
        end: int = await self._database.fetch_value(self._sql["log_end"])
        return end


def _told(failure: Failure, attempts: int) -> EventFailure:
    stored, error = failure
    return EventFailure(
        global_position=stored.global_position,
        stream_id=stored.stream_id,
        stream_version=stored.stream_version,
        event_id=stored.event_id,
        event_type=stored.event_type,
        error_type=type(error).__qualname__,
        message=_storable(_message(error)),
        traceback=_storable("".join(format_exception(error))),
        attempts=attempts,
        failed_at=datetime.now(UTC),
    )


def _message(error: Exception) -> str:
    try:
        return str(error)
    except Exception as another:  # noqa: BLE001 - the user's code, which may raise anything
        return f"its message can't be made: {another!r}"


def _storable(text: str) -> str:
    """The text without what PostgreSQL, or JSON, can't hold: an error must never fail to be kept."""
    return text.replace("\x00", "\\x00").encode(errors="backslashreplace").decode()


def _differences(stored: str, declared: str) -> list[str]:
    """What differs between two shapes, a line each: ``user_profiles__v1.email: text, now text not null``."""
    before, after = _flat(stored), _flat(declared)
    return [
        f"{name}: {before.get(name, 'not there')}, now {after.get(name, 'not there')}"
        for name in dict.fromkeys((*before, *after))
        if before.get(name) != after.get(name)
    ]


def _tables(shape: str) -> list[TableShape]:
    return msgspec.json.decode(shape, type=list[TableShape])


def _flat(shape: str) -> dict[str, str]:
    tables = _tables(shape)
    keys = {f"the key of {table.table}": ", ".join(table.key) for table in tables}
    columns = {f"{table.table}.{name}": kind for table in tables for name, kind in table.columns.items()}
    return keys | columns
