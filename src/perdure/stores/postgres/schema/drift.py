"""Finds the differences between the schema in a database and the schema that the migrations make.

The migrations are applied to a second schema, in a transaction that is rolled back, and the catalog entries of both are
compared. So PostgreSQL itself says what a definition means, in each of its versions, and there is no second description
of the schema that could be wrong.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

import asyncpg

from perdure.errors import ConfigurationError
from perdure.stores.postgres.schema.migrations import MigrationNames, known_migrations
from perdure.stores.postgres.schema.namespaces import Namespaces
from perdure.stores.postgres.schema.roles import Roles, grant_statements
from perdure.stores.postgres.sql_files import Statements

_FOLDER: Final = Path(__file__).parents[1] / "sql" / "schema"
_HARMLESS: Final = frozenset({"select", "usage", "execute"})
"""Privileges that may be granted to a role by hand, but not to public."""
_NAMESPACE: Final = re.compile(r"RETURN (\d+)\b")


class Drift(NamedTuple):
    """A difference between the schema in the database and the one that the migrations make."""

    kind: Literal["missing", "changed", "unexpected"]
    object_type: str
    """schema, table, column, constraint, index, trigger, rule, view, sequence, function or privilege."""
    name: str
    expected: str | None
    """Its definition by the migrations; None when it is unexpected."""
    found: str | None
    """Its definition in the database; None when it is missing."""
    advice: str

    def __str__(self) -> str:
        return f"{self.object_type} {self.name} is {self.kind}: {self.advice}"


class _CatalogObject(NamedTuple):
    object_type: str
    table: str | None
    name: str

    def __str__(self) -> str:
        return f"{self.table}.{self.name}" if self.table else self.name


_RECORD: Final = _CatalogObject("function", None, "store_schema()")


class _Inventory(NamedTuple):
    parts: Mapping[_CatalogObject, str]
    privileges: frozenset[tuple[str, ...]]


async def find_drift(connection: asyncpg.Connection[Any], schema: str) -> list[Drift]:
    """Compare a schema to which all migrations were applied. Leaves nothing behind.

    Raises:
        ConfigurationError: the database's user may not create a schema to compare with.
    """
    scratch = f"perdure_scratch_{secrets.token_hex(8)}"
    transaction = connection.transaction(isolation="read_committed")
    await transaction.start()
    try:
        found = await _inventory(connection, schema, (schema, scratch))
        behind = await _is_behind(connection, schema, found)
        lacking = await _missing_indexes(connection, schema, found)
        sharing = (await Namespaces(schema).sharing(connection)).others
        await _make(connection, schema, scratch, found)
        expected = await _inventory(connection, scratch, (schema, scratch))
    except asyncpg.InsufficientPrivilegeError as error:
        raise ConfigurationError(
            f"the database's user can't compare schema {schema!r} with a new one ({error}): "
            "verify as the schema's owner, with the right to create schemas in the database"
        ) from error
    finally:
        await transaction.rollback()
    return [
        *_differences(expected, found),
        *([_sequence_behind()] if behind else []),
        *lacking,
        *[_number_shared(schema, other) for other in sharing],
    ]


async def _make(connection: asyncpg.Connection[Any], schema: str, scratch: str, found: _Inventory) -> None:
    """Make everything that migrations and grants make, in another schema."""
    number = _NAMESPACE.search(found.parts.get(_CatalogObject("function", None, "store_namespace()"), ""))
    names = MigrationNames(scratch, int(number[1]) if number else None, recorded=schema)
    sql = _statements(scratch)
    await connection.execute(sql["create_schema"])
    await connection.execute(sql["create_migrations"])
    for migration in known_migrations():
        for statement in migration.statements:
            await connection.execute(names.fill(statement))
    await connection.execute(sql["close_to_public"])
    if _CatalogObject("table", None, "roles") in found.parts:
        for grant in grant_statements(scratch, await Roles(schema).granted(connection)):
            await connection.execute(grant)


async def _is_behind(connection: asyncpg.Connection[Any], schema: str, found: _Inventory) -> bool:
    """Return whether the sequence would draw positions that events have already."""
    if (
        not {_CatalogObject("table", None, "events"), _CatalogObject("sequence", None, "global_position")}
        <= found.parts.keys()
    ):
        return False
    behind: bool = await connection.fetchval(_statements(schema)["sequence_is_behind"])
    return behind


async def _missing_indexes(connection: asyncpg.Connection[Any], schema: str, found: _Inventory) -> list[Drift]:
    """Return what the tables of projections lack of what their classes declared when they were created."""
    if _CatalogObject("column", "projections", "shape") not in found.parts:
        return []
    return [
        Drift(
            "missing",
            "index" if row["kind"] == "index" else "constraint",
            f"{row['table_schema']}.{row['table_name']} ({', '.join(row['columns'])})",
            row["kind"],
            None,
            f"rebuild projection {row['projection']!r}, which creates it again, or create it: {row['statement']}",
        )
        for row in await connection.fetch(_statements(schema)["missing_indexes"])
    ]


async def _inventory(connection: asyncpg.Connection[Any], schema: str, both: tuple[str, str]) -> _Inventory:
    sql = _statements(schema)
    oid = await connection.fetchval(sql["schema_oid"], MigrationNames(schema).quoted)
    await connection.execute(sql["clear_search_path"])
    rows = await connection.fetch(sql["catalog"], oid)
    privileges = await connection.fetch(sql["privileges"], oid)
    return _Inventory(
        {_CatalogObject(*row[:3]): _without_schema(row["definition"], both) for row in rows},
        frozenset((kind, _without_schema(name, both), *rest) for kind, name, *rest in privileges),
    )


def _statements(schema: str) -> Statements:
    quoted = MigrationNames(schema).quoted
    return Statements(_FOLDER, schema=quoted, schema_literal=quoted.replace("'", "''"))


def _without_schema(text: str, both: tuple[str, str]) -> str:
    """The text with a placeholder for each of two schemas, however PostgreSQL quoted them: for texts to be equal."""
    forms = [form for name in both for form in _forms(name)]
    pattern = "|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True))
    return re.sub(rf"(?<![\w\"])(?:{pattern})(?=\.)", "{schema}", text)


def _forms(schema: str) -> Iterator[str]:
    quoted = MigrationNames(schema).quoted
    yield schema
    yield quoted
    yield quoted.replace("'", "''")


def _differences(expected: _Inventory, found: _Inventory) -> Iterator[Drift]:
    tables = {part.name for part in expected.parts if part.object_type == "table"}
    for part, definition in expected.parts.items():
        there = found.parts.get(part)
        if there is None:
            yield _drift("missing", part, definition, None)
        elif there != definition:
            yield _drift("changed", part, definition, there)
    for part, definition in found.parts.items():
        if part not in expected.parts and (part.table in tables or part.object_type == "function"):
            yield _drift("unexpected", part, None, definition)
    yield from _privileges(expected, found)


def _privileges(expected: _Inventory, found: _Inventory) -> Iterator[Drift]:
    objects = {(part.object_type, part.name) for part in expected.parts}
    for object_type, name, grantee, privilege in sorted(expected.privileges - found.privileges):
        title = _title(object_type, name, grantee, privilege)
        advice = f"call perdure.schema.grant again, or perdure.schema.revoke to take all rights from {grantee}"
        yield Drift("missing", "privilege", title, privilege, None, advice)
    for object_type, name, grantee, privilege in sorted(found.privileges - expected.privileges):
        is_ours = (object_type, name) in objects
        if is_ours and (grantee == "public" or privilege not in _HARMLESS):
            title = _title(object_type, name, grantee, privilege)
            advice = "it bypasses the functions that guard the log: revoke it"
            yield Drift("unexpected", "privilege", title, None, privilege, advice)


def _title(object_type: str, name: str, grantee: str, privilege: str) -> str:
    return f"{privilege} on {' '.join(filter(None, (object_type, name)))} for {grantee}"


def _drift(
    kind: Literal["missing", "changed", "unexpected"], part: _CatalogObject, expected: str | None, found: str | None
) -> Drift:
    return Drift(kind, part.object_type, str(part), expected, found, _advice(kind, part, expected, found))


def _advice(kind: str, part: _CatalogObject, expected: str | None, found: str | None) -> str:
    if kind == "unexpected":
        return "drop it, unless you know what it is for: it isn't Perdure's"
    if part.object_type == "index" and f"{expected}, invalid" == found:
        return "build it again (reindex index concurrently)"
    if part.object_type == "trigger" and found is not None and found.startswith(f"{expected}, "):
        return "enable it (alter table ... enable trigger), and check what was written meanwhile"
    if part == _RECORD and kind == "changed":
        return "open the store, or apply: either records the name that it has now"
    if part.object_type == "table" and kind == "missing":
        return "restore it from a backup: its rows are gone"
    return "create it again as expected, or restore it from a backup"


def _number_shared(schema: str, other: str) -> Drift:
    advice = f"{schema!r} and {other!r} hold back each other's readers: run 'perdure --schema COPY db renumber'"
    return Drift("changed", "function", "store_namespace()", "a number of its own", f"that of schema {other!r}", advice)


def _sequence_behind() -> Drift:
    advice = "set it to the highest position (setval) before anything is appended"
    return Drift("changed", "sequence", "global_position", "at the last event", "behind the last event", advice)
