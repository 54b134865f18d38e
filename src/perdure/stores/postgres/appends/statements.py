"""The statements that append, and what their replies mean."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final
from uuid import UUID

import asyncpg
from msgspec.structs import astuple

from perdure.commit import AppendResult, Commit, CommitGroup, EncodedEvent, ExpectedVersion, StreamState
from perdure.errors import EventIdReuseError, OptimisticConcurrencyError, PerdureError
from perdure.events import StoredEvent
from perdure.repeat import StoredAppend, check_contents, must_compare
from perdure.stores.postgres.connections.database import Connection
from perdure.stores.postgres.event_rows import stored_events
from perdure.stores.postgres.sql_files import Statements

APPENDED: Final = 0
REPEATED: Final = 1
CONFLICT: Final = 2
REUSED: Final = 3
BUSY: Final = 4
DIFFERENT: Final = 5
"""Written earlier under these ids, but not with the same text."""

GUARDS: Final = ("events_stream_version", "events_event_id")
"""The constraints that an append may violate: by ids that are stored, or by an insert around the stream's lock."""

_SEPARATOR = "\x1f"
"""Separates the values of a column: no stream id, event type or JSON may hold it."""

_digits = int.__repr__  # unlike str(), it shows members of an enumeration as numbers, too

_STATES = {StreamState.ANY: -1, StreamState.STREAM_EXISTS: -2}

Answer = AppendResult | StoredAppend | PerdureError
"""The answer to a commit: its result, what is stored in its place with another text, or its error."""


class Appends:
    """The statements that append: a commit, a batch with an answer for each commit, or a group, all or nothing.

    Args:
        quoted_schema: the schema that holds the store, quoted.
    """

    def __init__(self, quoted_schema: str) -> None:
        self._sql = Statements(Path(__file__).parents[1] / "sql" / "appends", schema=quoted_schema)

    async def append_commit(
        self, connection: Connection, commit: Commit, *, look_up: bool, lock_timeout: str | None = None
    ) -> Answer:
        """Append a commit. Wait for its stream for `lock_timeout`, or else as long as the session is set to."""
        events = commit.events
        if lock_timeout is not None and not look_up and len(events) == 1:
            return await self._event(connection, commit, events[0], lock_timeout)
        status, _, version, versions, positions = await self._group(
            connection, CommitGroup((commit,), {}), look_up=look_up, lock_timeout=lock_timeout
        )
        return await self._answer(connection, commit, status, version if versions is None else versions[0], positions)

    async def _event(self, connection: Connection, commit: Commit, event: EncodedEvent, lock_timeout: str) -> Answer:
        status, version, *positions = await connection.fetchval(
            self._sql["append_event"], *_columns_of_event(commit, event), lock_timeout
        )
        return await self._answer(connection, commit, status, version, positions)

    async def append_batch(
        self, connection: Connection, commits: Sequence[Commit], *, look_up: bool, lock_timeout: str
    ) -> list[Answer | None]:
        """Append commits, sorted by stream, in one transaction. The answer is None for each whose stream was locked."""
        row = await connection.fetchrow(
            self._sql["append_batch"],
            *_texts_of_commits(commits),
            *_texts_of_events(commits),
            look_up,
            lock_timeout,
        )
        assert row is not None  # noqa: S101 - the function returns one row
        statuses, stream_versions, positions, repeated = row
        answers: list[Answer | None] = []
        place = 0
        for commit, status, version in zip(commits, statuses, stream_versions, strict=True):
            count = len(commit.events)
            if status == APPENDED:
                drawn = tuple(positions[place : place + count])
                answers.append(AppendResult(commit.stream_id, version, drawn))
                place += count
            elif status in (REPEATED, DIFFERENT):
                answers.append(await self._answer(connection, commit, status, version, repeated[:count]))
                del repeated[:count]
            else:
                answers.append(None if status == BUSY else await self._answer(connection, commit, status, version, ()))
        return answers

    async def append_group(
        self, connection: Connection, group: CommitGroup, *, look_up: bool, lock_timeout: str | None = None
    ) -> list[AppendResult] | PerdureError:
        """Append to several streams, all or nothing. Wait for them in the order of their locks.

        Raises:
            EventIdReuseError: the ids are stored in the place of the group, but one of them with another content.
        """
        commits = group.commits
        status, stream_id, stream_version, stream_versions, positions = await self._group(
            connection, group, look_up=look_up, lock_timeout=lock_timeout
        )
        if status not in (APPENDED, CONFLICT) and all(commit.append_id is not None for commit in commits):
            found = [await self._first_result(connection, commit) for commit in commits]
            known = [one for one in found if one is not None]
            return known if len(known) == len(commits) else EventIdReuseError(commits[0].stream_id, group.event_ids)
        if status in (APPENDED, REPEATED, DIFFERENT):
            if status == DIFFERENT and must_compare(commits):
                check_contents(commits, await self._stored(connection, group.event_ids))
            drawn = iter(positions)
            return [
                AppendResult(commit.stream_id, version, tuple([next(drawn) for _ in commit.events]), status != APPENDED)
                for commit, version in zip(commits, stream_versions, strict=True)
            ]
        if status == CONFLICT:
            return OptimisticConcurrencyError(stream_id, group.expected_version(stream_id), stream_version)
        return EventIdReuseError(commits[0].stream_id, group.event_ids)

    async def _answer(
        self, connection: Connection, commit: Commit, status: int, version: int, positions: Sequence[int]
    ) -> Answer:
        if status == CONFLICT:
            return OptimisticConcurrencyError(commit.stream_id, commit.expected_version, version)
        if status != APPENDED and commit.append_id is not None:
            return await self._first_result(connection, commit) or _reuse(commit)
        if status == REUSED:
            return _reuse(commit)
        result = AppendResult(commit.stream_id, version, tuple(positions), status != APPENDED)
        if status == DIFFERENT and must_compare([commit]):
            return StoredAppend(result, await self._stored(connection, commit.event_ids))
        return result

    async def _stored(self, connection: Connection, event_ids: Sequence[UUID]) -> list[StoredEvent]:
        return stored_events(await connection.fetch(self._sql["events_of_ids"], event_ids))

    async def _first_result(self, connection: Connection, commit: Commit) -> AppendResult | None:
        """Return the first result of an append with an id, however many events it had; None if it wasn't written."""
        assert commit.append_id is not None  # noqa: S101 - it isn't called otherwise
        asked = len(commit.events) + 1
        while True:
            rows = await connection.fetch(
                self._sql["places_of_ids"], commit.stream_id, commit.append_id.event_ids(asked)
            )
            if len(rows) < asked:
                break
            asked *= 2
        positions = tuple([row["global_position"] for row in rows])
        return AppendResult(commit.stream_id, rows[-1]["stream_version"], positions, is_repeat=True) if rows else None

    async def _group(
        self, connection: Connection, group: CommitGroup, *, look_up: bool, lock_timeout: str | None
    ) -> asyncpg.Record:
        row: asyncpg.Record | None = await connection.fetchrow(
            self._sql["append_group"],
            *_columns_of_commits(group.commits),
            list(group.conditions),
            [_expected(version) for version in group.conditions.values()],
            *_columns_of_events(group.commits),
            look_up,
            lock_timeout,
        )
        assert row is not None  # noqa: S101 - the function returns one row
        return row


def _reuse(commit: Commit) -> EventIdReuseError:
    return EventIdReuseError(commit.stream_id, commit.event_ids)


def _expected(expected: ExpectedVersion) -> int:
    return _STATES[expected] if isinstance(expected, StreamState) else expected


def _texts_of_commits(commits: Sequence[Commit]) -> tuple[str, ...]:
    """The commits, each column as one text: stream, expected version, and how many events there are."""
    return (
        _SEPARATOR.join([commit.stream_id for commit in commits]),
        _SEPARATOR.join([_digits(_expected(commit.expected_version)) for commit in commits]),
        _SEPARATOR.join([_digits(len(commit.events)) for commit in commits]),
    )


def _texts_of_events(commits: Sequence[Commit]) -> tuple[str, ...]:
    """The events of all commits, each column as one text: number of the commit, and what is stored."""
    events = [event for commit in commits for event in commit.events]
    return (
        _SEPARATOR.join([_digits(number) for number, commit in enumerate(commits, 1) for _ in commit.events]),
        _SEPARATOR.join([f"{event.event_id.int:032x}" for event in events]),
        _SEPARATOR.join([event.event_type for event in events]),
        _SEPARATOR.join([_digits(event.event_version) for event in events]),
        _SEPARATOR.join([event.event_data for event in events]),
        _SEPARATOR.join([event.metadata for event in events]),
    )


def _columns_of_event(commit: Commit, event: EncodedEvent) -> tuple[object, ...]:
    """A commit of one event, column by column."""
    return (
        commit.stream_id,
        _expected(commit.expected_version),
        event.event_id,
        event.event_type,
        event.event_version,
        event.event_data,
        event.metadata,
    )


def _columns_of_commits(commits: Sequence[Commit]) -> tuple[list[object], ...]:
    """The commits, column by column: stream, expected version, and how many events there are."""
    return (
        [commit.stream_id for commit in commits],
        [_expected(commit.expected_version) for commit in commits],
        [len(commit.events) for commit in commits],
    )


def _columns_of_events(commits: Sequence[Commit]) -> Iterator[list[object]]:
    """The events of all commits, column by column: what is stored."""
    events = [astuple(event)[:-1] for commit in commits for event in commit.events]  # without is_derived
    return map(list, zip(*events, strict=True))
