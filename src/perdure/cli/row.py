"""``perdure projections row``: shows a row of a read model, now or as it was, and compares two points of the past."""

from __future__ import annotations

from datetime import datetime
from typing import Any, get_type_hints

import click
import msgspec

from perdure.cli.command import report_command
from perdure.cli.difference import FieldChange, field_changes, show_difference
from perdure.cli.failures import USAGE, CommandError
from perdure.cli.points import PointType
from perdure.cli.report import CommandReport
from perdure.cli.screen import Screen
from perdure.cli.session import CommandSession
from perdure.projection import TableProjection
from perdure.projections.engines.table.definition import TableDefinition
from perdure.projections.live import LiveProjection
from perdure.store import EventStore

Point = int | datetime | None
"""A position of the log, a time, or now."""


_POINT = PointType()


class RowView(msgspec.Struct):
    """A row of a read model; null if there is none."""

    projection: str
    key: Any
    at: int | datetime | None
    """The position or time; null for now."""
    row: Any


class RowDifference(msgspec.Struct):
    """The differences between a row at two points."""

    before: RowView
    after: RowView
    changes: list[FieldChange]


@click.command()
@click.argument("name")
@click.argument("key", nargs=-1, required=True)
@click.option("--at", metavar="POINT", type=_POINT, help="As of this position of the log, or this time. Default: now.")
@click.option("--diff", nargs=2, metavar="A B", type=_POINT, help="Compare two positions or times.")
@click.option("--full", is_flag=True, help="Show all of the row, even if it is long.")
@report_command
async def row(
    session: CommandSession,
    name: str,
    key: tuple[str, ...],
    at: int | datetime | None,
    diff: tuple[int | datetime, int | datetime] | None,
    *,
    full: bool,
) -> CommandReport:
    """Show a row of a table projection as it is or was, or compare two points of the past.

    KEY is the key of the row; several words if it has several fields. Without --at, the row is read from the table.
    With --at or --diff, it is folded from the log.
    """
    if at is not None and diff is not None:
        raise CommandError("--at and --diff can't be combined", "perdure projections row --help", status=USAGE)
    projection = _projection_of(session, name)
    value = _key_of(session, projection, key)
    async with session.store() as store:
        views = [await _view(store, projection, value, point) for point in (diff or (at,))]
    if diff is not None:
        return _difference_report(views[0], views[1])

    def show(screen: Screen) -> None:
        screen.fields((("projection", name), ("key", " ".join(key)), ("at", "now" if at is None else str(at))))
        screen.line()
        if views[0].row is None:
            screen.line("There is no such row.")
        else:
            screen.json(views[0].row, in_full=full)

    return CommandReport(views[0], show)


def _difference_report(before: RowView, after: RowView) -> CommandReport:
    difference = RowDifference(before, after, field_changes(before.row or {}, after.row or {}))

    def show(screen: Screen) -> None:
        if not show_difference(screen, (before.row, after.row), (f"at {before.at}", f"at {after.at}")):
            screen.line("The row is the same.")

    return CommandReport(difference, show)


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


async def _view(store: EventStore, projection: TableProjection[Any], key: Any, at: Point) -> RowView:
    if at is None:
        found = await type(projection).get(store, key)
    else:
        live = LiveProjection(store, projection)
        found = await (live.get(key, at_time=at) if isinstance(at, datetime) else live.get(key, at_position=at))
    plain = None if found is None else msgspec.to_builtins(found, str_keys=True, enc_hook=repr)
    return RowView(projection.name, msgspec.to_builtins(key), at, plain)
