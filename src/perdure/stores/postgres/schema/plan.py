"""Shows what migrations would do before they are applied, also as SQL to run by hand."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import msgspec

from perdure.stores.postgres.schema.migrations import MigrationNames, Statement, known_migrations
from perdure.stores.postgres.schema.migrator import MigrationState, PendingMigration, record
from perdure.stores.postgres.schema.namespaces import Namespaces
from perdure.stores.postgres.schema.roles import Grant, grant_statements
from perdure.stores.postgres.sql_files import Statements, fill_in, quote_identifier

_FOLDER = Path(__file__).parents[1] / "sql" / "schema"


class PlannedStatement(NamedTuple):
    """A statement that would be run."""

    sql: str
    is_online: bool
    """Whether it runs outside a transaction, and blocks no other session."""
    is_locking: bool
    """Whether other sessions have to wait while it runs."""


class PlannedMigration(NamedTuple):
    """A migration that would be applied."""

    number: int
    name: str
    statements: tuple[PlannedStatement, ...]
    """Its statements that weren't run yet."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What `apply` would do to a schema.

    Attributes:
        schema: The name of the schema.
        migrations: The migrations that would be applied, in order; empty when none is missing.
        script: The same as SQL, for psql or another client that sends statement by statement.
    """

    schema: str
    migrations: tuple[PlannedMigration, ...]
    script: str


def plan_of(schema: str, state: MigrationState, grants: list[Grant], namespace: int | None = None) -> Plan:
    """Return the plan that brings a schema to the state that this version of Perdure needs."""
    names = MigrationNames(schema, namespace)
    return Plan(
        schema=schema,
        migrations=tuple(_planned(pending, names, is_new=state.is_new) for pending in state.pending),
        script=_Script(names, grants).text(state) if state.pending else "",
    )


def new_schema() -> MigrationState:
    """Return the state of a database without the schema."""
    return MigrationState(is_new=True, pending=[PendingMigration(migration) for migration in known_migrations()])


def _planned(pending: PendingMigration, names: MigrationNames, *, is_new: bool) -> PlannedMigration:
    migration, done = pending

    def one(statement: Statement) -> PlannedStatement:
        sql = names.fill(statement, concurrently=not is_new).strip()
        return PlannedStatement(sql, statement.is_online and not is_new, statement.is_locking and not is_new)

    return PlannedMigration(migration.number, migration.name, tuple(map(one, migration.statements[done:])))


class _Script:
    def __init__(self, names: MigrationNames, grants: list[Grant]) -> None:
        self._names = names
        self._sql = Statements(_FOLDER, schema=names.quoted, lock_timeout="500ms")
        self._grants = grants
        self._lines = [
            f"-- Brings schema {names.schema!r} to the state that Perdure needs.".replace("\n", " "),
            "-- Run it as the role that will own the schema, and let it stop at the first error:",
            "-- psql -X -v ON_ERROR_STOP=1 -f this_file. A part that fails leaves nothing behind.",
        ]

    def text(self, state: MigrationState) -> str:
        if state.is_new:
            self._add_new(state)
        else:
            for pending in state.pending:
                (self._add_online if pending.migration.is_online else self._add_in_one)(pending)
        self._add_grants()
        return "\n".join(self._lines) + "\n"

    def _add_new(self, state: MigrationState) -> None:
        self._say("begin")
        self._run("create_schema_if_missing")
        self._run("create_migrations")
        for migration, _ in state.pending:
            for statement in migration.statements:
                self._say(self._names.fill(statement))
            self._say(record(self._sql["record_migration"], migration))
        self._say(Namespaces(self._names.schema).refusal(str(self._names.namespace)))
        self._end()

    def _add_in_one(self, pending: PendingMigration) -> None:
        migration, _ = pending
        self._begin()
        for statement in migration.statements:
            self._say(self._names.fill(statement))
        self._say(record(self._sql["record_migration"], migration))
        self._end()

    def _add_online(self, pending: PendingMigration) -> None:
        migration, done = pending
        for number, statement in enumerate(migration.statements[done:], done + 1):
            if statement.is_online:
                self._say(fill_in(self._sql["drop_index"], index=quote_identifier(statement.name)))
                self._say(self._names.fill(statement, concurrently=True))
            self._begin()
            if not statement.is_online:
                self._say(self._names.fill(statement))
            self._say(record(self._sql["record_steps"], migration, number))
            self._end()

    def _begin(self) -> None:
        self._say("begin")
        self._run("limit_lock_waits")

    def _end(self) -> None:
        self._run("close_to_public")
        self._say("commit")

    def _add_grants(self) -> None:
        if statements := grant_statements(self._names.schema, self._grants):
            for sql in ("begin", *statements, "commit"):
                self._say(sql)

    def _run(self, name: str) -> None:
        self._say(self._sql[name])

    def _say(self, sql: str) -> None:
        self._lines.append(f"\n{sql.strip().rstrip(';')};")
