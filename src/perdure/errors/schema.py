"""The database schema of the store: missing, too new, locked or shared."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from perdure.errors.roots import PerdureError


class SchemaError(PerdureError):
    """The schema of the store doesn't fit this version of Perdure."""


class SchemaOutdatedError(SchemaError):
    """The database lacks migrations. `missing` names them."""

    def __init__(self, schema: str, missing: Sequence[str], *, forbidden: str | None = None) -> None:
        what_to_do = (
            "open the store with migrate=True to apply them"
            if forbidden is None
            else f"this database user may not apply them ({forbidden}): apply them as the owner of the schema"
        )
        super().__init__(f"schema {schema!r} lacks migrations ({', '.join(missing)}): {what_to_do}")
        self.schema = schema
        self.missing = tuple(missing)
        self.forbidden = forbidden


class LockHolder(NamedTuple):
    """A database session that holds a lock. Values that this user may not see are None."""

    pid: int
    application_name: str
    user_name: str | None
    state: str | None
    """As in pg_stat_activity: active, idle in transaction ..."""
    transaction_age: float | None
    """Seconds since its transaction began."""
    query_age: float | None
    """Seconds since its last query began."""

    def __str__(self) -> str:
        state = f", {self.state}" if self.state else ""
        age = f", {self.query_age:.0f} s since its last query began" if self.query_age is not None else ""
        return f"pid {self.pid} ({self.application_name or 'unnamed'}{state}{age})"


class SchemaLockedError(SchemaError):
    """Other sessions hold locks that a change of the schema needs.

    The finished statements of the migration stay; applying it again continues after them.
    """

    is_transient = True

    def __init__(self, schema: str, waited: float, holders: Sequence[LockHolder]) -> None:
        names = ", ".join(map(str, holders)) or "a session that ended before it could be named"
        super().__init__(
            f"schema {schema!r} can't be changed now: waited {waited:.1f} s for {names}; "
            "try again when that session is done, or end it (pg_terminate_backend)"
        )
        self.schema = schema
        self.waited = waited
        self.holders = tuple(holders)


class NamespaceSharedError(SchemaError):
    """A schema is a copy of another one in the same database, and has the same lock number.

    Appends to one would hold back readers of the other. The copy can't be opened until it has its own lock number.
    """

    def __init__(self, schema: str, others: Sequence[str]) -> None:
        names = ", ".join(map(repr, others))
        super().__init__(
            f"schema {schema!r} has the same lock number as schema {names}, as a copy has, so appends to one "
            f"would hold back readers of the other: run 'perdure --schema {schema} db renumber', or call "
            f"perdure.schema.renumber(schema={schema!r})"
        )
        self.schema = schema
        self.others = tuple(others)


class SchemaUnknownError(SchemaError):
    """No release of Perdure created the schema, so it can't be upgraded. Nothing was written.

    `migrations` names the recorded migrations that no release has: a development version before 0.1 created the schema.
    It is empty if the table `migrations` isn't from Perdure at all.
    """

    def __init__(self, schema: str, migrations: Sequence[str] = ()) -> None:
        super().__init__(
            f"schema {schema!r} was created by a development version of Perdure before 0.1 (it records "
            f"{migrations[0]}), and can't be upgraded: to keep its events, stay with the version that created it; "
            "otherwise drop the schema (of an embedded server: stop it and delete its folder, .perdure), "
            "or name another schema"
            if migrations
            else f"schema {schema!r} has a table of migrations that no release of Perdure created: "
            "name another schema, or copy its contents into a new one"
        )
        self.schema = schema
        self.migrations = tuple(migrations)


class SchemaTooNewError(SchemaError):
    """A newer version of Perdure created the schema in the database."""

    def __init__(self, schema: str, found: int, known: int) -> None:
        super().__init__(
            f"schema {schema!r} is at migration {found}, but this version of Perdure knows {known}: upgrade Perdure"
        )
        self.schema = schema
        self.found = found
        self.known = known
