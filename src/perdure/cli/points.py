"""Types of options that name a point in the log: a position, a time, or now."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

import click

from perdure.log import NOW, Start

_TIMES: Final = "2026-05-01, or 2026-05-01T12:30:00+02:00"


class Moment(click.ParamType[datetime]):
    """A date or time such as ``2026-05-01`` or ``2026-05-01T12:30``; in UTC unless it has an offset."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Return the time as an aware datetime."""
        found = _time(value)
        return self.fail(f"{value!r} isn't a time: write {_TIMES}", param, ctx) if found is None else found


class PointType(click.ParamType[int | datetime]):
    """A position of the log, or a time."""

    name = "point"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | datetime:
        """Return the position as a number, or the time as an aware datetime."""
        found = _point(value)
        reason = f"{value!r} is neither a position nor a time: write 1000, or {_TIMES}"
        return self.fail(reason, param, ctx) if found is None else found


class StartType(click.ParamType[Start]):
    """A position of the log, a time, or ``now``."""

    name = "start"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Start:
        """Return where a subscription begins."""
        if value in ("now", NOW):
            return NOW
        found = _point(value)
        reason = f"{value!r} is no point of the log: write now, 1000, or {_TIMES}"
        return self.fail(reason, param, ctx) if found is None else found


def _point(value: Any) -> int | datetime | None:
    if isinstance(value, int | datetime):
        return value
    return int(value) if value.isdecimal() else _time(value)


def _time(value: Any) -> datetime | None:
    if isinstance(value, datetime):
        return value
    try:
        found = datetime.fromisoformat(value)
    except ValueError:
        return None
    return found if found.tzinfo else found.replace(tzinfo=UTC)
