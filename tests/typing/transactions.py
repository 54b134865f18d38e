"""Whoever joins a transaction can report its end; one that the store ends has no such methods."""

from typing import Any, assert_type

import asyncpg

from perdure import InlineProjections, JoinedTransaction, PostgreSQLEventStore, PostgreSQLTransaction


async def begin_and_join(store: PostgreSQLEventStore, connection: "asyncpg.Connection[Any]") -> None:
    assert_type(store.transaction(), PostgreSQLTransaction)
    assert_type(store.transaction(connection, commit="store"), PostgreSQLTransaction)
    joined = assert_type(store.transaction(connection, commit="caller"), JoinedTransaction)
    async with joined as tx:
        assert_type(tx, JoinedTransaction)
    assert_type(await joined.committed(), None)
    store.transaction(commit="caller")  # type: ignore[call-overload]  # there is no connection to join


def join_inline(store: InlineProjections, connection: "asyncpg.Connection[Any]") -> None:
    assert_type(store.transaction(), PostgreSQLTransaction)
    assert_type(store.transaction(connection, commit="caller"), JoinedTransaction)
