"""How projections are, as any process sees it."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any, Final, Literal

import asyncpg
import msgspec

from perdure.projections.state.builds import BuildStage, TableDifference
from perdure.projections.state.failures import EventFailure
from perdure.projections.state.identity import BuildId
from perdure.projections.state.options import Mode
from perdure.stores.postgres.connections.database import Database
from perdure.stores.postgres.sql_files import Statements

_FOLDER: Final = Path(__file__).parents[1] / "sql" / "status"

ProjectionState = Literal["running", "paused", "stopped"]
"""Paused: at least one segment is. Stopped: no process runs it."""


class SegmentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a segment of a projection is.

    Attributes:
        first_hash, last_hash: The range of the hash of the keys of its rows, from 0 to 65535.
        global_position: Its rows show everything up to here.
        owner: The process that has its lease (host, process id and a number); None when nobody has.
        epoch: How often the owner changed.
        failure: The event that it is paused before, and why.
    """

    first_hash: int
    last_hash: int
    state: Literal["running", "paused"]
    global_position: int
    owner: str | None
    epoch: int
    failure: EventFailure | None

    @property
    def is_paused(self) -> bool:
        """Whether it waits for somebody to resume it."""
        return self.state == "paused"


class ProjectionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """How a build of a projection is: where it stands, and what keeps it from going on.

    Attributes:
        version: The version of its class.
        build: Which build of that version: the first, or one that a rebuild made.
        is_shown: Whether the views show it.
        stage: It is being built; or it is ready, and was never shown; or it was, and is kept up to date.
        progress: How much of the log it has taken, from 0 to 1.
        mode: Who keeps it: a service that follows the log, or the appends themselves, in their transactions. Then the
            position is up to where the log was searched for what others appended.
        global_position: Its rows show everything up to here; the slowest segment counts.
        lag: How many positions of the log are still to come.
        lag_seconds: For how long the first event that it has still to take has been in the log.
        rate: Events of the log that it takes in a second, where it is slowest; since it began, while it is being built.
        time_left: Seconds until it has caught up at that rate; None when that can't be told.
        failure: The first event that it is paused before, and why.
        failed, waiting, skipped: How many events are parked because they failed, how many wait behind those, and how
            many were skipped.
        owners: The processes that have its segments.
        trouble: What else keeps it from going on, as a database that is down. It goes on by itself.
        differences: In what it differed from the build that was shown when it was ready. It waits for `switch`, then.
    """

    name: str
    version: int
    build: int = 1
    is_shown: bool = True
    stage: BuildStage = "retained"
    mode: Mode = "async"
    state: ProjectionState
    global_position: int
    lag: int
    lag_seconds: float = 0.0
    progress: float = 1.0
    rate: float = 0.0
    time_left: float | None = None
    failure: EventFailure | None = None
    failed: int = 0
    waiting: int = 0
    skipped: int = 0
    owners: tuple[str, ...] = ()
    trouble: str | None = None
    differences: tuple[TableDifference, ...] = ()
    segments: tuple[SegmentStatus, ...] = ()


async def read_status(database: Database, name: str | None = None) -> list[ProjectionStatus]:
    """How all projections are, build by build, or those of one name."""
    sql = Statements(_FOLDER, schema=database.quoted_schema)
    async with database.connection() as connection:
        segments = await connection.fetch(sql["segments"], name)
        runners = await connection.fetch(sql["runners"], name)
        builds = await connection.fetch(sql["builds"], name)
    segments_of, runners_of = _by_build(segments), _by_build(runners)
    return [_status(row, segments_of[_build(row)], runners_of[_build(row)]) for row in builds]


def _by_build(rows: list[asyncpg.Record]) -> defaultdict[BuildId, list[asyncpg.Record]]:
    found: defaultdict[BuildId, list[asyncpg.Record]] = defaultdict(list)
    for row in rows:
        found[_build(row)].append(row)
    return found


def _build(row: asyncpg.Record) -> BuildId:
    return BuildId(row["name"], row["version"], row["build"])


def _status(row: asyncpg.Record, segments: list[asyncpg.Record], runners: list[asyncpg.Record]) -> ProjectionStatus:
    pieces = tuple(_segment(segment) for segment in segments)
    position = min([piece.global_position for piece in pieces], default=0)
    lag = max(0, row["end_position"] - position)
    rate = min([runner["rate"] for runner in runners], default=0.0)
    if row["stage"] == "building" and runners:
        rate = position / row["age"]
    failures = [piece.failure for piece in pieces if piece.failure]
    return ProjectionStatus(
        name=row["name"],
        version=row["version"],
        build=row["build"],
        is_shown=row["is_shown"],
        stage=row["stage"],
        mode=row["mode"],
        state=_state(pieces, is_run=bool(runners)),
        global_position=position,
        lag=lag,
        lag_seconds=row["lag_seconds"] or 0.0,
        progress=min(1.0, position / row["end_position"]) if row["end_position"] else 1.0,
        rate=rate,
        time_left=_time_left(lag, rate),
        failure=min(failures, key=lambda failure: failure.global_position, default=None),
        failed=row["failed"],
        waiting=row["waiting"],
        skipped=row["skipped"],
        owners=tuple(sorted({piece.owner for piece in pieces if piece.owner})),
        trouble=next((runner["error"] for runner in runners if runner["error"]), None),
        differences=decoded_differences(row["differences"]),
        segments=pieces,
    )


def _state(segments: tuple[SegmentStatus, ...], *, is_run: bool) -> ProjectionState:
    if any(segment.is_paused for segment in segments):
        return "paused"
    return "running" if is_run else "stopped"


def _time_left(lag: int, rate: float) -> float | None:
    if not lag:
        return 0.0
    return lag / rate if rate else None


def _segment(row: asyncpg.Record) -> SegmentStatus:
    return SegmentStatus(
        first_hash=row["first_hash"],
        last_hash=row["last_hash"],
        state=row["status"],
        global_position=row["global_position"],
        owner=row["owner"],
        epoch=row["epoch"],
        failure=decoded_failure(row["error"]),
    )


def decoded_differences(document: str | None) -> tuple[TableDifference, ...]:
    """What a comparison found, as it was kept."""
    return () if document is None else msgspec.json.decode(document, type=tuple[TableDifference, ...])


def decoded_failure(document: Any) -> EventFailure | None:
    """A failure as it was kept."""
    return None if document is None else msgspec.json.decode(document, type=EventFailure)
