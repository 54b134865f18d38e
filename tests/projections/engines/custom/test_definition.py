"""A `Projection` or `SQLProjection` that can't work is refused before anything is created."""

from typing import Any

import asyncpg
import pytest

from perdure.errors import (
    InvalidArgumentError,
    ProjectionDefinitionError,
)
from perdure.events import StoredEvent, handles
from perdure.projection import Projection, ProjectionTransaction, SQLProjection
from perdure.projections.service import ProjectionService
from perdure.repository import RetryConfig
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.counting import Visited
from tests.projections.logging_visits import Sink, VisitCounts

ONCE = RetryConfig(max_attempts=1)


def visits(*pages: str) -> list[object]:
    return [Visited(page=page, visitor="x") for page in pages]


def sql_projection(**members: Any) -> Any:
    members = {"tables": {"t": "create table {t} (a int)"}, **members}
    return type("Wrong", (SQLProjection,), members, name="wrong")


def sink_of(**members: Any) -> Any:
    return type("Wrong", (Projection,), members, name="wrong")


def takes(*arguments: Any) -> None: ...


@handles
def good(self: Any, event: Visited, tx: Any) -> None: ...


@handles
def no_tx(self: Any, event: Visited) -> None: ...


@handles
def without_tx(self: Any, event: Visited, at: Any) -> None: ...


@handles
def too_much(self: Any, event: Visited, tx: Any, row: Any) -> None: ...


@handles
async def generates(self: Any, event: Visited, tx: Any) -> Any:
    yield


async def handle_without_tx(self: Any, event: Any) -> None: ...


async def handle(self: Any, event: Any, tx: Any) -> None: ...


def plain_handle(self: Any, event: Any, tx: Any) -> None: ...


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (sql_projection(), "handles no event: mark a method"),
        (sql_projection(good=no_tx), r"no_tx.* can't be called: a handler takes \(self, event, tx\)"),
        (sql_projection(good=without_tx), r"without_tx.* can't be called: a handler takes \(self, event, tx\)"),
        (sql_projection(good=too_much), r"too_much.* can't be called"),
        (sql_projection(good=generates), "must be a function, not a generator"),
        (sql_projection(good=good, handle=handle), r"handle\(\) would never be called"),
        (sql_projection(good=good, tables={}), "it has no tables"),
        (sql_projection(good=good, tables=["t"]), "its tables are"),
        (sql_projection(good=good, tables={"t": "create table t (a int)"}), "doesn't name it"),
        (sql_projection(good=good, tables={"t": "create table {t} (a int); commit"}), "has COMMIT: leave it out"),
        (sql_projection(good=good, tables={"a b": "create table {a b} (a int)"}), "can't be a placeholder in braces"),
        (sql_projection(good=good, tables={"t" * 62: f"create table {{{'t' * 62}}} (a int)"}), "63"),
        (sink_of(), r"override handle\(\)"),
        (sink_of(handle=plain_handle), "must be 'async def'"),
        (sink_of(handle=handle_without_tx), r"handle\(event.*\).* can't be called: it takes \(self, event, tx\)"),
        (
            sink_of(handle_batch=handle_without_tx),
            r"handle_batch\(.*\).* can't be called: it takes \(self, events, tx\)",
        ),
        (sql_projection(good=staticmethod(good)), r"handler good\(\) is a staticmethod, but must be a plain method"),
        (sink_of(handle=handle, event_types=()), "event_types can't be used"),
        (sink_of(handle=handle, event_types=(int,)), "event_types can't be used"),
    ],
)
async def test_what_can_not_work_is_refused_before_anything_is_created(
    store: PostgreSQLEventStore, cls: Any, reason: str
) -> None:
    with pytest.raises(ProjectionDefinitionError, match=reason):
        ProjectionService(store, [cls()])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"name": ""}, "must have 1 to 200 characters"),
        ({"name": 5}, "must be a string"),
        ({"name": "a\x00"}, "contains a NUL"),
        ({"name": "x", "version": 0}, "isn't a version"),
        ({"name": "x", "on_failure": "park"}, "it has no keys"),
    ],
)
def test_a_wrong_declaration_is_refused_where_the_class_is_defined(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ProjectionDefinitionError, match=reason):
        type("Wrong", (SQLProjection,), {}, **options)


async def test_a_projection_without_a_name_is_refused(store: PostgreSQLEventStore) -> None:
    class Nameless(Projection):
        async def handle(self, event: StoredEvent, tx: ProjectionTransaction) -> None: ...

    with pytest.raises(ProjectionDefinitionError, match="it has no name"):
        ProjectionService(store, [Nameless()])


async def test_two_projections_of_one_name_are_refused(store: PostgreSQLEventStore) -> None:
    class Another(Projection, name="sink"):
        async def handle(self, event: StoredEvent, tx: ProjectionTransaction) -> None: ...

    with pytest.raises(ProjectionDefinitionError, match="more than one projection or reaction has this name"):
        ProjectionService(store, [Sink(), Another()])


@pytest.mark.parametrize(
    ("sql", "reason"),
    [("create tble {t} (a int)", "can't be created: syntax error"), ("select '{t}'", "can't be created")],
)
async def test_sql_that_makes_no_table_is_refused_at_start(store: PostgreSQLEventStore, sql: str, reason: str) -> None:
    with pytest.raises(ProjectionDefinitionError, match=reason):
        await ProjectionService(store, [sql_projection(good=good, tables={"t": sql})()]).start()


async def test_an_existing_table_of_another_owner_is_not_touched(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    await connection.execute("create table visit_trail (a int)")

    with pytest.raises(ProjectionDefinitionError, match="'visit_trail' exists already"):
        await ProjectionService(store, [VisitCounts()]).start()


@pytest.mark.parametrize("timeout", [0, -1, True, "1"])
async def test_a_time_for_handlers_that_makes_no_sense_is_refused(store: PostgreSQLEventStore, timeout: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="handler_timeout"):
        ProjectionService(store, [Sink()], handler_timeout=timeout)
