"""``perdure projections row``: shows a row of a read model, now or as it was, and compares two points of the past."""

from __future__ import annotations

from datetime import datetime
from functools import partial
from typing import Any, Final, cast, get_type_hints

import click
import msgspec

from perdure.cli.command import report_command
from perdure.cli.difference import FieldChange, field_changes, show_difference
from perdure.cli.failures import USAGE, CommandError
from perdure.cli.points import PointType
from perdure.cli.report import CommandReport
from perdure.cli.screen import STRONG, Screen
from perdure.cli.session import CommandSession
from perdure.projection import TableProjection
from perdure.projections.engines.table.definition import TableDefinition
from perdure.projections.engines.table.table import Table
from perdure.projections.live import LiveProjection
from perdure.store import EventStore

_POINT: Final = PointType()
_CHILDREN: Final = 50


class ChildrenView(msgspec.Struct):
    """The rows of a child table for a key, in the order of their keys."""

    rows: list[Any]
    more: bool = False
    """Whether there are more rows than were asked for."""


class RowView(msgspec.Struct):
    """A row of a read model; null if there is none."""

    projection: str
    key: Any
    at: int | datetime | None
    """The position or time; null for now."""
    row: Any
    children: dict[str, ChildrenView]
    """The rows of each child table, by the name under which the projection declares it."""


class ChildChange(msgspec.Struct):
    """A child row that differs before and after; null where there is none."""

    child: str
    before: Any
    after: Any


class RowDifference(msgspec.Struct):
    """The differences between a row at two points, and between its child rows."""

    before: RowView
    after: RowView
    changes: list[FieldChange]
    child_changes: list[ChildChange]


@click.command()
@click.argument("name")
@click.argument("key", nargs=-1, required=True)
@click.option("--at", metavar="POINT", type=_POINT, help="As of this position of the log, or this time. Default: now.")
@click.option("--diff", nargs=2, metavar="A B", type=_POINT, help="Compare two positions or times.")
@click.option(
    "--children",
    "limit",
    metavar="N",
    default=_CHILDREN,
    show_default=True,
    type=click.IntRange(0, 100_000),
    help="At most so many rows of each child table; --diff compares all of them.",
)
@click.option("--full", is_flag=True, help="Show all of each row, even if it is long.")
@report_command
async def row(
    session: CommandSession,
    name: str,
    key: tuple[str, ...],
    at: int | datetime | None,
    diff: tuple[int | datetime, int | datetime] | None,
    *,
    limit: int,
    full: bool,
) -> CommandReport:
    """Show a row of a table projection as it is or was, with its child rows, or compare two points of the past.

    KEY is the key of the row; several words if it has several fields. Without --at, the row is read from the table.
    With --at or --diff, it is folded from the log.
    """
    if at is not None and diff is not None:
        raise CommandError("--at and --diff can't be combined", "perdure projections row --help", status=USAGE)
    projection = _projection_of(session, name)
    value = _key_of(session, projection, key)
    async with session.store() as store:
        if diff is not None:
            one, other = [await _past_view(store, projection, value, point, None) for point in diff]
            return _difference_report(TableDefinition(projection), one, other)
        if at is None:
            view = await _view(store, projection, value, limit)
        else:
            view = await _past_view(store, projection, value, at, limit)

    def show(screen: Screen) -> None:
        screen.fields((("projection", name), ("key", " ".join(key)), ("at", "now" if at is None else str(at))))
        screen.line()
        if view.row is None:
            screen.line("There is no such row.")
        else:
            screen.json(view.row, in_full=full)
        for child, children in view.children.items():
            _show_children(screen, child, children, full=full)

    return CommandReport(view, show)


def _show_children(screen: Screen, name: str, children: ChildrenView, *, full: bool) -> None:
    number = f"the first {len(children.rows)}" if children.more else str(len(children.rows))
    screen.line(f"\n{name}: {number}", STRONG)
    for one in children.rows:
        screen.json(one, in_full=full)


def _difference_report(definition: TableDefinition, before: RowView, after: RowView) -> CommandReport:
    changes = [change for name, table in definition.children.items() for change in _changes(table, name, before, after)]
    difference = RowDifference(before, after, field_changes(before.row or {}, after.row or {}), changes)

    def show(screen: Screen) -> None:
        points = f"at {before.at}", f"at {after.at}"
        if not show_difference(screen, (before.row, after.row), points):
            screen.line("The row is the same.")
        for name, children in before.children.items():
            rows = children.rows, after.children[name].rows
            if rows[0] != rows[1]:
                screen.line(f"\n{name}", STRONG)
                show_difference(screen, rows, points)

    return CommandReport(difference, show)


def _changes(table: Table, name: str, before: RowView, after: RowView) -> list[ChildChange]:
    """Return the child rows that differ, in the order of their keys."""
    one, other = ({_key_of_row(table, row): row for row in view.children[name].rows} for view in (before, after))
    return [
        ChildChange(name, one.get(key), other.get(key))
        for key in sorted({*one, *other})
        if one.get(key) != other.get(key)
    ]


def _key_of_row(table: Table, row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple([row[name] for name in table.key])


def _projection_of(session: CommandSession, name: str) -> TableProjection[Any]:
    projections = [one for one in session.require_application().projections if isinstance(one, TableProjection)]
    for one in projections:
        if one.name == name:
            return one
    known = ", ".join(sorted(one.name for one in projections)) or "none"
    raise CommandError(
        f"the application has no table projection {name!r}; it has: {known}", "perdure projections list", status=USAGE
    )


def _key_of(session: CommandSession, projection: TableProjection[Any], words: tuple[str, ...]) -> Any:
    """Return the key that was typed, as values of the types of its fields."""
    again = session.again("projections row", projection.name, *projection.key)
    if len(words) != len(projection.key):
        needed = ", ".join(projection.key)
        raise CommandError(f"a key of {projection.name!r} is {needed}, not {len(words)} words", again, status=USAGE)
    hints = get_type_hints(TableDefinition(projection).table.row, include_extras=True)
    try:
        typed = zip(projection.key, words, strict=True)
        values: tuple[Any, ...] = tuple([msgspec.convert(word, hints[field], strict=False) for field, word in typed])
    except msgspec.ValidationError as error:
        reason = f"{' '.join(words)!r} can't be a key of {projection.name!r}: {error}"
        raise CommandError(reason, again, status=USAGE) from None
    return values if len(words) > 1 else values[0]


async def _view(store: EventStore, projection: TableProjection[Any], key: Any, limit: int) -> RowView:
    """Return a row and its child rows as the views show them."""
    cls, values = type(projection), _key_values(projection, key)
    children: dict[str, ChildrenView] = {}
    for name in TableDefinition(projection).children:
        page = await cls.find_children(store, getattr(projection, name), limit=limit + 1, **values)
        children[name] = _children_view([_plain(one) for one in page.rows], limit)
    return RowView(projection.name, msgspec.to_builtins(key), None, _plain(await cls.get(store, key)), children)


async def _past_view(
    store: EventStore, projection: TableProjection[Any], key: Any, at: int | datetime, limit: int | None
) -> RowView:
    """Return a row and its child rows, folded from the log as of a point."""
    live = LiveProjection(store, projection)
    when: dict[str, Any] = {"at_time": at} if isinstance(at, datetime) else {"at_position": at}
    children: dict[str, ChildrenView] = {}
    for name, table in TableDefinition(projection).children.items():
        found = await live.child_rows(getattr(projection, name), key, **when)
        rows = sorted([_plain(one) for one in found], key=partial(_key_of_row, table))
        children[name] = _children_view(rows, limit)
    return RowView(projection.name, msgspec.to_builtins(key), at, _plain(await live.get(key, **when)), children)


def _key_values(projection: TableProjection[Any], key: object) -> dict[str, Any]:
    values = cast("tuple[object, ...]", key) if isinstance(key, tuple) else (key,)
    return dict(zip(projection.key, values, strict=True))


def _children_view(rows: list[Any], limit: int | None) -> ChildrenView:
    return ChildrenView(rows) if limit is None else ChildrenView(rows[:limit], len(rows) > limit)


def _plain(row: object) -> Any:
    return None if row is None else msgspec.to_builtins(row, str_keys=True, enc_hook=repr)
