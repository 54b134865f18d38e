"""SQL roles: what a reader, a writer and a projector may do, and who owns the schema.

The statements in ``sql/roles`` grant the rights, a folder for each kind. Writers and projectors may read, too.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, get_args

import asyncpg

from perdure.errors import ConfigurationError, InvalidArgumentError
from perdure.errors.formats import shown
from perdure.stores.postgres.sql_files import Statements, quote_identifier, quoted_store_schema

_FOLDER: Final = Path(__file__).parents[1] / "sql" / "roles"

RoleKind = Literal["reader", "writer", "projector", "owner"]
"""The kind of a role: it reads and follows the log, appends as well, maintains read models, or owns the schema."""


class Grant(NamedTuple):
    """The rights of a kind, granted to a role."""

    role: str
    kind: RoleKind


def grant_statements(schema: str, grants: Iterable[Grant]) -> list[str]:
    """Return the statements that grant the rights, and record that.

    Raises:
        InvalidArgumentError: there is no such kind, or the name can't be one of a role.
    """
    return list(dict.fromkeys(sql for grant in grants for sql in _statements_of(schema, grant)))


def revoke_statements(schema: str, role: str) -> list[str]:
    """Return the statements that revoke all rights of a role."""
    return _all_of("revoke", **_names(schema, role))


def _statements_of(schema: str, grant: Grant) -> list[str]:
    if grant.kind not in get_args(RoleKind):
        raise InvalidArgumentError("kind", f"{shown(grant.kind)} isn't one of {', '.join(get_args(RoleKind))}")
    names = _names(schema, grant.role)
    if grant.kind == "owner":
        if "$transfer$" in schema + grant.role:
            raise InvalidArgumentError(
                "role", f"{grant.role!r} or {schema!r} holds $transfer$, which ends the statement"
            )
        return [Statements(_FOLDER, **names)["transfer"]]
    own = _all_of(grant.kind, **names) if grant.kind != "reader" else []
    return [*_all_of("reader", **names), *own, Statements(_FOLDER, kind=grant.kind, **names)["record_grant"]]


def _names(schema: str, role: str) -> dict[str, str]:
    quoted, quoted_role = quoted_store_schema(schema), quote_identifier(role, "role")
    return {
        "schema": quoted,
        "schema_literal": _within_quotes(quoted),
        "role": quoted_role,
        "role_literal": _within_quotes(role),
        "quoted_role_literal": _within_quotes(quoted_role),
    }


def _all_of(folder: str, **names: str) -> list[str]:
    return list(Statements(_FOLDER / folder, **names).values())


def _within_quotes(text: str) -> str:
    return text.replace("'", "''")


class Roles:
    """The rights that were granted in a schema.

    Args:
        schema: the name of the schema.
    """

    def __init__(self, schema: str) -> None:
        self._schema = schema
        self._sql = Statements(_FOLDER, schema=quote_identifier(schema))

    async def grant(self, connection: asyncpg.Connection[Any], grant: Grant) -> None:
        """Grant rights, within its own transaction.

        Raises:
            ConfigurationError: there is no such role, or it may act as the schema's owner, so that no grant limits it.
        """
        statements = grant_statements(self._schema, [grant])
        acts_as_owner = await self._find(connection, grant.role)
        if acts_as_owner and grant.kind != "owner":
            raise ConfigurationError(
                f"role {grant.role!r} is a superuser, or may act as the owner of schema {self._schema!r}: "
                "no grant limits it; take another role"
            )
        await _run(connection, statements)

    async def revoke(self, connection: asyncpg.Connection[Any], role: str) -> None:
        """Revoke all rights of a role, within its own transaction.

        Raises:
            ConfigurationError: there is no such role, or it may act as the schema's owner.
        """
        if await self._find(connection, role):
            raise ConfigurationError(
                f"role {role!r} is a superuser, or may act as the owner of schema {self._schema!r}: "
                "make another role the owner first"
            )
        await _run(connection, revoke_statements(self._schema, role))

    async def granted(self, connection: asyncpg.Connection[Any]) -> list[Grant]:
        """Return what was granted, without roles that don't exist any more."""
        return [Grant(*row) for row in await connection.fetch(self._sql["recorded"])]

    async def repeat(self, connection: asyncpg.Connection[Any]) -> None:
        """Grant everything again, within the caller's transaction, to cover what migrations added."""
        for sql in grant_statements(self._schema, await self.granted(connection)):
            await connection.execute(sql)

    async def _find(self, connection: asyncpg.Connection[Any], role: str) -> bool:
        row = await connection.fetchrow(self._sql["find_role"], role, self._schema)
        if row is None:
            raise ConfigurationError(f"there is no role {role!r}: create it first (create role ... login)")
        return bool(row["acts_as_owner"])


async def _run(connection: asyncpg.Connection[Any], statements: Iterable[str]) -> None:
    async with connection.transaction():
        for sql in statements:
            await connection.execute(sql)
