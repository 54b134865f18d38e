"""The calls that define projections and run them."""

from __future__ import annotations

import types
from collections.abc import Callable
from typing import Any, Final

from perdure import (
    Application,
    ChildNotLoadedError,
    ChildRows,
    InvalidArgumentError,
    LiveProjection,
    Projection,
    ProjectionDefinitionError,
    ProjectionOperations,
    ProjectionRowError,
    ProjectionService,
    UnknownProjectionError,
    check_projection,
    child_table,
)
from perdure.projections.engines.custom.definition import CustomDefinition
from perdure.projections.engines.table.definition import TableDefinition
from tests.bad_input.repository_calls import NOT_A_STORE, RETRY
from tests.bad_input.row_calls import PAST, ROWS
from tests.bad_input.table import NO_ARGUMENTS, USERS_OWN, Call, Table, none, refused
from tests.bad_input.values import (
    HUGE_TEXT,
    NOT_A_CATEGORY,
    NOT_A_CLASS,
    NOT_A_COUNT,
    NOT_A_FUNCTION,
    NOT_A_LIST,
    NOT_A_SCHEMA,
    NOT_SECONDS,
    NOT_TEXT,
    UNSTORABLE_TEXT,
    Nameless,
    but,
)
from tests.bad_input.world import PROJECTION, Note, Pages, Visitor, World

NOT_A_TABLE: Final = (*NOT_TEXT, "", *UNSTORABLE_TEXT, "x" * 64, "é" * 32, HUGE_TEXT)
NOT_COLUMNS: Final = (
    *NOT_TEXT,
    "visits",
    ("visits",),
    *([each] for each in (*NOT_TEXT, "", (), (5,), ("visits", "visits"), "other", HUGE_TEXT, *UNSTORABLE_TEXT)),
    ["visits", "visits"],
)
NOT_A_KEY: Final = (*NOT_TEXT, "", (), (5,), ("",), ("page", "page"), *UNSTORABLE_TEXT)
NOT_A_NAME: Final = (*NOT_TEXT, "", *UNSTORABLE_TEXT, "others", HUGE_TEXT)


class NotePages(Pages, table="bad_input_note_pages", key="page", by_stream="note"):
    """A row for each note."""


INLINE: Final = NotePages()


def define(**settings: Any) -> TableDefinition:
    """Define a class of projections with these settings, and look at it as a service does."""
    cls: Any = types.new_class("Defined", (Pages,), settings)
    return TableDefinition(cls())


def define_child(**settings: Any) -> TableDefinition:
    """The same for a class with this child table."""
    child = child_table(**settings)
    cls: Any = types.new_class(
        "Defined", (Pages,), {"table": "d", "key": "page"}, lambda body: body.update(visitors=child)
    )
    return TableDefinition(cls())


def define_sink(**settings: Any) -> CustomDefinition:
    """Define a class of projections that write by themselves."""

    async def handle(self: object, event: object, tx: object) -> None: ...

    cls: Any = types.new_class("Defined", (Projection,), settings, lambda body: body.update(handle=handle))
    return CustomDefinition(cls())


def rows() -> ChildRows[Visitor]:
    return ChildRows("visitors", {"ann": None}, lambda stored: stored, lambda row: row.name)


def service(world: World) -> ProjectionService:
    return ProjectionService(world.store, [PROJECTION])


def waiting(world: World) -> Callable[..., Any]:
    async def call(**arguments: Any) -> None:
        app = Application(world.store, projections=[PROJECTION])
        async with app.connect():
            await app.wait_for(**arguments)

    return call


DEFINED: Final[Table] = {
    "TableProjection.__init_subclass__": Call(
        lambda _: {"table": "defined", "key": "page", "version": 1},
        {
            "table": [refused(but(NOT_A_TABLE, None), ProjectionDefinitionError)],
            "key": [refused(NOT_A_KEY, ProjectionDefinitionError)],
            "version": [refused([*NOT_A_COUNT, 0, 32768], ProjectionDefinitionError)],
            "on_failure": [refused([*NOT_TEXT, "", "Park", HUGE_TEXT], ProjectionDefinitionError)],
            "by_stream": [refused(but(NOT_A_CATEGORY, None), ProjectionDefinitionError)],
            "indexes": [refused([*NOT_COLUMNS, ["page"]], ProjectionDefinitionError)],
            "unique": [refused([*NOT_COLUMNS, ["page"]], ProjectionDefinitionError)],
        },
        lambda _: define,
    ),
    "TableProjection.keys": Call(lambda _: {}, {"event": USERS_OWN, "at": USERS_OWN}, lambda _: lambda: None),
    "Projection.__init_subclass__": Call(
        lambda _: {"name": "defined", "version": 1},
        {
            "name": [refused([*but(NOT_TEXT, None), "", *UNSTORABLE_TEXT, HUGE_TEXT], ProjectionDefinitionError)],
            "version": [refused([*NOT_A_COUNT, 0, 32768], ProjectionDefinitionError)],
            "on_failure": [refused([*NOT_TEXT, "", "park", HUGE_TEXT], ProjectionDefinitionError)],
            "start": [refused(NOT_A_COUNT, ProjectionDefinitionError)],
        },
        lambda _: define_sink,
    ),
    "Projection.handle": Call(lambda _: {}, {"event": USERS_OWN, "tx": USERS_OWN}, lambda _: lambda: None),
    "Projection.handle_batch": Call(lambda _: {}, {"events": USERS_OWN, "tx": USERS_OWN}, lambda _: lambda: None),
    **{
        f"ProjectionTransaction.{name}": Call(
            lambda _: {}, {"sql": USERS_OWN, "arguments": USERS_OWN}, lambda _: lambda: None
        )
        for name in ("execute", "fetch", "fetchrow", "fetchval")
    },
    "child_table": Call(
        lambda _: {"row": Visitor, "table": "defined_visitors", "key": ("page", "name"), "keys": lambda event: ["ann"]},
        {
            "row": [refused([*NOT_A_CLASS, Note], ProjectionDefinitionError)],
            "table": [refused(NOT_A_TABLE, ProjectionDefinitionError)],
            "key": [refused([*NOT_A_KEY, ("page",), ("name",), ("name", "page")], ProjectionDefinitionError)],
            "keys": [refused([*but(NOT_A_FUNCTION, None), lambda: ["ann"]], ProjectionDefinitionError)],
            "indexes": [refused([*NOT_COLUMNS, ["page"]], ProjectionDefinitionError)],
            "unique": [refused([*NOT_COLUMNS, [("page", "name")]], ProjectionDefinitionError)],
        },
        lambda _: define_child,
    ),
    "ChildRows.get": Call(
        lambda _: {"key": "ann"},
        {"key": [refused([None, 5, "bob", [], Nameless()], ChildNotLoadedError)]},
        lambda _: rows().get,
    ),
    "ChildRows.delete": Call(
        lambda _: {"key": "ann"},
        {"key": [refused([None, 5, "bob", [], Nameless()], ChildNotLoadedError)]},
        lambda _: rows().delete,
    ),
    "ChildRows.put": Call(
        lambda _: {"row": Visitor("a", "ann")},
        {
            "row": [
                refused([Visitor("a", "bob")], ChildNotLoadedError, "visitors"),
                refused([None, 5, "ann", {}, Nameless()], ProjectionRowError, "visitors"),
            ]
        },
        lambda _: rows().put,
    ),
}


def operations(method: str) -> Callable[[World], Callable[..., Any]]:
    return lambda world: getattr(ProjectionOperations(world.store), method)


def _pages(_: World) -> dict[str, Any]:
    return {"name": "bad_input_pages"}


NAME: Final = [refused(NOT_A_NAME, (UnknownProjectionError, InvalidArgumentError), "projection")]
NOT_SAVED: Final = [
    refused([*[one for one in NOT_A_COUNT if one is not None and one != [1]], [True], ["1"], [[1]], {1: 2}, {1}])
]
OPTIONAL_NAME: Final = [refused(but(NOT_A_NAME, None), (UnknownProjectionError, InvalidArgumentError), "projection")]
OPTIONAL_TEXT: Final = [refused([*but(NOT_TEXT, None), *UNSTORABLE_TEXT])]
OPTIONAL_KEY: Final = [refused([*but(NOT_TEXT, None), *UNSTORABLE_TEXT, "5", '"5"', "[5]", "{", "null"])]
KIND: Final = [refused([*but(NOT_TEXT, None), "", "any"])]

OF_A_KEY: Final = {
    "key": [refused([*NOT_TEXT, *UNSTORABLE_TEXT])],
    "at_version": [refused([*but(NOT_A_COUNT, None), 1])],
    **PAST,
}


def live(method: str) -> Callable[[World], Callable[..., Any]]:
    return lambda world: getattr(LiveProjection(world.store, PROJECTION), method)


RUN: Final[Table] = {
    **ROWS,
    "LiveProjection": Call(
        lambda world: {"store": world.store, "projection": PROJECTION},
        {
            "store": [refused(NOT_A_STORE)],
            "projection": [refused([None, 5, "pages", Pages, Nameless()], ProjectionDefinitionError)],
            "timeout": [refused(NOT_SECONDS)],
        },
    ),
    "InlineProjections": Call(
        lambda world: {"store": world.store, "projections": [INLINE]},
        {
            "store": [refused(NOT_A_STORE)],
            "projections": [
                refused(NOT_A_LIST),
                refused(
                    [[bad] for bad in (None, 5, "pages", Pages, PROJECTION, Nameless())],
                    ProjectionDefinitionError,
                    "projection",
                ),
                refused([[INLINE, NotePages()]], ProjectionDefinitionError, "bad_input_note_pages"),
            ],
            "schema": [refused(but(NOT_A_SCHEMA, "a$$b", "pg_catalog", "pg_mine", "information_schema"))],
            "catch_up_timeout": [refused(NOT_SECONDS)],
        },
    ),
    "LiveProjection.get": Call(lambda _: {"key": "a"}, OF_A_KEY, live("get")),
    "LiveProjection.query": Call(none, {"where": [refused(but(NOT_A_FUNCTION, None))], **PAST}, live("query")),
    "LiveProjection.child_rows": Call(
        lambda _: {"child": Pages.visitors, "key": "a"},
        {"child": [refused([*NOT_TEXT, Pages])], **OF_A_KEY},
        live("child_rows"),
    ),
    "ProjectionService": Call(
        lambda world: {"store": world.store, "projections": [PROJECTION]},
        {
            "store": [refused(NOT_A_STORE)],
            "projections": [
                refused(NOT_A_LIST),
                refused(
                    [[bad] for bad in (None, 5, "pages", Pages, Nameless())], ProjectionDefinitionError, "projection"
                ),
                refused([[PROJECTION, Pages()]], ProjectionDefinitionError, "bad_input_pages"),
            ],
            "schema": [refused(but(NOT_A_SCHEMA, "a$$b"))],
            "batch_size": [refused([*NOT_A_COUNT, 0, 1001])],
            "retry": RETRY,
            "segments": [refused([*NOT_A_COUNT, 0])],
            "lease": [refused([*NOT_SECONDS, 0])],
            "max_parked": [refused([*NOT_A_COUNT, 0])],
            "handler_timeout": [refused([*NOT_SECONDS, 0])],
            "stop_timeout": [refused(NOT_SECONDS)],
        },
    ),
    "ProjectionService.wait_for": Call(
        lambda _: {"name": "bad_input_pages", "saved": 0, "timeout": 0},
        {
            "name": [refused(NOT_A_NAME, UnknownProjectionError, "projection")],
            "saved": NOT_SAVED,
            "timeout": [refused(NOT_SECONDS)],
        },
        lambda world: service(world).wait_for,
    ),
    "ProjectionService.resume": Call(
        lambda _: {"name": "bad_input_pages"},
        {"name": [refused(NOT_A_NAME, UnknownProjectionError, "projection")]},
        lambda world: service(world).resume,
    ),
    "Application.wait_for": Call(
        lambda _: {"name": "bad_input_pages", "saved": 0, "timeout": 0},
        {"name": NAME, "saved": NOT_SAVED, "timeout": [refused(NOT_SECONDS)]},
        waiting,
    ),
    "ProjectionOperations": Call(
        lambda world: {"store": world.store}, {"store": [refused(NOT_A_STORE)], "actor": OPTIONAL_TEXT}
    ),
    "ProjectionOperations.status": Call(
        _pages,
        {"name": OPTIONAL_NAME, "kinds": [refused([5, True, "reaction", ("lost",), [None], {}, Nameless()])]},
        operations("status"),
    ),
    "ProjectionOperations.pause": Call(_pages, {"name": NAME, "reason": OPTIONAL_TEXT}, operations("pause")),
    "ProjectionOperations.resume": Call(_pages, {"name": NAME, "reason": OPTIONAL_TEXT}, operations("resume")),
    "ProjectionOperations.wait_for": Call(
        lambda _: {"name": "bad_input_pages", "saved": 0, "timeout": 0},
        {"name": NAME, "saved": NOT_SAVED, "timeout": [refused(NOT_SECONDS)]},
        operations("wait_for"),
    ),
    "ProjectionOperations.parked": Call(
        none,
        {
            "name": OPTIONAL_TEXT,
            "states": [refused([5, True, "failed", b"failed", ("lost",), (5,), [None], Nameless()])],
            "event_type": OPTIONAL_TEXT,
            "kind": KIND,
            "from_position": [refused(NOT_A_COUNT)],
            "limit": [refused(NOT_A_COUNT)],
        },
        operations("parked"),
    ),
    "ProjectionOperations.retry": Call(
        _pages,
        {
            "name": NAME,
            "global_position": [refused(but(NOT_A_COUNT, None))],
            "event_type": OPTIONAL_TEXT,
            "kind": KIND,
            "key": OPTIONAL_KEY,
        },
        operations("retry"),
    ),
    "ProjectionOperations.retry_and_wait": Call(
        lambda world: _pages(world) | {"timeout": 0},
        {
            "name": NAME,
            "global_position": [refused(but(NOT_A_COUNT, None))],
            "event_type": OPTIONAL_TEXT,
            "kind": KIND,
            "key": OPTIONAL_KEY,
            "timeout": [refused(NOT_SECONDS)],
        },
        operations("retry_and_wait"),
    ),
    "ProjectionOperations.skip": Call(
        lambda _: {"name": "bad_input_pages", "global_position": 1, "reason": "a test"},
        {
            "name": NAME,
            "global_position": [refused(NOT_A_COUNT)],
            "reason": [refused([*NOT_TEXT, "", " ", *UNSTORABLE_TEXT])],
            "key": OPTIONAL_KEY,
        },
        operations("skip"),
    ),
    "ProjectionOperations.actions": Call(
        none, {"name": OPTIONAL_TEXT, "limit": [refused(NOT_A_COUNT)]}, operations("actions")
    ),
    "check_projection": Call(
        lambda world: {"store": world.store, "projection": PROJECTION},
        {
            "store": [refused(NOT_A_STORE)],
            "projection": [refused([None, 5, "pages", Pages, Nameless()])],
            "build": [refused([*but(NOT_A_COUNT, None), 0])],
            "max_rows": [refused([*NOT_A_COUNT, 0])],
        },
        lambda _: check_projection,
    ),
    "BuildOperations.rebuild": Call(
        _pages,
        {
            "name": NAME,
            "segments": [refused([*but(NOT_A_COUNT, None), 0, 257])],
            "switch": [refused([*NOT_TEXT, "", "Manual", HUGE_TEXT])],
            "reason": OPTIONAL_TEXT,
        },
        operations("rebuild"),
    ),
    "BuildOperations.cancel_rebuild": Call(
        _pages, {"name": NAME, "reason": OPTIONAL_TEXT}, operations("cancel_rebuild")
    ),
    "BuildOperations.switch": Call(
        lambda _: {"name": "bad_input_pages", "version": 1, "build": 1},
        {
            "name": NAME,
            "version": [refused(but(NOT_A_COUNT, None))],
            "build": [refused(but(NOT_A_COUNT, None))],
            "reason": OPTIONAL_TEXT,
        },
        operations("switch"),
    ),
    "BuildOperations.rollback": Call(_pages, {"name": NAME, "reason": OPTIONAL_TEXT}, operations("rollback")),
    "BuildOperations.drop": Call(
        lambda _: {"name": "bad_input_pages", "version": 1, "build": 1},
        {"name": NAME, "version": [refused(NOT_A_COUNT)], "build": [refused(NOT_A_COUNT)], "reason": OPTIONAL_TEXT},
        operations("drop"),
    ),
    "ProjectionService.status": NO_ARGUMENTS,
    "ProjectionService.start": NO_ARGUMENTS,
    "ProjectionService.stop": NO_ARGUMENTS,
    "ProjectionService.run": NO_ARGUMENTS,
}
