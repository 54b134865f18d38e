"""The numbers that set the locks of stores apart: no two stores of a database have the same.

A number is part of a schema, so a copy of the schema has it, too. Beside it, the schema records the name for
which it was drawn.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final, NamedTuple

from perdure.errors import NamespaceSharedError, SchemaError
from perdure.stores.postgres.connections.database import Connection
from perdure.stores.postgres.schema.migrations import NUMBERS, MigrationNames
from perdure.stores.postgres.sql_files import Statements, fill_in

_FOLDER: Final = Path(__file__).parents[1] / "sql" / "namespaces"


class NumberSharing(NamedTuple):
    """Whether the number of a schema is its own, and which other schemas of the database have the same."""

    is_own: bool
    """Whether it was drawn for this schema, by its name."""
    others: list[str]
    """The other schemas that have the same."""
    originals: list[str]
    """Those of them to which it belongs: this schema is the copy."""
    leads_to_itself: bool
    """Whether the schema's functions name this very schema."""


class Namespaces:
    """Draws and compares the numbers of a database, for one schema in it.

    Args:
        schema: the name of the schema that holds the store.
    """

    def __init__(self, schema: str) -> None:
        self._schema = schema
        names = MigrationNames(schema)
        numbers = (_FOLDER / "numbers.sql").read_text("utf-8")
        self._sql = Statements(
            _FOLDER,
            schema=names.quoted,
            schema_literal=names.quoted.replace("'", "''"),
            schema_name=names.literal,
            numbers=numbers,
        )

    async def draw(self, connection: Connection) -> int:
        """Draw a number that no schema has. Until the end of the transaction, no other session draws one.

        Raises:
            SchemaError: all are taken.
        """
        await connection.execute(self._sql["lock"])
        taken = {row["number"] for row in await connection.fetch(self._sql["taken"])}
        free = [number for number in NUMBERS if number not in taken]
        if not free:
            raise SchemaError(
                f"schema {self._schema!r} can have no number for its locks: other schemas of the database have all "
                f"{len(NUMBERS):,}; drop some of them, or use another database"
            )
        return secrets.choice(free)

    async def sharing(self, connection: Connection) -> NumberSharing:
        """Find the other schemas that have this schema's number, in the catalogs. Calls none of their functions."""
        rows = await connection.fetch(self._sql["sharing"], self._schema)
        sharing = [row for row in rows if row["name"] is not None]
        return NumberSharing(
            is_own=all(row["is_own"] for row in rows),
            others=[row["name"] for row in sharing],
            originals=[row["name"] for row in sharing if row["comes_first"]],
            leads_to_itself=all(row["leads_to_itself"] for row in rows),
        )

    async def check(self, connection: Connection) -> None:
        """Refuse a schema that is a copy of another one, or whose functions name another one.

        Raises:
            NamespaceSharedError: the number belongs to another schema.
            SchemaError: the functions of this schema name another one.
        """
        found = await self.sharing(connection)
        self._check_functions(found)
        if found.originals:
            raise NamespaceSharedError(self._schema, found.originals)

    def _check_functions(self, found: NumberSharing) -> None:
        if not found.leads_to_itself:
            raise SchemaError(
                f"the functions of schema {self._schema!r} name another schema, as after 'alter schema ... rename', so "
                "that they would read and append there: rename it back, or restore it from a dump in which the new "
                "name has replaced the old one in front of each object"
            )

    async def settle(self, connection: Connection) -> bool:
        """Record that the number is this schema's, if no other has it. Part of a transaction."""
        await connection.execute(self._sql["lock"])
        is_alone = not (await self.sharing(connection)).others
        if is_alone:
            await connection.execute(self._sql["write_name"])
        return is_alone

    async def renumber(self, connection: Connection) -> int:
        """Give the schema a new number, while no transaction uses the old one. Part of a transaction."""
        self._check_functions(await self.sharing(connection))
        number = await self.draw(connection)
        for name in ("lock_log", "lock_positions", "write_name"):
            await connection.execute(self._sql[name])
        await connection.execute(fill_in(self._sql["write_number"], namespace=str(number)))
        return number

    def refusal(self, namespace: str) -> str:
        """Return a statement that fails if another schema has the number of a script."""
        return fill_in(self._sql["refuse"], namespace=namespace)
