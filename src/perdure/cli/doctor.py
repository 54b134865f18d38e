"""``perdure doctor``: shows the settings and their sources, and checks the database."""

from __future__ import annotations

import platform
import shlex
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from typing import Final, Literal

import click
import msgspec

from perdure.cli.command import Command, report_command
from perdure.cli.failures import OK, PROBLEM, message_of, next_command
from perdure.cli.report import CommandReport
from perdure.cli.screen import ATTENTION, BAD, GOOD, QUIET, STRONG, Screen, count, second, span
from perdure.cli.session import CommandSession
from perdure.cli.table import Cell, TextColumn
from perdure.cli.timers import OVERDUE
from perdure.commit import PAYLOAD_LIMIT
from perdure.errors import FenceHolder, PerdureError, SchemaError
from perdure.errors.mask import masked_text, masked_url
from perdure.projections.timers.records import TimerRecords
from perdure.store import EventStore
from perdure.stores.postgres.connections.database import database_of
from perdure.stores.postgres.inspection import Fence, Inspection

_DEFAULTS: Final = {"schema": "perdure", "migrate": True, "payload_limit": PAYLOAD_LIMIT}
_SETTING_COLUMNS: Final = tuple(TextColumn(title, whole=True) for title in ("setting", "value", "source"))
_HOLDER_COLUMNS: Final = (
    TextColumn("floor", right=True),
    TextColumn("pid", right=True),
    *[TextColumn(title) for title in ("user", "application", "from", "state")],
    TextColumn("begun at", whole=True),
)
_LONG: Final = timedelta(seconds=10)
_CLOCKS_APART: Final = 1.0
_HEARD_WITHIN: Final = 2.0
_MOST_TIMERS: Final = 10_000
_MARKS: Final = {
    "ok": Cell("ok       ", GOOD),
    "attention": Cell("attention", ATTENTION),
    "problem": Cell("problem  ", BAD),
}


class Setting(msgspec.Struct):
    """A setting, and its source."""

    name: str
    value: str
    source: str


class Finding(msgspec.Struct):
    """The result of one check."""

    name: str
    state: Literal["ok", "attention", "problem"]
    message: str
    next: str | None = None


class Diagnosis(msgspec.Struct):
    """The settings and check results of ``doctor``."""

    settings: list[Setting]
    findings: list[Finding]
    fence: Fence | None = None


@click.command(cls=Command)
@report_command
async def doctor(session: CommandSession) -> CommandReport:
    """Show the settings and their sources, and check the database."""
    diagnosis = Diagnosis(_versions(), [])
    name = "application"
    try:
        diagnosis.settings += [
            Setting(one.name, masked_text(one.value), masked_text(one.source)) for one in _settings(session)
        ]
        name = "database"
        async with session.store() as store:
            if _is_embedded(session):
                place = masked_url(database_of(store).url)
                diagnosis.settings.append(Setting("url", place, "the embedded PostgreSQL"))
            await _examine(diagnosis, store)
    except PerdureError as error:
        diagnosis.findings.append(_failed("schema" if isinstance(error, SchemaError) else name, error))
    return _report(diagnosis)


def _versions() -> list[Setting]:
    return [Setting("perdure", version("perdure"), f"Python {platform.python_version()}")]


def _settings(session: CommandSession) -> list[Setting]:
    named = session.named
    found = [Setting("application", named.name, named.source) if named else Setting("application", "none", "default")]
    settings = session.store_source
    if isinstance(settings, EventStore):
        return [*found, Setting("store", repr(settings), "the application")]
    database, source = session.chosen_database(settings)
    place = masked_url(database) if isinstance(database, str) else f"embedded PostgreSQL in {database.directory}"
    found.append(Setting("database", place, source))
    for name, default in _DEFAULTS.items():
        source = "the application" if name in settings else "default"
        if name == "schema" and session.options.schema:
            source = "--schema"
        found.append(Setting(name, str(settings.get(name, default)), source))
    if direct_url := settings.get("direct_url"):
        found.append(Setting("direct_url", masked_url(direct_url), "the application"))
    return found


def _is_embedded(session: CommandSession) -> bool:
    settings = session.store_source
    return not isinstance(settings, EventStore) and not isinstance(session.chosen_database(settings).database, str)


async def _examine(diagnosis: Diagnosis, store: EventStore) -> None:
    database = database_of(store)
    inspection = Inspection(database)
    found = await inspection.session()
    diagnosis.findings.append(
        Finding(
            "connection",
            "ok",
            f"PostgreSQL {found.server_version}, database {found.database_name!r}, user {found.user_name!r}",
        )
    )
    diagnosis.findings.append(Finding("schema", "ok", f"{database.schema!r} is as this version needs it"))
    diagnosis.findings.append(_locks(database.schema, await inspection.sharing()))
    diagnosis.fence = await inspection.fence()
    diagnosis.findings.append(_fence(diagnosis.fence, found.clock))
    diagnosis.findings.append(_listener(await inspection.seconds_until_heard(_HEARD_WITHIN)))
    diagnosis.findings.append(await _clock(inspection))
    diagnosis.findings.append(await _timers(TimerRecords(database)))


def _locks(schema: str, sharing: list[str]) -> Finding:
    if not sharing:
        return Finding("locks", "ok", f"no other schema has the lock number of {schema!r}")
    names = ", ".join(map(repr, sharing))
    message = f"schema {names} has the same lock number, as a copy has: appends to one hold back readers of the other"
    return Finding("locks", "problem", message, f"perdure --schema {shlex.quote(sharing[0])} db renumber")


def _fence(fence: Fence, now: datetime) -> Finding:
    behind = fence.last_drawn - fence.safe_position
    reach = f"readers see the log up to position {fence.safe_position:,}"
    if not fence.holders:
        return Finding("fence", "ok", f"{reach}, the last one assigned; no append is under way")
    message = f"{reach}, {behind:,} short of the last one assigned; {count(len(fence.holders), 'append')} under way"
    begun = [holder.begun_at for holder in fence.holders if holder.begun_at is not None]
    oldest = now - min(begun, default=now)
    if oldest < _LONG and all(holder.pid for holder in fence.holders):
        return Finding("fence", "ok", message)
    return Finding(
        "fence",
        "attention",
        f"{message}, the oldest for {oldest.total_seconds():,.0f} s: readers can't pass it",
        "perdure doctor",
    )


def _listener(seconds: float | None) -> Finding:
    if seconds is not None:
        return Finding("listener", "ok", f"a NOTIFY arrived after {seconds * 1000:.1f} ms")
    return Finding(
        "listener",
        "attention",
        f"no NOTIFY arrived within {_HEARD_WITHIN:g} s, as behind a pooler in transaction mode: "
        "other processes find new events by polling, at most a quarter of a second late; "
        "give the store a direct_url that reaches the server itself",
    )


async def _clock(inspection: Inspection) -> Finding:
    before = datetime.now(UTC)
    server = (await inspection.session()).clock
    after = datetime.now(UTC)
    uncertain = (after - before) / 2
    ahead = (server - before - uncertain).total_seconds()
    message = f"the server is {abs(ahead) * 1000:,.0f} ms {'ahead of' if ahead > 0 else 'behind'} this machine"
    if abs(ahead) < _CLOCKS_APART + uncertain.total_seconds():
        return Finding("clock", "ok", message)
    return Finding("clock", "attention", f"{message}: don't compare recorded_at with timestamp", "timedatectl")


async def _timers(records: TimerRecords) -> Finding:
    due, seconds = await records.due(_MOST_TIMERS)
    if seconds < OVERDUE:
        return Finding("timers", "ok", "no timer of a process is overdue")
    number = f"{due:,} or more timers" if due == _MOST_TIMERS else count(due, "timer")
    message = f"{number} of processes should have fired, the first {span(seconds)} ago: no service that runs one is up"
    return Finding("timers", "attention", message, "perdure timers status")


def _failed(name: str, error: PerdureError) -> Finding:
    return Finding(name, "problem", message_of(error), masked_text(next_command(error, "perdure doctor")))


def _report(diagnosis: Diagnosis) -> CommandReport:
    problems = [finding for finding in diagnosis.findings if finding.state == "problem"]
    advice = [finding.next for finding in (*problems, *diagnosis.findings) if finding.next is not None]

    def show(screen: Screen) -> None:
        screen.table(_SETTING_COLUMNS, [(one.name, one.value, Cell(one.source, QUIET)) for one in diagnosis.settings])
        screen.line()
        for finding in diagnosis.findings:
            screen.cells([_MARKS[finding.state], Cell(f"  {finding.name}: ", STRONG), Cell(finding.message)])
        if diagnosis.fence is not None and diagnosis.fence.holders:
            _show_holders(screen, diagnosis.fence)

    return CommandReport(diagnosis, show, PROBLEM if problems else OK, advice[0] if advice else None)


def _show_holders(screen: Screen, fence: Fence) -> None:
    screen.line()
    screen.table(_HOLDER_COLUMNS, map(_holder_row, fence.holders))


def _holder_row(one: FenceHolder) -> tuple[str | Cell, ...]:
    pid = "prepared" if one.pid is None else str(one.pid)
    place = one.client_address or "local"
    return (
        str(one.floor),
        pid,
        one.user_name or "-",
        one.application_name or "-",
        place,
        one.state or "-",
        second(one.begun_at),
    )
