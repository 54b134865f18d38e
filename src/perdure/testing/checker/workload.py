"""The workload: writers and followers that record all results in the history."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from perdure.checks import check_count, check_instance, check_seconds
from perdure.commit import ANY, AppendResult, StreamAppend
from perdure.errors import OptimisticConcurrencyError, OutcomeUnknownError, PerdureError
from perdure.events import NewEvent
from perdure.store import EventStore
from perdure.testing.checker.history import (
    Acknowledged,
    Attempted,
    HistoryFile,
    NewContent,
    Refused,
    StreamPart,
    StreamResult,
    Unknown,
)
from perdure.testing.checker.log_follower import LogFollower
from perdure.testing.checker.samples import CATEGORY, Checked, text_of

_MOST_PADDING: Final = 200
_PAUSE_AFTER_FAILURE: Final = 0.02
_REMEMBERED: Final = 50


class Workload:
    """Writers and followers on a store, for as long as the ``async with`` block lasts.

    The writers race for versions of a few streams, append to several streams at once, and repeat some acknowledged
    appends. If an outcome is unknown, they repeat the append with the same event ids until it is known. At the end of
    the block, the writers finish their appends, and the followers read to the end of the log.

    Args:
        store: the open store.
        folder: the folder of the history: one file for the writers, and one for each follower.
        writers: the number of concurrent writers.
        followers: the number of followers of the log. Every other one follows a single category.
        streams: the number of streams that the writers race for.
        patience: the seconds after the end for writers to resolve unknown outcomes, and for followers to reach the end
            of the log.

    Example:
        async with Workload(store, "history", writers=16):
            await do_your_worst()
        print(await check(store, "history"))
    """

    def __init__(
        self,
        store: EventStore,
        folder: Path | str,
        *,
        writers: int = 16,
        followers: int = 2,
        streams: int = 8,
        patience: float = 60.0,
    ) -> None:
        check_instance("store", store, EventStore)
        check_count("writers", writers)
        check_count("followers", followers)
        check_count("streams", streams, 1)
        check_seconds("patience", patience)
        self.name = secrets.token_hex(4)
        self._store = store
        self._folder = folder
        self._patience = patience
        self._writers = [f"{self.name}.{number}" for number in range(writers)]
        self._streams = [f"{CATEGORY}-{number}" for number in range(streams)]
        self._followers = [
            LogFollower(store, folder, f"{self.name}-follower{number}", category=CATEGORY if number % 2 else None)
            for number in range(followers)
        ]
        self._stack = ExitStack()
        self._versions: dict[str, int] = {}
        self._is_over = False
        self._deadline = 0.0
        self.acknowledged = 0
        """The number of attempts acknowledged so far."""
        self._tasks: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._appends = _Appends(self._store, self._stack.enter_context(HistoryFile(self._folder, self.name)))
        for follower in self._followers:
            follower.start()
        self._tasks = [asyncio.create_task(self._write(writer), name=f"writer {writer}") for writer in self._writers]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over = True
        self._deadline = asyncio.get_running_loop().time() + self._patience
        with self._stack:
            try:
                await asyncio.gather(*self._tasks)
                if kind is None:
                    await asyncio.gather(*[self._reach_end(follower) for follower in self._followers])
            finally:
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)
                for follower in self._followers:
                    await follower.stop()

    async def _reach_end(self, follower: LogFollower) -> None:
        now = asyncio.get_running_loop().time
        while now() < self._deadline:
            try:
                last = await self._store.read_all_events_backwards(max_count=1, category=follower.category)
            except PerdureError:
                await asyncio.sleep(_PAUSE_AFTER_FAILURE)
            else:
                end = last[0].global_position if last else 0
                follower.note_end(end)
                await follower.reach(end, max(1.0, self._deadline - now()))
                return

    async def _write(self, writer: str) -> None:
        drawn = random.Random(writer)
        answered: list[Attempted] = []
        number = 0
        while not self._is_over:
            if answered and drawn.random() < 0.1:
                await asyncio.sleep(0)
                again = drawn.choice(answered)
                await self._until_known(Attempted(self._appends.next_number, writer, again.parts))
                continue
            parts: list[StreamPart] = []
            for part in self._draw(drawn, writer):
                texts = [text_of(writer, number + n, drawn.randrange(_MOST_PADDING)) for n in range(part[2])]
                number += part[2]
                events = tuple(NewContent(NewEvent(Checked(text=text)).metadata.event_id, text) for text in texts)
                parts.append(StreamPart(part[0], part[1], events))
            await asyncio.sleep(0)  # lets other writers run first, as an in-memory store never yields
            attempted = Attempted(self._appends.next_number, writer, tuple(parts))
            if await self._until_known(attempted):
                answered = [*answered[-_REMEMBERED:], attempted]

    def _draw(self, drawn: random.Random, writer: str) -> list[tuple[str, int | None, int]]:
        """Return the streams to append to, each with the expected version and the number of events."""
        if drawn.random() < 0.2:
            streams = [f"{CATEGORY}-{writer}"]
        else:
            streams = drawn.sample(self._streams, min(len(self._streams), drawn.choice((1, 1, 1, 1, 2, 3))))
        return [
            (stream, self._versions.get(stream, 0) if drawn.random() < 0.6 else None, drawn.choice((1, 1, 2, 3)))
            for stream in streams
        ]

    async def _until_known(self, attempted: Attempted) -> bool:
        """Repeat the attempt until its outcome is known. Return whether it is written."""
        while True:
            end = await self._appends.attempt(attempted)
            if isinstance(end, Acknowledged):
                self.acknowledged += 1
                for part, place in zip(attempted.parts, end.results, strict=True):
                    self._learn(part.stream_id, place.stream_version)
                return True
            if isinstance(end, OptimisticConcurrencyError):
                self._versions[end.stream_id] = end.actual_version
                return False
            if self._is_over and asyncio.get_running_loop().time() >= self._deadline:
                return False
            if end is None and self._is_over:
                return False  # refused, and no need to try again
            await asyncio.sleep(_PAUSE_AFTER_FAILURE)
            attempted = Attempted(self._appends.next_number, attempted.writer, attempted.parts)

    def _learn(self, stream_id: str, version: int) -> None:
        self._versions[stream_id] = max(version, self._versions.get(stream_id, 0))


class _Appends:
    """Makes attempts to append, and records them and their results."""

    def __init__(self, store: EventStore, history: HistoryFile) -> None:
        self._store = store
        self._history = history
        self._number = 0

    @property
    def next_number(self) -> int:
        """The number of the next attempt."""
        self._number += 1
        return self._number

    async def attempt(self, attempted: Attempted) -> Acknowledged | Exception | None:
        """Make an attempt. Return the acknowledgement, the conflict, or the error if unknown; None if refused."""
        self._history.write(attempted)
        number = attempted.number
        try:
            appended = await self._append(attempted.parts)
        except OptimisticConcurrencyError as error:
            self._history.write(Refused(number, type(error).__name__, error.actual_version))
            return error
        except OutcomeUnknownError as error:
            self._history.write(Unknown(number, type(error).__name__, is_typed=True))
            return error
        except PerdureError as error:
            self._history.write(Refused(number, type(error).__name__))
            return None
        except asyncio.CancelledError as error:
            self._history.write(Unknown(number, type(error).__name__, is_typed=True))
            raise
        except Exception as error:  # noqa: BLE001 - the check reports such an error
            self._history.write(Unknown(number, type(error).__name__, is_typed=False, reason=str(error)))
            return error
        results = tuple(StreamResult(result.stream_version, result.global_positions) for result in appended)
        answer = Acknowledged(number, results)
        self._history.write(answer)
        return answer

    async def _append(self, parts: Sequence[StreamPart]) -> list[AppendResult]:
        appends = [
            StreamAppend(
                part.stream_id,
                ANY if part.expected_version is None else part.expected_version,
                [NewEvent(Checked(text=event.text), event_id=event.event_id) for event in part.events],
            )
            for part in parts
        ]
        if len(appends) > 1:
            return await self._store.append_to_streams(appends)
        return [await self._store.append_to_stream(*appends[0])]
