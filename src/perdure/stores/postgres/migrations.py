"""The store's schema: numbered migrations, applied in order, each once, under a lock, and recorded.

A migration is a folder ``NNNN_name`` of ``.sql`` files, one statement each, in the order of their names.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg

from perdure.errors import InvalidArgumentError, SchemaOutdatedError, SchemaTooNewError
from perdure.stores.postgres.failures import translated_errors
from perdure.stores.postgres.statements import Statements, fill_in, quote_identifier


class Migration(NamedTuple):
    """One step of the schema."""

    number: int
    name: str
    statements: tuple[str, ...]
    """With ``{schema}``, ``{schema_literal}`` (within quotes) and ``{namespace}`` still to be filled in."""


def known_migrations(folder: Path = Path(__file__).parent / "migrations") -> list[Migration]:
    """The migrations that this version of Perdure knows, in order."""
    return [
        Migration(int(step.name[:4]), step.name, tuple(file.read_text("utf-8") for file in sorted(step.glob("*.sql"))))
        for step in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*"))
    ]


class Migrator:
    """Brings the schema in a database to the state that this version of Perdure needs.

    Args:
        schema: the name of the schema.
    """

    def __init__(self, schema: str) -> None:
        if "$$" in schema:
            raise InvalidArgumentError("schema", f"{schema!r} holds $$, which ends the body of a function")
        self._schema = schema
        self._quoted = quote_identifier(schema)
        self._sql = Statements(Path(__file__).parent / "sql", schema=self._quoted)

    async def check(self, connection: asyncpg.Connection[Any]) -> None:
        """Raise SchemaOutdatedError or SchemaTooNewError unless the schema is as this version of Perdure needs it."""
        if missing := await self._missing(connection):
            raise SchemaOutdatedError(self._schema, [migration.name for migration in missing])

    async def migrate(self, connection: asyncpg.Connection[Any]) -> list[str]:
        """Apply what is missing, all or nothing, and return the names.

        Raises:
            SchemaTooNewError: the schema was made by a newer version of Perdure.
        """
        with translated_errors():
            if not await self._missing(connection):
                return []
            async with connection.transaction():
                await connection.execute(self._sql["lock_migrations"], self._schema)
                await connection.execute(self._sql["create_schema"])
                await connection.execute(self._sql["create_migrations"])
                missing = await self._missing(connection)
                for migration in missing:
                    await self._apply(connection, migration)
            return [migration.name for migration in missing]

    async def _missing(self, connection: asyncpg.Connection[Any]) -> list[Migration]:
        known = known_migrations()
        if not await connection.fetchval(self._sql["schema_exists"], f"{self._quoted}.migrations"):
            return known
        applied = {row["number"] for row in await connection.fetch(self._sql["applied_migrations"])}
        if (newest := max(applied, default=0)) > known[-1].number:
            raise SchemaTooNewError(self._schema, newest, known[-1].number)
        return [migration for migration in known if migration.number not in applied]

    async def _apply(self, connection: asyncpg.Connection[Any], migration: Migration) -> None:
        # Fifteen bits, not zero: the upper part of a positive bigint, beside 48 bits of position.
        namespace = str(secrets.randbelow(2**15 - 1) + 1)
        literal = self._quoted.replace("'", "''")
        for statement in migration.statements:
            await connection.execute(
                fill_in(statement, schema=self._quoted, schema_literal=literal, namespace=namespace)
            )
        await connection.execute(self._sql["record_migration"], migration.number, migration.name)
