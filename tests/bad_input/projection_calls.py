"""The calls that define projections and run them."""

from __future__ import annotations

import types
from typing import Any, Final

from perdure import (
    ChildNotLoadedError,
    ChildRows,
    ProjectionDefinitionError,
    ProjectionRowError,
    ProjectionService,
    UnknownProjectionError,
    child_table,
)
from perdure.projections.definition import Definition
from tests.bad_input.repository_calls import NOT_A_STORE, RETRY
from tests.bad_input.table import NO_ARGUMENTS, USERS_OWN, Call, Table, refused
from tests.bad_input.values import (
    HUGE_TEXT,
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
NOT_A_KEY: Final = (*NOT_TEXT, "", (), (5,), ("",), ("page", "page"), *UNSTORABLE_TEXT)
NOT_A_NAME: Final = (*NOT_TEXT, "", *UNSTORABLE_TEXT, "others", HUGE_TEXT)


def define(**settings: Any) -> Definition:
    """Define a class of projections with these settings, and look at it as a service does."""
    cls: Any = types.new_class("Defined", (Pages,), settings)
    return Definition(cls())


def define_child(**settings: Any) -> Definition:
    """The same for a class with this child table."""
    child = child_table(**settings)
    cls: Any = types.new_class(
        "Defined", (Pages,), {"table": "d", "key": "page"}, lambda body: body.update(visitors=child)
    )
    return Definition(cls())


def rows() -> ChildRows[Visitor]:
    return ChildRows("visitors", {"ann": None}, lambda stored: stored, lambda row: row.name)


def service(world: World) -> ProjectionService:
    return ProjectionService(world.store, [PROJECTION])


DEFINED: Final[Table] = {
    "TableProjection.__init_subclass__": Call(
        lambda _: {"table": "defined", "key": "page", "version": 1},
        {
            "table": [refused(but(NOT_A_TABLE, None), ProjectionDefinitionError)],
            "key": [refused(NOT_A_KEY, ProjectionDefinitionError)],
            "version": [refused([*NOT_A_COUNT, 0, 32768], ProjectionDefinitionError)],
        },
        lambda _: define,
    ),
    "TableProjection.keys": Call(lambda _: {}, {"event": USERS_OWN, "at": USERS_OWN}, lambda _: lambda: None),
    "child_table": Call(
        lambda _: {"row": Visitor, "table": "defined_visitors", "key": ("page", "name"), "keys": lambda event: ["ann"]},
        {
            "row": [refused([*NOT_A_CLASS, Note], ProjectionDefinitionError)],
            "table": [refused(NOT_A_TABLE, ProjectionDefinitionError)],
            "key": [refused([*NOT_A_KEY, ("page",), ("name",), ("name", "page")], ProjectionDefinitionError)],
            "keys": [refused(but(NOT_A_FUNCTION, None), ProjectionDefinitionError)],
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

RUN: Final[Table] = {
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
            "stop_timeout": [refused(NOT_SECONDS)],
        },
    ),
    "ProjectionService.wait_for": Call(
        lambda _: {"name": "bad_input_pages", "saved": 0, "timeout": 0},
        {
            "name": [refused(NOT_A_NAME, UnknownProjectionError, "projection")],
            "saved": [refused(but(NOT_A_COUNT, None))],
            "timeout": [refused(NOT_SECONDS)],
        },
        lambda world: service(world).wait_for,
    ),
    "ProjectionService.resume": Call(
        lambda _: {"name": "bad_input_pages"},
        {"name": [refused(NOT_A_NAME, UnknownProjectionError, "projection")]},
        lambda world: service(world).resume,
    ),
    "ProjectionService.status": NO_ARGUMENTS,
    "ProjectionService.start": NO_ARGUMENTS,
    "ProjectionService.stop": NO_ARGUMENTS,
    "ProjectionService.run": NO_ARGUMENTS,
}
