"""The numbered migrations of the store's schema, as the files in the folder `migrations`.

A migration is a folder ``NNNN_name`` of ``.sql`` files, one statement each, in the order of their names. Those that end
in ``.locking.sql`` take a lock on something that existed before, so that other sessions wait while they run. Those that
end in ``.online.sql`` can't run in a transaction: each is a ``create index {concurrently}`` in a file named after the
index, or can be repeated.
"""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Final, NamedTuple

from perdure.checks import check_count
from perdure.stores.postgres.sql_files import fill_in, quoted_store_schema

MIGRATIONS = Path(__file__).parents[1] / "migrations"

RESERVED: Final = range(736, 740)
"""Numbers under which Perdure takes other locks: for migrations, for numbers themselves, and for projections."""
NUMBERS: Final = [number for number in range(1, 2**15) if number not in RESERVED]
"""What a store's number may be. Fifteen bits, not zero: the upper part of a positive bigint, beside 48 of position."""


class Statement(NamedTuple):
    """One statement of a migration."""

    name: str
    sql: str
    """With ``{schema}`` and the like still to be filled in."""
    is_online: bool
    """Whether it runs outside a transaction, and blocks no other session."""
    is_locking: bool
    """Whether other sessions have to wait while it runs."""


class Migration(NamedTuple):
    """One step of the schema."""

    number: int
    name: str
    statements: tuple[Statement, ...]

    @property
    def is_online(self) -> bool:
        """Whether some of it runs outside a transaction."""
        return any(statement.is_online for statement in self.statements)


class MigrationNames:
    """The names and the number that are filled into the statements of a store's migrations.

    Args:
        schema: the name of the schema.
        namespace: the number that sets the store's locks apart; drawn when not given.
        recorded: the schema for which the number was drawn, if that is another one.
    """

    def __init__(self, schema: str, namespace: int | None = None, *, recorded: str | None = None) -> None:
        self.schema = schema
        self.quoted = quoted_store_schema(schema)
        if namespace is not None:
            check_count("namespace", namespace, 1, 2**15 - 1)
        self.namespace = secrets.choice(NUMBERS) if namespace is None else namespace
        self.literal = (recorded or schema).replace("'", "''")

    def fill(self, statement: Statement, *, concurrently: bool = False) -> str:
        """Return the statement as it is run: `concurrently` if other sessions may use the schema."""
        return fill_in(
            statement.sql,
            schema=self.quoted,
            schema_literal=self.quoted.replace("'", "''"),
            schema_name=self.literal,
            namespace=str(self.namespace),
            concurrently="concurrently" if concurrently else "",
        )


def known_migrations(folder: Path = MIGRATIONS) -> list[Migration]:
    """Return the migrations that this version of Perdure knows, in order."""
    return [
        Migration(int(step.name[:4]), step.name, tuple(_read(file) for file in sorted(step.glob("*.sql"))))
        for step in sorted(folder.glob("[0-9][0-9][0-9][0-9]_*"))
    ]


def _read(file: Path) -> Statement:
    name, *marks, _ = file.name.split(".")
    return Statement(name.partition("_")[2], file.read_text("utf-8"), "online" in marks, "locking" in marks)
