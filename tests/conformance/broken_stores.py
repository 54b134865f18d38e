"""Stores that break a promise each, run against the suite by `test_suite.py`, in a process of its own."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from msgspec.structs import replace

from perdure.commit import ANY, AppendResult, Commit, CommitGroup
from perdure.errors import EventIdReuseError, OptimisticConcurrencyError
from perdure.events import NewEvent, StoredEvent
from perdure.log import LogFilter, LogPosition, Page, SeenEvent, checked_types
from perdure.page_reader import StoredType
from perdure.snapshot import Snapshot
from perdure.stores.memory import InMemoryEventStore, ListReader
from perdure.subscription import Subscription
from perdure.testing.conformance import EventStoreConformance
from perdure.transaction import Transaction
from tests.conformance import false_claims as false_claims  # noqa: PLC0414 - its stores are subclasses, too
from tests.patience import patience


class SoundStore(InMemoryEventStore):
    """Nothing is broken: the other tests fail for what their stores break."""


class NoVersionCheck(InMemoryEventStore):
    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        return await super().append(replace(commit, expected_version=ANY), tx)


class ChecksThenWrites(InMemoryEventStore):
    """Compares the version in one step, and writes in another."""

    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        if isinstance(expected := commit.expected_version, int) and not any(
            one.event_id in self._by_id for one in commit.events
        ):
            version = await self.stream_version(commit.stream_id)
            if version != expected:
                raise OptimisticConcurrencyError(commit.stream_id, expected, version)
            await asyncio.sleep(0)
            commit = replace(commit, expected_version=ANY)
        return await super().append(commit, tx)


class ForgetsIds(InMemoryEventStore):
    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        self._by_id.clear()
        return await super().append(commit, tx)


class IgnoresContents(InMemoryEventStore):
    """Takes whatever has a known id for a repeat."""

    async def append_group(self, group: CommitGroup, tx: Transaction | None = None) -> list[AppendResult]:
        commits = [
            replace(commit, events=tuple([replace(one, is_derived=True) for one in commit.events]))
            for commit in group.commits
        ]
        return await super().append_group(group._replace(commits=tuple(commits)), tx)


class ComparesTexts(InMemoryEventStore):
    """Takes what was written by other code for another event."""

    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        there = [stored for one in commit.events if (stored := self._by_id.get(one.event_id))]
        if [one.event_data for one in there] not in ([], [one.event_data for one in commit.events]):
            raise EventIdReuseError(commit.stream_id, commit.event_ids)
        return await super().append(commit, tx)


class TakesRepeatsForNew(InMemoryEventStore):
    """Doesn't say that it has found an append."""

    async def append_group(self, group: CommitGroup, tx: Transaction | None = None) -> list[AppendResult]:
        return [replace(one, is_repeat=False) for one in await super().append_group(group, tx)]


class ForgetsAppendIds(InMemoryEventStore):
    """Knows an append with an id only if it has the same number of events."""

    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        return await super().append(replace(commit, append_id=None), tx)


class ConflictsBeforeIds(InMemoryEventStore):
    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        version = await self.stream_version(commit.stream_id)
        if isinstance(expected := commit.expected_version, int) and expected != version:
            raise OptimisticConcurrencyError(commit.stream_id, expected, version)
        return await super().append(commit, tx)


class CommitsLate(InMemoryEventStore):
    """Draws positions first and lets the events be seen later, as a sequence does; readers look at positions only."""

    def __init__(self) -> None:
        super().__init__()
        self._visible: list[StoredEvent] = []

    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        known = {*self._by_id}
        result = await super().append(commit, tx)
        events = [self._by_id[one.event_id] for one in commit.events if one.event_id not in known]
        if result.stream_version % 3 == 0:
            await asyncio.sleep(0.002)
        self._visible += events
        self.changes.announce()
        return result

    async def log_page(
        self, from_position: int, limit: int, where: LogFilter, seen: SeenEvent | None = None, *, up_to: int = 0
    ) -> Page:
        self.check_usable()
        late = {stored.event_id for stored in self._log} - {stored.event_id for stored in self._visible}
        page = await super().log_page(from_position, limit, where, seen, up_to=up_to)
        visible = [stored for stored in page.events if stored.event_id not in late]
        return Page(visible, visible[-1].global_position if visible else from_position)


class ReadsFromOnwards(InMemoryEventStore):
    """Off by one: reads from a position, not after it."""

    async def log_page(
        self, from_position: int, limit: int, where: LogFilter, seen: SeenEvent | None = None, *, up_to: int = 0
    ) -> Page:
        page = await super().log_page(max(0, from_position - 1), limit, where, seen, up_to=up_to)
        return page if page.position > from_position else Page(page.events, from_position)


class RunsAhead(InMemoryEventStore):
    """Counts what was read as delivered."""

    def subscribe(self, *arguments: Any, **settings: Any) -> Subscription:
        subscription = super().subscribe(*arguments, **settings)
        subscription.__class__ = _AheadOfItself
        return subscription


class _AheadOfItself(Subscription):
    @property
    def position(self) -> int:
        return self._read_up_to.position


class NeverTells(InMemoryEventStore):
    """Doesn't wake those who follow, who then don't look for themselves either."""

    def subscribe(self, *arguments: Any, **settings: Any) -> Subscription:
        subscription = super().subscribe(*arguments, **settings)
        subscription._log.head.wait = _sleep_forever  # type: ignore[method-assign]  # what is broken here
        return subscription


async def _sleep_forever(place: LogPosition, *, held_back: bool, mark: int, timeout: float) -> None:
    await asyncio.Event().wait()


class IgnoresFilters(InMemoryEventStore):
    async def log_page(self, from_position: int, limit: int, where: LogFilter, *seen: Any, up_to: int = 0) -> Page:
        return await super().log_page(from_position, limit, LogFilter(), *seen, up_to=up_to)


class ReadsOneOfSeveralCategories(InMemoryEventStore):
    async def log_page(self, from_position: int, limit: int, where: LogFilter, *seen: Any, up_to: int = 0) -> Page:
        one = where._replace(categories=where.categories and where.categories[:1])
        return await super().log_page(from_position, limit, one, *seen, up_to=up_to)


class TakesAStreamForItsCategory(InMemoryEventStore):
    async def log_page(self, from_position: int, limit: int, where: LogFilter, *seen: Any, up_to: int = 0) -> Page:
        if where.stream_id:
            where = where._replace(stream_id=None, categories=(where.stream_id.partition("-")[0],))
        return await super().log_page(from_position, limit, where, *seen, up_to=up_to)


class FiltersPagesOfStreams(InMemoryEventStore):
    async def read_stream(self, *page: Any, event_types: Any = None, **rest: Any) -> list[StoredEvent]:
        found = await super().read_stream(*page, **rest)
        return found if event_types is None else [one for one in found if one.event_type in checked_types(event_types)]


class ReadsBackwardsFromOnwards(InMemoryEventStore):
    """Off by one: reads backwards from what it should stop before."""

    def __init__(self) -> None:
        super().__init__()
        self.reader = _BackwardsFromOnwards(self._log, self._streams, self._by_id)


class _BackwardsFromOnwards(ListReader):
    async def stream_page_backwards(self, stream_id: str, before_version: int, *rest: Any) -> list[StoredEvent]:
        return await super().stream_page_backwards(stream_id, before_version + 1, *rest)

    async def log_page_backwards(self, before_position: int, *rest: Any, up_to: int = 0) -> list[StoredEvent]:
        return await super().log_page_backwards(before_position + 1, *rest, up_to=up_to)


class IgnoresFiltersBackwards(InMemoryEventStore):
    async def log_page_backwards(self, before_position: int, limit: int, where: Any, *, up_to: int = 0) -> Any:
        return await super().log_page_backwards(before_position, limit, LogFilter(where.categories), up_to=up_to)


class MissesTheNewestBackwards(InMemoryEventStore):
    async def log_page_backwards(
        self, before_position: int, limit: int, where: LogFilter, *, up_to: int = 0
    ) -> list[StoredEvent]:
        return (await super().log_page_backwards(before_position, limit + 1, where, up_to=up_to))[1:]


class LeavesOutTheBeginningOfARange(InMemoryEventStore):
    async def log_page(self, from_position: int, limit: int, where: LogFilter, *seen: Any, up_to: int = 0) -> Page:
        where = where._replace(recorded_from=where.recorded_from and where.recorded_from + timedelta(microseconds=1))
        return await super().log_page(from_position, limit, where, *seen, up_to=up_to)


class TakesTheEndOfARange(InMemoryEventStore):
    async def log_page(self, from_position: int, limit: int, where: LogFilter, *seen: Any, up_to: int = 0) -> Page:
        end = where.recorded_before and min(where.recorded_before, datetime(9999, 1, 1, tzinfo=UTC))
        where = where._replace(recorded_before=end and end + timedelta(microseconds=1))
        return await super().log_page(from_position, limit, where, *seen, up_to=up_to)


class ComparesHalfOfTheCorrelationId(InMemoryEventStore):
    """As an index may that holds the beginning only."""

    async def log_page(self, from_position: int, limit: int, where: LogFilter, *seen: Any, up_to: int = 0) -> Page:
        page = await super().log_page(from_position, limit, where._replace(correlation_id=None), *seen, up_to=up_to)
        start = (where.correlation_id or "")[:64]
        page.events[:] = [one for one in page.events if (one.metadata.correlation_id or "").startswith(start)]
        return page


class DropsMetadata(InMemoryEventStore):
    def encode(self, stream_id: str, expected_version: Any, events: Any, append_id: Any = None) -> Commit:
        commit = super().encode(stream_id, expected_version, events, append_id)
        bare = '{"timestamp":"2020-01-01T00:00:00Z"}'
        return replace(commit, events=tuple(replace(one, metadata=bare) for one in commit.events))


class ChecksNothing(InMemoryEventStore):
    """Takes whatever stream id it is given."""

    def encode(self, stream_id: str, expected_version: Any, events: Any, append_id: Any = None) -> Commit:
        commit = super().encode(
            "note-1", ANY, [one for one in events if isinstance(one, NewEvent)] or events, append_id
        )
        return replace(commit, stream_id=stream_id, expected_version=expected_version)


class WritesHalf(InMemoryEventStore):
    """Writes the events before it sees that they conflict."""

    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        try:
            return await super().append(commit, tx)
        except OptimisticConcurrencyError:
            await super().append(replace(commit, expected_version=ANY), tx)
            raise


class KeepsTheLastWrittenSnapshot(InMemoryEventStore):
    async def write_snapshot(self, snapshot: Snapshot) -> None:
        self._snapshots.pop(snapshot.stream_id, None)
        await super().write_snapshot(snapshot)


class TrustsSnapshots(InMemoryEventStore):
    """Doesn't compare a snapshot with the log."""

    async def read_snapshot(self, stream_id: str, *, tx: Transaction | None = None) -> Snapshot | None:
        await super().read_snapshot(stream_id, tx=tx)
        return self._snapshots.get(stream_id)


class MixesVersions(InMemoryEventStore):
    """Counts types, whatever the version."""

    async def stored_types(self) -> list[StoredType]:
        kinds: dict[str, StoredType] = {}
        for one in await super().stored_types():
            kinds.setdefault(one.event_type, one)
        return [*kinds.values()]


class SamplesTheOldest(InMemoryEventStore):
    async def sample_events(self, stored_type: StoredType, limit: int) -> list[StoredEvent]:
        return (await super().sample_events(stored_type, limit))[:limit]


class ForgetsVersionsOfSchemas(InMemoryEventStore):
    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        events = tuple(replace(one, event_version=1) for one in commit.events)
        return await super().append(replace(commit, events=events), tx)


class SharesItsEvents(InMemoryEventStore):
    """Gives away the very object that the next reader gets, too."""

    async def read_event(self, event_id: UUID, *, tx: Transaction | None = None) -> StoredEvent | None:
        await super().read_event(event_id, tx=tx)
        return self._by_id.get(event_id)


class AppendsOneByOne(InMemoryEventStore):
    """Takes a group for so many appends."""

    async def append_group(self, group: CommitGroup, tx: Transaction | None = None) -> list[AppendResult]:
        return [
            (await super(AppendsOneByOne, self).append_group(CommitGroup((one,), group.conditions), tx))[0]
            for one in group.commits
        ]


class IgnoresConditions(InMemoryEventStore):
    async def append_group(self, group: CommitGroup, tx: Transaction | None = None) -> list[AppendResult]:
        return await super().append_group(group._replace(conditions={}), tx)


class SortsGroups(InMemoryEventStore):
    """Writes in the order of its locks."""

    async def append_group(self, group: CommitGroup, tx: Transaction | None = None) -> list[AppendResult]:
        commits = tuple(sorted(group.commits, key=lambda commit: commit.stream_id))
        return await super().append_group(group._replace(commits=commits), tx)


class ConflictsBeforeIdsOfGroups(InMemoryEventStore):
    async def append_group(self, group: CommitGroup, tx: Transaction | None = None) -> list[AppendResult]:
        for commit in group.commits if len(group.commits) > 1 else ():
            version = await self.stream_version(commit.stream_id)
            if isinstance(expected := commit.expected_version, int) and expected != version:
                raise OptimisticConcurrencyError(commit.stream_id, expected, version)
        return await super().append_group(group, tx)


class ForgetsUpTo(InMemoryEventStore):
    """Shows an event from the second look on, whatever the reader must include."""

    def __init__(self) -> None:
        super().__init__()
        self._shown = 0

    async def log_page(
        self, from_position: int, limit: int, where: LogFilter, seen: SeenEvent | None = None, *, up_to: int = 0
    ) -> Page:
        page = await super().log_page(from_position, limit, where, seen)
        shown, self._shown = self._shown, len(self._log)
        events = [stored for stored in page.events if stored.global_position <= shown]
        return Page(events, max(from_position, min(page.position, shown)))


class StaysOpen(InMemoryEventStore):
    async def close(self) -> None:
        pass


class _Suite(EventStoreConformance):
    store_class: type[InMemoryEventStore]

    @pytest.fixture
    async def store(self, monkeypatch: pytest.MonkeyPatch) -> InMemoryEventStore:
        for part in () if self.store_class is SoundStore else ("subscriptions", "concurrency"):
            monkeypatch.setattr(f"perdure.testing.conformance.{part}.PATIENCE", patience(0.5))
        return self.store_class()


for _store in [*InMemoryEventStore.__subclasses__()]:
    _tests = type(f"Test{_store.__name__}", (_Suite,), {"store_class": _store})
    globals()[_tests.__name__] = pytest.mark.timeout(600)(_tests) if _store is SoundStore else _tests
