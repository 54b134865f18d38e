"""Any calls in any order: a store does what the model says."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from perdure.commit import ANY, NO_STREAM, STREAM_EXISTS, AppendResult, ExpectedVersion
from perdure.context import context
from perdure.errors import EventIdReuseError, OptimisticConcurrencyError, PerdureError
from perdure.events import NewEvent
from perdure.log import Selection
from perdure.store import EventStore
from perdure.testing.conformance.model import Call, Entry, Model, entries
from perdure.testing.conformance.samples import Counted, Noted
from perdure.testing.conformance.subscriptions import take

CATEGORIES: Final = ("note", "note", "other")
"""The categories of the streams that are appended to, by number."""
CORRELATIONS: Final = (None, "one", "two")

Expected = int | str
"""An expected version in a program: its name, or its distance from the real version."""

_NAMED: Final[dict[str, ExpectedVersion]] = {"any": ANY, "exists": STREAM_EXISTS, "none": NO_STREAM}

_FOR_FIXTURES: Final = (HealthCheck.function_scoped_fixture, HealthCheck.differing_executors, HealthCheck.too_slow)
"""All programs of a test run in one store, and stores may be slow."""

_runs = itertools.count(1)


@dataclass(frozen=True)
class ModelAppend:
    """Append a number of new events to each of some streams, under conditions on other streams."""

    streams: tuple[tuple[int, Expected, int], ...]
    conditions: tuple[tuple[int, Expected], ...] = ()
    correlation: int = 0


@dataclass(frozen=True)
class Repeat:
    """Append the events of an earlier call again: unchanged, or changed as `how` says."""

    call: int
    how: str
    expected: Expected


@dataclass(frozen=True)
class ConcurrentAppends:
    """Append to streams, all at the same time."""

    appends: tuple[tuple[int, Expected, int], ...]


@dataclass(frozen=True)
class ReadAndFollow:
    """Read from some position on, and follow."""

    at: int
    max_count: int | None
    stream: int
    category: str | tuple[str, ...] | None = None
    types: tuple[str | type, ...] | None = None
    correlation: int = 0


Step = ModelAppend | Repeat | ConcurrentAppends | ReadAndFollow

_streams = st.integers(0, len(CATEGORIES) - 1)
_expected = st.sampled_from([0, "any", 0, "exists", -1, 1, "none", 1000])
_single = st.tuples(_streams, _expected, st.integers(1, 3))


def programs() -> st.SearchStrategy[list[Step]]:
    """Return a strategy for lists of steps. They refer to earlier steps by numbers that are valid in any list."""
    several = st.lists(_single, min_size=2, max_size=3, unique_by=lambda one: one[0]).map(tuple)
    conditions = st.lists(st.tuples(_streams, _expected), min_size=1, max_size=2, unique_by=lambda one: one[0])
    ways = st.sampled_from(["reversed", "shorter", "longer", "elsewhere", "with the next", "other content"])
    steps = st.one_of(
        st.builds(ModelAppend, streams=st.tuples(_single), correlation=st.integers(0, 2)),
        st.builds(ModelAppend, streams=st.tuples(_single), conditions=conditions.map(tuple)),
        st.builds(ModelAppend, streams=several),
        st.builds(Repeat, call=st.integers(0, 2), how=st.just("same"), expected=_expected),
        st.builds(Repeat, call=st.integers(0, 5), how=ways, expected=_expected),
        st.builds(ConcurrentAppends, st.lists(_single, min_size=2, max_size=5).map(tuple)),
        st.builds(
            ReadAndFollow,
            at=st.integers(-1, 20),
            max_count=st.none() | st.integers(0, 5),
            stream=_streams,
            category=st.sampled_from([None, "note", "other", "none", ("note", "other"), ("none", "other")]),
            types=st.sampled_from([None, (Noted,), (Counted, "perdure.conformance.none")]),
            correlation=st.integers(0, 2),
        ),
    )
    return st.lists(steps, min_size=1, max_size=15)


class ModelCheck:
    """The part of the suite that compares a store with a model of it."""

    @settings(deadline=None, suppress_health_check=_FOR_FIXTURES)
    @given(program=programs())
    async def test_any_calls_do_what_the_model_says(self, store: EventStore, program: list[Step]) -> None:
        last = await store.read_all_events_backwards(max_count=1)
        run = _Run(store, last[0].global_position if last else 0)
        for step in program:
            await run.execute(step)
        await run.read(ReadAndFollow(-1, None, 0))


class _Run:
    """One program on the store, with its own streams. Events of earlier programs are before its own."""

    def __init__(self, store: EventStore, beginning: int) -> None:
        number = next(_runs)
        self._store = store
        self._model = Model(beginning)
        self._stream_ids = [f"{category}-{number}.{i}" for i, category in enumerate(CATEGORIES)]
        self._calls: list[Call] = []
        self._numbers = itertools.count()

    async def execute(self, step: Step) -> None:
        """Execute a step in the store and in the model, and compare the outcomes."""
        match step:
            case ModelAppend():
                with context(correlation_id=CORRELATIONS[step.correlation]):
                    await self._append(self._call(step.streams, step.conditions))
            case Repeat():
                if self._calls:
                    await self._append(self._changed(self._calls[-1 - step.call % len(self._calls)], step))
            case ConcurrentAppends():
                await self._append(*[self._call((one,), ()) for one in step.appends])
            case ReadAndFollow():
                await self.read(step)

    async def read(self, step: ReadAndFollow) -> None:
        """Read a stream and the log in all ways, and follow the log."""
        await self._read_stream(self._stream_ids[step.stream], step)
        await self._read_log(step)
        await self._follow(step)

    def _call(self, streams: Iterable[tuple[int, Expected, int]], conditions: Iterable[tuple[int, Expected]]) -> Call:
        appends = [
            (self._stream_ids[stream], self._version(stream, expected), [self._event() for _ in range(count)])
            for stream, expected, count in streams
        ]
        others = {self._stream_ids[stream]: self._version(stream, expected) for stream, expected in conditions}
        return Call(
            appends, {one: others[one] for one in others if one not in {stream_id for stream_id, *_ in appends}}
        )

    def _changed(self, call: Call, step: Repeat) -> Call:
        """Return the same events under another expected version, perhaps changed."""
        appends = [
            (stream_id, self._version(self._stream_ids.index(stream_id), step.expected), list(events))
            for stream_id, _, events in call.appends
        ]
        stream_id, expected, events = appends[0]
        match step.how:
            case "reversed":
                appends.reverse()
                events.reverse()
            case "shorter":
                appends[0] = (stream_id, expected, events[1:] or events)
            case "longer":
                events.append(self._event())
            case "elsewhere":
                named = {stream_id for stream_id, *_ in appends} | set(call.conditions)
                free = [one for one in self._stream_ids if one not in named]
                appends[0] = (free[0] if free else stream_id, expected, events)
            case "with the next":
                there = {new.metadata.event_id for new in events}
                following = [new for new in self._follower_of(events[-1]) if new.metadata.event_id not in there]
                appends[0] = (stream_id, expected, [*events, *following])
            case "other content":
                events[-1] = NewEvent(Noted(text="other"), event_id=events[-1].event_id)
            case _:
                pass
        return Call(appends, call.conditions)

    def _follower_of(self, new: NewEvent) -> list[NewEvent]:
        """Return the event that follows this one in its stream."""
        ids = [entry.event_id for entry in self._model.log]
        if new.metadata.event_id not in ids:
            return []
        found = self._model.log[ids.index(new.metadata.event_id)]
        after = self._model.stream(found.stream_id)[found.stream_version :]
        return [NewEvent(entry.event, event_id=entry.event_id) for entry in after[:1]]

    def _event(self) -> NewEvent:
        number = next(self._numbers)
        return NewEvent(Counted(number=number) if number % 3 else Noted(text=str(number)))

    def _version(self, stream: int, expected: Expected) -> ExpectedVersion:
        if isinstance(expected, str):
            return _NAMED[expected]
        return max(0, len(self._model.stream(self._stream_ids[stream])) + expected)

    async def _append(self, *calls: Call) -> None:
        """Append at the same time. The order of the calls is kept within a stream; across streams it doesn't matter."""
        self._calls += calls
        before = self._model.last_position
        outcomes = await asyncio.gather(*[self._outcome(call) for call in calls])
        for call, outcome in zip(calls, outcomes, strict=True):
            expected = self._model.expected(call)
            if expected is not None:
                assert _comparable(outcome) == _comparable(expected)
            else:
                assert isinstance(outcome, list), outcome
                self._model.write(call, outcome, before)

    async def _outcome(self, call: Call) -> list[AppendResult] | PerdureError:
        try:
            if len(call.appends) == 1 and not call.conditions:
                return [await self._store.append_to_stream(*call.appends[0])]
            return await self._store.append_to_streams(call.appends, conditions=call.conditions)
        except PerdureError as error:
            return error

    async def _read_stream(self, stream_id: str, step: ReadAndFollow) -> None:
        stream, at, count = self._model.stream(stream_id), max(0, step.at), step.max_count
        earlier = [entry for entry in stream if entry.stream_version < at]

        assert await self._store.stream_version(stream_id) == len(stream)
        assert entries(await self._store.read_stream(stream_id, at, count)) == stream[at:][:count]
        assert entries([one async for one in self._store.iterate_stream(stream_id, at)]) == stream[at:]
        assert entries(await self._store.read_stream_backwards(stream_id, at, count)) == earlier[::-1][:count]
        last = await self._store.last_event(stream_id)
        assert entries([last] if last else []) == stream[-1:]
        for entry in stream[:2]:
            found = await self._store.read_event(entry.event_id)
            assert found is not None
            assert entries([found]) == [entry]

    async def _read_log(self, step: ReadAndFollow) -> None:
        at, where = self._position(step), _selection(step)
        later = [entry for entry in self._model.log if entry.global_position > at and _matches(entry, step)]
        earlier = [entry for entry in self._model.log if entry.global_position < at and _matches(entry, step)]
        # Events before the model's log aren't read.
        count = len(earlier) if step.max_count is None else min(step.max_count, len(earlier))

        assert entries(await self._store.read_all_events(at, step.max_count, **where)) == later[: step.max_count]
        assert entries([one async for one in self._store.iterate_all_events(at, **where)]) == later
        assert entries(await self._store.read_all_events_backwards(at, count, **where)) == earlier[::-1][:count]

    async def _follow(self, step: ReadAndFollow) -> None:
        at, step = self._position(step), replace(step, correlation=0)
        later = [entry for entry in self._model.log if entry.global_position > at and _matches(entry, step)]
        there = [entry.event_id for entry in self._model.log if entry.global_position == at]
        follower = self._store.subscribe(
            at, from_event_id=there[0] if there else None, category=step.category, event_types=step.types
        )
        assert entries(await take(follower, len(later))) == later

    def _position(self, step: ReadAndFollow) -> int:
        """Return the beginning of the log, the position of an event, or a position beyond the end."""
        places = [self._model.beginning, *[entry.global_position for entry in self._model.log]]
        return places[step.at % len(places)] if step.at < 20 else places[-1] + 1


def _selection(step: ReadAndFollow) -> Selection:
    return {
        "category": step.category,
        "event_types": step.types,
        "correlation_id": CORRELATIONS[step.correlation],
    }


def _matches(entry: Entry, step: ReadAndFollow) -> bool:
    correlation_id = CORRELATIONS[step.correlation]
    return (
        (step.category is None or entry.stream_id.partition("-")[0] in _categories(step.category))
        and (step.types is None or type(entry.event) in step.types)
        and (correlation_id is None or entry.correlation_id == correlation_id)
    )


def _categories(category: str | tuple[str, ...]) -> tuple[str, ...]:
    return (category,) if isinstance(category, str) else category


def _comparable(outcome: list[AppendResult] | PerdureError) -> object:
    """Return an outcome in a form that can be compared."""
    if isinstance(outcome, OptimisticConcurrencyError):
        return outcome.stream_id, outcome.expected_version, outcome.actual_version
    if isinstance(outcome, EventIdReuseError):
        return outcome.stream_id, set(outcome.event_ids)
    return outcome
