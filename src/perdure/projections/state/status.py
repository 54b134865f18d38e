"""The status of projections, as any process can read it from the database."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Literal

import asyncpg
import msgspec

from perdure.projections.sql import statements
from perdure.projections.state.builds import BuildStage, TableDifference
from perdure.projections.state.failures import EventFailure
from perdure.projections.state.identity import BuildId
from perdure.projections.state.options import Kind, Mode
from perdure.stores.postgres.connections.database import Database

ProjectionState = Literal["running", "paused", "stopped"]
"""Paused: at least one segment is paused. Stopped: no process runs it."""


class SegmentStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The status of a segment of a projection.

    Attributes:
        first_hash, last_hash: The range of the hash of the keys of its rows, from 0 to 65535.
        global_position: Its rows include every event up to this position.
        owner: The process that has its lease (host, process id and a number); None if there is none.
        epoch: How often the owner changed.
        failure: The event that failed, if that is the reason for the pause.
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
        """Whether it waits for `resume`."""
        return self.state == "paused"


class ProjectionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """The status of a build of a projection: its position, and what prevents progress.

    Attributes:
        version: The version of its class.
        build: The number of the build within that version: 1, or more after a rebuild.
        is_shown: Whether the views show it.
        stage: ``"building"``: it is reading the log from the beginning. ``"ready"``: it is complete, and was never
            shown. ``"retained"``: it was shown, and is kept up to date.
        progress: The share of the log that it has processed, from 0 to 1.
        kind: What it is: a projection, a reaction, a relay or a process.
        mode: ``"async"``: a service keeps it up to date. ``"inline"``: each append does, in its own transaction. The
            position is then how far the log was searched for events that were appended without their rows.
        global_position: Its rows include every event up to this position. The slowest segment counts.
        lag: How many positions of the log it still has to process.
        lag_seconds: How long ago the first event that it still has to process was appended.
        rate: How many events of the log its slowest runner processes per second. For a build that is being built, the
            average since its start.
        time_left: Seconds until it has caught up at that rate; None if the rate is 0.
        failure: The first event for which it is paused, and the reason.
        failed, waiting, skipped: How many events are parked because they failed, how many wait behind those, and how
            many were skipped.
        owners: The processes that lease its segments.
        error: What else prevents progress, such as a database that is down. It continues by itself.
        differences: How its rows differed from those of the shown build when it was complete. If they did, it waits
            for `switch`.
    """

    name: str
    version: int
    build: int = 1
    is_shown: bool = True
    stage: BuildStage = "retained"
    kind: Kind = "projection"
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
    error: str | None = None
    differences: tuple[TableDifference, ...] = ()
    segments: tuple[SegmentStatus, ...] = ()


async def read_status(database: Database, name: str | None = None) -> list[ProjectionStatus]:
    """Return the status of each build of all projections, or of the projection of that name."""
    sql = statements("status", schema=database.quoted_schema)
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
        kind=row["kind"],
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
        error=next((runner["error"] for runner in runners if runner["error"]), None),
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
    """Return the differences that a comparison recorded."""
    return () if document is None else msgspec.json.decode(document, type=tuple[TableDifference, ...])


def decoded_failure(document: Any) -> EventFailure | None:
    """Return a recorded failure."""
    return None if document is None else msgspec.json.decode(document, type=EventFailure)
