"""Commands of this process on one aggregate that take turns: decided on one state in memory, committed together.

Without turns, each of them loads, decides, and meets the others in conflicts. Here they form a line, for as long as
there are any. What keeps them apart from each other:

1. The state is what stored events make. No action sees it: each is given a copy, and what it decided is encoded at once
   and applied to the state as it will be read. So an action that raises leaves nothing, whatever it did before.
2. One commit is under way at a time, under one expected version, and nothing is decided meanwhile. So whatever becomes
   of it concerns those alone that are in it: all is known before the next one decides.
3. Whenever a commit doesn't simply succeed, the state is folded anew, and those in it that may go on decide again, in
   order. Nobody decides again while the outcome is unknown: the same events, with their ids, are sent until it isn't.
4. An answer is given only once something that began after the question has confirmed the state behind it: the commit,
   or a load. So "nothing to do" and broken rules are as true as without turns.
5. Others in the event loop run every 20 ms or so, between two commands. The state is out of their reach, and what they
   add waits for the next commit.
"""

from __future__ import annotations

import asyncio
from asyncio import gather, sleep
from collections import deque
from collections.abc import Sequence
from contextvars import Context
from datetime import UTC, datetime
from functools import partial
from typing import Final, Generic, TypeVar
from uuid import UUID

from msgspec.structs import replace

from perdure.aggregate import AggregateRoot
from perdure.commit import AppendResult, Commit, EncodedEvent
from perdure.errors import (
    EventIdReuseError,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
    PerdureError,
    StoreClosedError,
    StoreOverloadedError,
    StoreUnavailableError,
)
from perdure.events import StoredEvent
from perdure.observation import Append, Execute
from perdure.repository.loader import Loader
from perdure.repository.pace import Pace
from perdure.repository.queued_command import Turn
from perdure.repository.snapshotter import SnapshotWriter
from perdure.store import EventStore

A = TypeVar("A", bound=AggregateRoot)

BATCH_TURNS: Final = 256
"""How many turns may share a commit."""
BATCH_BYTES: Final = 1024 * 1024
"""How many bytes a commit may hold, unless it is that of a single turn."""


class Turns(Generic[A]):
    """The lines of a repository: one in each event loop for each aggregate at which somebody waits there.

    Attributes:
        conflicts_retried: how many conflicts were answered by deciding again.

    Args:
        store: where the events go.
        loader: makes the state.
        snapshots: told of each commit, if there are to be snapshots.
    """

    def __init__(self, store: EventStore, loader: Loader[A], snapshots: SnapshotWriter[A] | None) -> None:
        self.conflicts_retried = 0
        self.store = store
        self.loader = loader
        self.snapshots = snapshots
        self._lines: dict[tuple[asyncio.AbstractEventLoop, str], _Line[A]] = {}

    async def take(self, turn: Turn[A], observed: Execute) -> AppendResult | None:
        """Stand in line, and wait for the outcome."""
        key = (asyncio.get_running_loop(), turn.stream_id)
        line = self._lines.get(key)
        if line is None or line.task.done():
            line = self._lines[key] = _Line(self, turn)
            line.task.add_done_callback(partial(self._forget, key, line))
        else:
            line.waiting.append(turn)
        try:
            return await turn.answer()
        finally:
            observed.attempts = turn.attempts

    def _forget(self, key: tuple[asyncio.AbstractEventLoop, str], line: _Line[A], task: asyncio.Task[None]) -> None:
        if self._lines.get(key) is line:
            del self._lines[key]
        line.give_up(asyncio.CancelledError() if task.cancelled() else task.exception())


class _Line(Generic[A]):
    """Those who wait at one aggregate, and its state as long as there are any.

    Attributes:
        waiting: whose turn has not come, or comes again.
        task: serves them until nobody waits.
    """

    def __init__(self, turns: Turns[A], first: Turn[A]) -> None:
        self.waiting: deque[Turn[A]] = deque((first,))
        self._batch: list[Turn[A]] = []
        self._turns = turns
        self._store = turns.store
        self._aggregate_id = first.stream_id.partition("-")[2]
        self._state: A | None = None
        """What the events make, those of the commit under way included; None when it must be folded anew."""
        self.task = asyncio.create_task(self._run(), context=Context())

    def give_up(self, error: BaseException | None) -> None:
        """Answer who is left, when the task has ended because of an error."""
        if error is not None:
            for turn in (*self._batch, *self.waiting):
                turn.fail(error)

    async def _run(self) -> None:
        while batch := self._next():
            self._batch = batch
            # In the context of the first: handlers, too, may depend on it, as on the precision of decimals.
            serving = asyncio.create_task(self._serve(batch), context=batch[0].context.copy())
            # Those whom it answers run before this goes on: if they come again at once, the state is still there.
            self.waiting.extendleft(reversed(await serving))
        self._state = None  # however long somebody keeps an error, whose frames lead here

    def _next(self) -> list[Turn[A]]:
        batch: list[Turn[A]] = []
        while self.waiting and len(batch) < BATCH_TURNS:
            if batch and (batch[0].is_alone or self.waiting[0].is_alone):
                break
            turn = self.waiting.popleft()
            if not turn.is_over:
                turn.begin()
                batch.append(turn)
        return batch

    async def _serve(self, batch: list[Turn[A]]) -> list[Turn[A]]:
        """Let them decide, commit it, and answer. Returns those who must decide again, or still, in order."""
        is_confirmed = self._state is None
        if self._state is None:
            try:
                self._state = await self._turns.loader.load(self._aggregate_id)
            except Exception as error:  # noqa: BLE001 - whatever it is, each of them would have met it
                for turn in batch:
                    turn.fail(error)
                return []
        await self._look_up(batch)
        version = self._state.stream_version
        decided, rest = await self._decide(batch, is_confirmed=is_confirmed)
        commit = _joined(decided)
        if commit is None:
            if is_confirmed or not decided:
                return rest
            self._state = None
            return batch
        outcome = await self._append(commit, decided)
        if isinstance(outcome, AppendResult) and outcome.stream_version == version + len(commit.events):
            if await self._is_first_hand(version, commit, decided):
                await self._answer(decided, outcome)
                return rest
            self._state = None
            await self._answer([turn for turn in decided if turn.commit is not None], outcome)
            return [*[turn for turn in decided if turn.commit is None], *rest]
        self._state = None
        return [*await self._after_failure(decided, outcome), *rest]

    async def _look_up(self, batch: list[Turn[A]]) -> None:
        """Answer those whose command was done before: after loading, so what isn't found isn't in the state."""
        named = [(turn, turn.command) for turn in batch if turn.command is not None]
        if not named:
            return
        found = await gather(*[command.earlier_result(self._store) for _, command in named], return_exceptions=True)
        for (turn, _), result in zip(named, found, strict=True):
            if isinstance(result, BaseException):
                turn.fail(result)
            elif result is not None:
                turn.succeed(result)

    async def _decide(self, batch: list[Turn[A]], *, is_confirmed: bool) -> tuple[list[Turn[A]], list[Turn[A]]]:
        """Let each decide on what those before it leave. Returns who has, and for whom there is no room or time."""
        decided: list[Turn[A]] = []
        event_ids: set[UUID] = set()
        size = 0
        pace = Pace()
        for number, turn in enumerate(batch):
            if decided and pace.is_over:
                return decided, batch[number:]
            await pace.keep()
            if turn.is_over:
                continue
            # The same command twice: the second gets the result of the first, and mustn't act on what that has done.
            is_repeat = turn.command is not None and turn.command.event_id(0) in event_ids
            if self._state is None or is_repeat:
                return decided, batch[number:]
            turn.decide(self._state, self._store)
            if turn.commit is not None:
                size += turn.commit.size
                # The same ids twice: the second must see what becomes of the first.
                if event_ids and (size > BATCH_BYTES or not event_ids.isdisjoint(turn.event_ids)):
                    return decided, batch[number:]
                event_ids.update(turn.event_ids)
                self._apply(self._state, turn.commit)
            elif is_confirmed and not event_ids:
                turn.succeed(None)  # what it was decided on needs no commit
            decided.append(turn)
        return decided, []

    def _apply(self, state: A, commit: Commit) -> None:
        now = datetime.now(UTC)
        try:
            for event in commit.events:
                state.apply_stored_event(event.stored(commit.stream_id, state.stream_version + 1, 0, now))
        except Exception:  # noqa: BLE001 - the next load meets it, too, and tells
            self._state = None

    async def _append(self, commit: Commit, decided: list[Turn[A]]) -> AppendResult | Exception:
        """Send the commit until it is known what became of it, or nobody waits for that any more."""
        waiting = [turn for turn in decided if turn.commit is not None]
        outcome = await self._send(commit, waiting)
        doubt = _doubt(outcome, None)
        while doubt is not None:
            self._state = None
            for turn in waiting:
                if turn.is_out_of_attempts:
                    turn.fail(doubt)
            waiting = [turn for turn in waiting if not turn.is_over]
            if not waiting:
                break
            await sleep(_shortest_pause(waiting))
            outcome = await self._send(commit, waiting)
            doubt = _doubt(outcome, doubt)
        for turn in waiting:
            turn.is_in_doubt = False
        return outcome

    async def _send(self, commit: Commit, turns: list[Turn[A]]) -> AppendResult | Exception:
        for turn in turns:
            turn.attempts += 1
            turn.is_in_doubt = True
        try:
            with Append(self._store, commit.stream_id, events=len(commit.events)) as observed:
                result = await self._store.append(commit)
                observed.stream_version, observed.global_position = result.stream_version, result.global_position
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told
            return error
        return result

    async def _is_first_hand(self, version: int, commit: Commit, decided: list[Turn[A]]) -> bool:
        """Whether what stands there now is what was decided here, so that the state is right.

        Ids that follow from commands may have been written by another attempt of the same commands, which may have
        decided otherwise. An id that was drawn here shows that it wasn't so.
        """
        if any(turn.commit is not None and turn.command is None for turn in decided):
            return True
        try:
            stored = await self._store.read_stream(commit.stream_id, version, len(commit.events))
        except Exception:  # noqa: BLE001 - then the state is folded anew, and that tells
            return False
        return [_contents(one) for one in stored] == [_contents(one) for one in commit.events]

    async def _answer(self, decided: list[Turn[A]], result: AppendResult) -> None:
        """Give each its part of the result, or the error of its own, after the snapshot that may be due."""
        try:
            if self._turns.snapshots is not None and self._state is not None:
                await self._turns.snapshots.write_if_due(self._state)
        finally:
            places = result.global_positions
            version = result.stream_version - len(places)
            for turn in decided:
                count = len(turn.event_ids)
                version, own, places = version + count, places[:count], places[count:]
                turn.succeed(AppendResult(result.stream_id, version, own) if own else None)

    async def _after_failure(self, decided: list[Turn[A]], outcome: AppendResult | Exception) -> list[Turn[A]]:
        """Answer those for whom the failure is final. Returns the others, after a pause if somebody was faster."""
        is_shared = sum([turn.commit is not None for turn in decided]) > 1
        again: list[Turn[A]] = []
        overtaken: list[Turn[A]] = []
        for turn in decided:
            if turn.is_over:
                continue
            if turn.commit is None:
                again.append(turn)
            elif isinstance(outcome, OptimisticConcurrencyError) and not turn.is_out_of_attempts:
                again.append(turn)
                overtaken.append(turn)
            elif is_shared and (isinstance(outcome, AppendResult) or _may_be_of_one(outcome)):
                turn.is_alone = True
                again.append(turn)
            else:
                await self._answer_alone(turn, outcome)
        if overtaken:
            self._turns.conflicts_retried += len(overtaken)
            await sleep(_shortest_pause(overtaken))
        return again

    async def _answer_alone(self, turn: Turn[A], outcome: AppendResult | Exception) -> None:
        """Answer a turn of whose commit it is known what became, perhaps by another attempt of the same command."""
        earlier = outcome if isinstance(outcome, AppendResult) else None
        if turn.command is not None and isinstance(outcome, AppendResult | EventIdReuseError):
            try:
                earlier = await turn.command.earlier_result(self._store)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is told
                outcome, earlier = error, None
        if isinstance(outcome, Exception) and earlier is None:
            turn.fail(outcome)
        else:
            turn.succeed(earlier)


def _contents(event: StoredEvent | EncodedEvent) -> tuple[object, ...]:
    return (event.event_id, event.event_type, event.event_version, event.event_data)


def _doubt(outcome: AppendResult | Exception, before: Exception | None) -> Exception | None:
    """Why it isn't known what became of a commit; None when it is. Before this try, it was in doubt for that reason."""
    if isinstance(outcome, OutcomeUnknownError):
        return outcome
    # These looked the ids up. That anything else wrote nothing says nothing of the earlier try.
    if before is None or isinstance(outcome, AppendResult | OptimisticConcurrencyError | EventIdReuseError):
        return None
    return outcome


def _may_be_of_one(error: Exception) -> bool:
    """Whether nothing was written, and perhaps because of a single turn, from which the others mustn't suffer."""
    of_all = (OptimisticConcurrencyError, StoreUnavailableError, StoreOverloadedError, StoreClosedError)
    return isinstance(error, PerdureError) and not isinstance(error, (*of_all, OutcomeUnknownError))


def _shortest_pause(turns: Sequence[Turn[A]]) -> float:
    return min([turn.retry.delay(turn.attempts) for turn in turns])


def _joined(turns: Sequence[Turn[A]]) -> Commit | None:
    """What they have decided as one commit; None when none of them raised an event."""
    commits = [turn.commit for turn in turns if turn.commit is not None]
    if len(commits) < 2:
        return commits[0] if commits else None
    events = tuple([event for commit in commits for event in commit.events])
    return replace(commits[0], events=events, size=sum([commit.size for commit in commits]))
