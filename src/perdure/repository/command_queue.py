"""Queues the commands of this process on one aggregate: decided one after the other in memory, committed together.

Without a queue, each command loads the aggregate, decides, and meets the others in conflicts. With one:

    execute() ─┐                    ┌───────────────── again: conflict, or no room in this commit ────────┐
    execute() ─┼─▶ waiting ─▶ batch ─▶ 1 load ─▶ 2 look up ─▶ 3 decide ─▶ 4 commit ─▶ 5 answer ─▶ callers │
    execute() ─┘      ▲                                                                                   │
                      └───────────────────────────────────────────────────────────────────────────────────┘

A queue exists while commands wait at its aggregate. Its task serves one batch at a time:

1. *Load*: fold the state from the log, unless the last commit has left it in memory.
2. *Look up*: answer commands whose command id shows that they were executed before.
3. *Decide*: call each action with a copy of the state, encode the events that it raised, and apply them to the state.
4. *Commit*: append the events of all of them at once, under one expected version.
5. *Answer*: give each caller its part of the result, or the error that its action raised.

The state in memory is `ABSENT`, `LOADED` or `KEPT` (`StateStatus`):

            load              commit as decided, or none      commit as decided
    ABSENT ──────▶ LOADED ─────────────────────────────▶ KEPT ─────────────────▶ KEPT
       ▲              │                                    │
       └──────────────┴─────── anything else ──────────────┘

What keeps commands apart from each other:

- The state is what stored events make. Each action gets a copy of it, so an action that raises leaves nothing.
- One commit is under way at a time, and nothing is decided meanwhile. Its outcome concerns the commands in it alone,
  and is known before the next one decides.
- Whenever a commit doesn't simply succeed, the state is dropped, and commands that may go on decide again, in order.
  While the outcome is unknown, none decides again: the same events are sent with their ids until it is known.
- No answer comes from memory alone. "Nothing to do" and broken rules are answered after a commit or a load that began
  after the call. So they are as true as without a queue.
- A failure that may be the fault of one command is found by committing each command alone.
- The event loop serves other tasks every 20 ms or so, between two commands. The state is out of their reach, and the
  commands that they add wait for the next commit.
Why it is so: docs/adr/0023.
"""

from __future__ import annotations

import asyncio
from asyncio import gather, sleep
from collections import deque
from collections.abc import Sequence
from contextlib import nullcontext
from contextvars import Context
from typing import Final, Generic, TypeAlias, TypeVar
from uuid import UUID

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
from perdure.observation import Append
from perdure.outcome import AppendOutcome
from perdure.repository.pace import Pace
from perdure.repository.queue_state import QueueState, StateStatus
from perdure.repository.queued_command import QueuedCommand, joined
from perdure.repository.turn import Turn
from perdure.store import EventStore

A = TypeVar("A", bound=AggregateRoot)

QueueKey: TypeAlias = tuple[asyncio.AbstractEventLoop, type, str]
"""The event loop, the class of the aggregate, and its stream."""

BATCH_COMMANDS: Final = 256
"""How many commands may share a commit."""
BATCH_BYTES: Final = 1024 * 1024
"""How many bytes a commit may hold, unless it is that of a single command."""


class CommandQueue(Generic[A]):
    """The commands that wait at one aggregate, and its state as long as there are any.

    Until `serve` is called, a lone caller is under way. Then a task serves the commands that wait until none is left.
    Each lone caller makes one, so making one must cost next to nothing.

    Attributes:
        waiting: the commands that haven't been decided, or must decide again.
        task: serves them until none waits; None while a lone caller is under way.
        pausing: the pause that is under way after a conflict.
    """

    __slots__ = ("_batch", "_key", "_queues", "_state", "_store", "pausing", "task", "waiting")

    def __init__(self, queues: dict[QueueKey, CommandQueue[A]], key: QueueKey, store: EventStore) -> None:
        self.waiting: deque[QueuedCommand[A] | Turn] = deque()
        self.task: asyncio.Task[None] | None = None
        self.pausing: asyncio.Task[None] | None = None
        self._queues = queues
        self._key = key
        self._store = store

    @property
    def has_ended(self) -> bool:
        """Whether no command may be added any more."""
        return self.task is not None and self.task.done()

    def add(self, command: QueuedCommand[A] | Turn) -> None:
        """Add a command. It ends a pause that is under way, because it would have to wait for its end."""
        self.waiting.append(command)
        if self.pausing is not None:
            self.pausing.cancel()

    async def pause(self, seconds: float) -> None:
        """Pause after a conflict. See `pause_together`."""
        await pause_together([self], seconds)

    def serve(self) -> None:
        """Begin to serve the commands that wait; if no caller waits any more, remove the queue."""
        loop, _, stream_id = self._key
        if loop.is_closed() or all(command.is_answered for command in self.waiting):
            self._remove()
            return
        self._batch: list[QueuedCommand[A]] = []
        self._state: QueueState[A] = QueueState(stream_id.partition("-")[2])
        self.task = loop.create_task(self._run(), context=Context())
        self.task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._remove()
        self.give_up(asyncio.CancelledError() if task.cancelled() else task.exception())

    def _remove(self) -> None:
        if self._queues.get(self._key) is self:
            del self._queues[self._key]

    def give_up(self, error: BaseException | None) -> None:
        """Answer the commands that are left when the task has ended by an error."""
        if error is not None:
            for command in (*self._batch, *self.waiting):
                command.fail(error)

    async def _run(self) -> None:
        while self.waiting:
            if isinstance(first := self.waiting[0], Turn):
                self.waiting.popleft()
                await first.take()
                self._state.drop()  # the stream has other events now
                continue
            self._batch = batch = self._next_batch()
            if not batch:
                continue
            # In the context of the first: handlers, too, may depend on it, as on the precision of decimals.
            serving = asyncio.create_task(self._serve(batch), context=batch[0].context.copy())
            # The answered callers run before this continues: if they come again at once, the state is still there.
            for command in reversed(await serving):
                command.wait_for_decision()
                self.waiting.appendleft(command)
        self._state.drop()  # a traceback that a caller keeps leads here, and would keep it alive

    def _next_batch(self) -> list[QueuedCommand[A]]:
        batch: list[QueuedCommand[A]] = []
        while self.waiting and len(batch) < BATCH_COMMANDS:
            command = self.waiting[0]
            if isinstance(command, Turn) or (batch and (batch[0].is_alone or command.is_alone)):
                break
            self.waiting.popleft()
            if command.is_late:
                command.give_up()
            if not command.is_answered:
                command.begin()
                batch.append(command)
        return batch

    async def _serve(self, batch: list[QueuedCommand[A]]) -> list[QueuedCommand[A]]:
        """Serve a batch in the five steps above. Return the commands that must decide again, or still, in order."""
        # 1. Load the state.
        try:
            await self._state.load(batch[0].loader)
        except Exception as error:  # noqa: BLE001 - whatever it is, each of them would have got it
            for command in batch:
                command.fail(error)
            return []
        # 2. Look up which commands were executed before: after loading, so what isn't found isn't in the state.
        await self._look_up(batch)
        # 3. Let the others decide.
        version = self._state.version
        is_loaded = self._state.status is StateStatus.LOADED
        decided, rest = await self._decide(batch)
        for command in rest:
            command.wait_for_decision()
        commit = joined(decided)
        if commit is None:
            if is_loaded or not decided:
                self._state.keep()
                return rest
            self._state.drop()  # only a load can confirm what they were decided on
            return batch
        # 4. Commit what they decided.
        answer = await self._commit(commit, decided)
        # 5. Answer the callers.
        if isinstance(answer, AppendResult) and answer.stream_version == version + len(commit.events):
            if not answer.is_repeat or await self._is_as_decided(version, commit, decided):
                self._state.keep()
                await self._answer(decided, answer)
                return rest
            self._state.drop()
            await gather(*[self._answer_alone(command, answer) for command in decided if command.commit is not None])
            return [*[command for command in decided if command.commit is None], *rest]
        self._state.drop()
        return [*await self._after_failure(decided, answer), *rest]

    async def _look_up(self, batch: list[QueuedCommand[A]]) -> None:
        named = [(command, command.command_id) for command in batch if command.command_id is not None]
        if not named:
            return
        found = await gather(
            *[command_id.earlier_result(self._store) for _, command_id in named], return_exceptions=True
        )
        for (command, _), result in zip(named, found, strict=True):
            if isinstance(result, BaseException):
                command.fail(result)
            elif result is not None:
                command.succeed(result)

    async def _decide(self, batch: list[QueuedCommand[A]]) -> tuple[list[QueuedCommand[A]], list[QueuedCommand[A]]]:
        """Let each decide on the state that those before it leave. Return the decided ones, and those left out.

        Commands are left out if there is no room or time for them, or if they must see the outcome of earlier ones.
        """
        is_loaded = self._state.status is StateStatus.LOADED
        decided: list[QueuedCommand[A]] = []
        event_ids: set[UUID] = set()
        size = 0
        pace = Pace()
        for number, command in enumerate(batch):
            if decided and pace.is_over:
                return decided, batch[number:]
            await pace.keep()
            if command.is_answered:
                continue
            # The same command twice: the second gets the result of the first, and mustn't act on what that has done.
            is_repeat = command.command_id is not None and command.command_id.event_id(0) in event_ids
            if self._state.status is StateStatus.ABSENT or is_repeat:
                return decided, batch[number:]
            command.decide(self._state.aggregate, self._store)
            if command.commit is not None:
                size += command.commit.size
                # The same ids twice: the second must see the outcome of the first.
                if event_ids and (size > BATCH_BYTES or not event_ids.isdisjoint(command.event_ids)):
                    return decided, batch[number:]
                event_ids.update(command.event_ids)
                self._state.apply(command.commit)
            elif is_loaded and not event_ids:
                command.succeed(None)  # what it was decided on needs no commit
            decided.append(command)
        return decided, []

    async def _commit(self, commit: Commit, decided: list[QueuedCommand[A]]) -> AppendResult | Exception:
        """Send the commit until its outcome is known, or no caller waits for it any more. Return the last answer."""
        outcome = AppendOutcome()
        waiting = [command for command in decided if command.commit is not None]
        for command in waiting:
            command.outcome = outcome
        while True:
            answer = await self._send(commit, waiting, outcome)
            if not outcome.must_repeat or isinstance(answer, AppendResult):
                return answer
            self._state.drop()
            pauses = [pause for command in waiting if (pause := command.pause_after(answer)) is not None]
            if not pauses:
                return answer
            waiting = [command for command in waiting if not command.is_answered]
            await sleep(min(pauses))

    async def _send(
        self, commit: Commit, commands: list[QueuedCommand[A]], outcome: AppendOutcome
    ) -> AppendResult | Exception:
        for command in commands:
            command.attempts.count += 1
        outcome.send()
        try:
            sharing = [command.context for command in commands[1:]]
            with Append(
                store=self._store, stream_id=commit.stream_id, events=len(commit.events), sharing=sharing
            ) as observed:
                result = await self._store.append(commit)
                observed.stream_version, observed.global_position = result.stream_version, result.global_position
        except Exception as error:  # noqa: BLE001 - whatever it is, callers get it
            outcome.fail(error)
            return error
        outcome.commit()
        return result

    async def _is_as_decided(self, version: int, commit: Commit, decided: list[QueuedCommand[A]]) -> bool:
        """Return whether the events that are stored now are those decided here, so that the state is right.

        Ids that follow from command ids may have been written by another attempt of the same commands, which may have
        decided otherwise, or by other commands of the same ids. An id that was drawn here shows that it wasn't so.
        """
        writers = [command for command in decided if command.commit is not None]
        if any(command.command_id is None for command in writers):
            return True
        try:
            # A look-up of each would take two reads. One event more: the last command may have raised more elsewhere.
            stored = await self._store.read_stream(commit.stream_id, version, len(commit.events) + 1)
        except Exception:  # noqa: BLE001 - then each command is looked up by itself, and that raises it again
            return False
        first = 0
        for command in writers:
            if not command.is_alike(stored[first:]):
                return False
            first += len(command.event_ids)
        return [_contents(one) for one in stored[:first]] == [_contents(one) for one in commit.events]

    async def _answer(self, decided: list[QueuedCommand[A]], result: AppendResult) -> None:
        """Give each caller its part of the result, or its own error, after the snapshot that may be due."""
        try:
            if self._state.status is StateStatus.KEPT:
                for snapshots in dict.fromkeys([command.snapshots for command in decided]):
                    if snapshots is not None:
                        await snapshots.write_if_due(self._state.aggregate)
        finally:
            places = result.global_positions
            version = result.stream_version - len(places)
            for command in decided:
                count = len(command.event_ids)
                version, own, places = version + count, places[:count], places[count:]
                command.succeed(AppendResult(result.stream_id, version, own, result.is_repeat) if own else None)

    async def _after_failure(
        self, decided: list[QueuedCommand[A]], answer: AppendResult | Exception
    ) -> list[QueuedCommand[A]]:
        """Answer the commands for which the failure is final. Return the others, after a pause if it was a conflict."""
        is_shared = sum([command.commit is not None for command in decided]) > 1
        again: list[QueuedCommand[A]] = []
        pauses: list[float] = []
        for command in decided:
            if command.is_answered:
                continue
            if command.commit is None:
                again.append(command)
            elif isinstance(answer, OptimisticConcurrencyError) and command.was_overtaken(answer.actual_version):
                continue  # it has its answer: it expected another version, so deciding again is of no use
            elif isinstance(answer, OptimisticConcurrencyError):
                if (pause := command.pause_after(answer)) is not None:
                    pauses.append(pause)
                    command.decide_again(answer)
                    again.append(command)
            elif is_shared and (isinstance(answer, AppendResult) or _may_be_of_one(answer)):
                command.is_alone = True
                again.append(command)
            else:
                await self._answer_alone(command, answer)
        if pauses:
            await self.pause(min(pauses))
        return again

    async def _answer_alone(self, command: QueuedCommand[A], answer: AppendResult | Exception) -> None:
        """Answer a command whose commit has a known outcome, perhaps by another attempt of the same command."""
        earlier = answer if isinstance(answer, AppendResult) else None
        if command.command_id is not None and isinstance(answer, AppendResult | EventIdReuseError):
            is_written = isinstance(answer, AppendResult)
            try:
                with command.command_id.settling(len(command.event_ids)) if is_written else nullcontext():
                    earlier = await command.command_id.earlier_result(self._store)
            except Exception as error:  # noqa: BLE001 - whatever it is, the caller gets it
                answer, earlier = error, None
        if isinstance(answer, Exception) and earlier is None:
            command.fail(answer)
        else:
            command.succeed(earlier)


async def pause_together(queues: Sequence[CommandQueue[A]], seconds: float) -> None:
    """Pause after a conflict at the aggregates of these queues.

    It is no longer than the shortest pause of the commands that wait there, and ends when another command comes.
    """
    pauses = [command.attempts.pause() for one in queues for command in one.waiting if not command.is_answered]
    pausing = asyncio.create_task(sleep(min([seconds, *[pause for pause in pauses if pause is not None]])))
    for queue in queues:
        queue.pausing = pausing
    try:
        await asyncio.wait([pausing])
    finally:
        pausing.cancel()
        for queue in queues:
            queue.pausing = None


def _contents(event: StoredEvent | EncodedEvent) -> tuple[object, ...]:
    return (event.event_id, event.event_type, event.event_version, event.event_data)


def _may_be_of_one(error: Exception) -> bool:
    """Return whether nothing was written, and perhaps because of a single command, which mustn't fail the others."""
    of_all = (OptimisticConcurrencyError, StoreUnavailableError, StoreOverloadedError, StoreClosedError)
    return isinstance(error, PerdureError) and not isinstance(error, (*of_all, OutcomeUnknownError))
