"""Stores that break a promise each, for the checker to find out."""

import asyncio
from uuid import uuid4

from msgspec.structs import replace

from perdure.commit import ANY, AppendResult, CommitGroup
from perdure.errors import OptimisticConcurrencyError, OutcomeUnknownError
from perdure.events import StoredEvent
from perdure.log import LogFilter, Page, SeenEvent
from perdure.stores.memory import InMemoryEventStore
from perdure.transaction import Transaction


class NoVersionCheck(InMemoryEventStore):
    async def append_group(self, group: CommitGroup, tx: Transaction | None = None) -> list[AppendResult]:
        commits = tuple(replace(commit, expected_version=ANY) for commit in group.commits)
        return await super().append_group(group._replace(commits=commits), tx)


class Drops(InMemoryEventStore):
    """Acknowledges an event and loses it."""

    def __init__(self) -> None:
        super().__init__()
        self._appended = 0

    async def append_group(self, group: CommitGroup, tx: Transaction | None = None) -> list[AppendResult]:
        self._appended += 1
        if self._appended % 10:
            return await super().append_group(group, tx)
        return [
            AppendResult(commit.stream_id, 1, tuple(len(self._log) + 1 + n for n, _ in enumerate(commit.events)))
            for commit in group.commits
        ]


class Doubles(InMemoryEventStore):
    """Forgets ids, so that a repeat is written once more, with a new id as the old one is taken."""

    async def append_group(self, group: CommitGroup, tx: Transaction | None = None) -> list[AppendResult]:
        if any(event_id in self._by_id for event_id in group.event_ids):
            commits = tuple(
                replace(
                    commit,
                    expected_version=ANY,
                    events=tuple(replace(event, event_id=uuid4()) for event in commit.events),
                )
                for commit in group.commits
            )
            group = group._replace(commits=commits)
        return await super().append_group(group, tx)


class Reorders(InMemoryEventStore):
    """Exchanges the last two events when it is read again."""

    async def log_page(
        self, from_position: int, limit: int, where: LogFilter, seen: SeenEvent | None = None, *, up_to: int = 0
    ) -> Page:
        page = await super().log_page(from_position, limit, where, seen, up_to=up_to)
        if len(page.events) > 1:
            page.events[-2:] = [page.events[-1], page.events[-2]]
        return page


class Rewrites(InMemoryEventStore):
    async def log_page(
        self, from_position: int, limit: int, where: LogFilter, seen: SeenEvent | None = None, *, up_to: int = 0
    ) -> Page:
        page = await super().log_page(from_position, limit, where, seen, up_to=up_to)
        for stored in page.events:
            if stored.global_position % 10 == 0:
                stored.event_data = '{"text":"rewritten"}'
        return page


class ConflictsBeforeIds(InMemoryEventStore):
    async def append_group(self, group: CommitGroup, tx: Transaction | None = None) -> list[AppendResult]:
        for commit in group.commits:
            version = await self.stream_version(commit.stream_id)
            if isinstance(expected := commit.expected_version, int) and expected != version:
                raise OptimisticConcurrencyError(commit.stream_id, expected, version)
        return await super().append_group(group, tx)


class WritesThoughItRefuses(InMemoryEventStore):
    async def append_group(self, group: CommitGroup, tx: Transaction | None = None) -> list[AppendResult]:
        try:
            return await super().append_group(group, tx)
        except OptimisticConcurrencyError:
            commits = tuple(replace(commit, expected_version=ANY) for commit in group.commits)
            await super().append_group(group._replace(commits=commits), tx)
            raise


class WritesHalf(InMemoryEventStore):
    """Loses the connection in the middle of an append, for ever."""

    halves = 0

    async def append_group(self, group: CommitGroup, tx: Transaction | None = None) -> list[AppendResult]:
        if len(group.event_ids) > 1:
            commit = group.commits[0]
            half = replace(commit, events=commit.events[:1], expected_version=ANY)
            if commit.events[0].event_id not in self._by_id:
                await super().append_group(CommitGroup((half,), {}), tx)
                self.halves += 1
            raise OutcomeUnknownError(group.event_ids)
        return await super().append_group(group, tx)


class Late(InMemoryEventStore):
    """Draws positions first and lets some events be seen later, as a sequence does; readers look at positions only."""

    def __init__(self) -> None:
        super().__init__()
        self._hidden: set[int] = set()

    async def append_group(self, group: CommitGroup, tx: Transaction | None = None) -> list[AppendResult]:
        known = {*self._by_id}
        results = await super().append_group(group, tx)
        positions = {self._by_id[one].global_position for one in group.event_ids if one not in known}
        if results[0].stream_version % 3 == 0:
            self._hidden |= positions
            await asyncio.sleep(0.002)
            self._hidden -= positions
            self.changes.announce()
        return results

    async def log_page(
        self, from_position: int, limit: int, where: LogFilter, seen: SeenEvent | None = None, *, up_to: int = 0
    ) -> Page:
        page = await super().log_page(from_position, limit, where, seen, up_to=up_to)
        visible = [stored for stored in page.events if stored.global_position not in self._hidden]
        return Page(visible, visible[-1].global_position if visible else from_position)


class StandsStill(InMemoryEventStore):
    """Gives its readers nothing beyond a position, though those who look backwards see the end."""

    stands_still = True

    async def log_page(
        self, from_position: int, limit: int, where: LogFilter, seen: SeenEvent | None = None, *, up_to: int = 0
    ) -> Page:
        if self.stands_still and from_position >= 50:
            return Page([], from_position)
        return await super().log_page(from_position, min(limit, 50), where, seen, up_to=up_to)


class SeesTwice(InMemoryEventStore):
    """Off by one: reads from a position, not after it."""

    async def log_page(
        self, from_position: int, limit: int, where: LogFilter, seen: SeenEvent | None = None, *, up_to: int = 0
    ) -> Page:
        page = await super().log_page(max(0, from_position - 1), limit, where, seen, up_to=up_to)
        return page if page.position > from_position else Page([], from_position)


class Invents(InMemoryEventStore):
    """Raises what isn't an error of ours, once: it ends a writer, and the others must come to their number."""

    _has_raised = False

    async def append_group(self, group: CommitGroup, tx: Transaction | None = None) -> list[AppendResult]:
        results = await super().append_group(group, tx)
        if results[0].stream_version == 5 and not self._has_raised:
            self._has_raised = True
            raise KeyError("stream")
        return results


class DrawsBackwards(InMemoryEventStore):
    """Its positions don't grow with time: an event may be put before those that are known."""

    async def append_group(self, group: CommitGroup, tx: Transaction | None = None) -> list[AppendResult]:
        results = await super().append_group(group, tx)
        return [
            AppendResult(one.stream_id, one.stream_version, tuple(map(_backwards, one.global_positions)))
            for one in results
        ]

    async def read_all_events(self, *arguments: object, **where: object) -> list[StoredEvent]:
        events = await super().read_all_events()
        for stored in events:
            stored.global_position = _backwards(stored.global_position)
        return events[::-1]


def _backwards(position: int) -> int:
    return 10_000_000 - position
