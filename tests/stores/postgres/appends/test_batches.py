"""Batches in which one commit is not like the others: a repeat, or a poison event."""

import asyncio
import random
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from perdure.commit import (
    ANY,
    NO_STREAM,
    PAYLOAD_LIMIT,
    STREAM_EXISTS,
    AppendResult,
    ExpectedVersion,
    encode_commit,
)
from perdure.errors import DatabaseError, EventIdReuseError, OptimisticConcurrencyError
from perdure.stores.postgres.appends.statements import Answer
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.stores.postgres.appends.lanes import Tries, event, gathered, one_lane, others
from tests.stores.postgres.races import insert, notes, refuse, texts

# --- Repeats ----------------------------------------------------------------------------------------------------------


async def test_one_repeat_makes_its_batch_be_sent_twice_and_later_repeats_none(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with one_lane(database_url) as store:
        known = event("known")
        written = await store.append_to_stream("note-known", ANY, [known])
        tries = Tries(store, monkeypatch)

        first = await gathered(*others(store, 63), store.append_to_stream("note-known", ANY, [known]))
        assert tries == [(64, False), (64, True)]
        second = await gathered(*others(store, 63), store.append_to_stream("note-known", ANY, [known]))
        assert tries[2:] == [(64, True)]

        assert first[-1] == second[-1] == written
        assert all(isinstance(outcome, AppendResult) for outcome in first + second)
        assert len(await store.read_all_events()) == 1 + 2 * 63


async def test_ids_are_looked_up_for_a_while_only(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with one_lane(database_url) as store:
        known = event("known")
        await store.append_to_stream("note-known", ANY, [known])
        await gathered(*others(store, 3), store.append_to_stream("note-known", ANY, [known]))
        tries = Tries(store, monkeypatch)

        await gathered(*others(store, 3))
        now = asyncio.get_running_loop().time()
        assert now < store._group._writer._look_up_until <= now + 60
        store._group._writer._look_up_until = now
        await gathered(*others(store, 3))

        assert tries == [(3, True), (3, False)]


async def test_appends_that_are_each_made_twice_at_once_share_batches(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Regression: the second of a pair ended its batch, so that batches held two commits.
    async with one_lane(database_url) as store:
        twice = [(f"note-{n:02}", [event(n)]) for n in range(32)]
        tries = Tries(store, monkeypatch)

        outcomes = await gathered(*[store.append_to_stream(s, ANY, e) for s, e in twice for _ in range(2)])

        assert tries == [(32, False), (32, False), (32, True)]
        assert outcomes[::2] == outcomes[1::2]
        assert len(await store.read_all_events()) == 32


async def test_what_comes_after_a_repeat_in_one_moment_stays_behind_it(database_url: str) -> None:
    async with one_lane(database_url) as store:
        first = event("first")
        outcomes = await gathered(
            store.append_to_stream("note-a", ANY, [first]),
            store.append_to_stream("note-a", 1, [first]),
            store.append_to_stream("note-a", 1, notes("second")),
            store.append_to_stream("note-b", ANY, [first]),
            store.append_to_stream("note-a", 2, notes("third")),
        )

        assert outcomes[0] == outcomes[1]
        assert [outcomes[n].stream_version for n in (2, 4)] == [2, 3]
        assert isinstance(outcomes[3], EventIdReuseError)
        assert texts(await store.read_all_events()) == ["first", "second", "third"]


async def test_an_id_that_two_commits_of_a_batch_share_is_written_once(database_url: str) -> None:
    async with one_lane(database_url) as store:
        shared = event("shared")
        outcomes = await gathered(
            *others(store, 5),
            store.append_to_stream("note-a", ANY, [event("a"), shared]),
            store.append_to_stream("note-a", ANY, [event("again"), shared]),
            store.append_to_stream("note-b", ANY, [event("b"), shared]),
            store.append_to_stream("note-a", ANY, notes("after")),
        )

        assert [type(outcome) for outcome in outcomes[5:]] == [
            AppendResult, EventIdReuseError, EventIdReuseError, AppendResult,
        ]  # fmt: skip
        assert texts(await store.read_stream("note-a")) == ["a", "shared", "after"]


class Dice:
    """Batches of all that can be in one: new events, repeats of all kinds, ids used elsewhere, and any expectation."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._written: list[tuple[str, list[int]]] = []
        self._next = 0

    def batch(self) -> list[tuple[str, ExpectedVersion, list[int]]]:
        used: set[int] = set()
        commits: list[tuple[str, ExpectedVersion, list[int]]] = []
        for _ in range(self._random.randint(2, 12)):
            stream_id, numbers = self._commit()
            if used.isdisjoint(numbers):
                used.update(numbers)
                any_of: list[ExpectedVersion] = [ANY, ANY, ANY, NO_STREAM, STREAM_EXISTS, self._random.randint(1, 6)]
                expected = self._random.choice(any_of)
                commits.append((stream_id, expected, numbers))
        return sorted(commits, key=lambda one: one[0])

    def _commit(self) -> tuple[str, list[int]]:
        stream_id = f"note-{self._random.randint(1, 6)}"
        if self._written and self._random.random() < 0.5:
            where, numbers = self._random.choice(self._written)
            kind = self._random.randrange(6)
            if kind == 0:
                return stream_id, numbers
            return where, [numbers, numbers, numbers[:1], numbers[::-1], [*numbers, self._number()]][kind - 1]
        numbers = [self._number() for _ in range(self._random.randint(1, 3))]
        self._written.append((stream_id, numbers))
        return stream_id, numbers

    def _number(self) -> int:
        self._next += 1
        return self._next


def told(outcome: Any, stored: dict[int, int]) -> object:
    """An outcome without the positions themselves, for those differ: which of the events stand there counts."""
    if isinstance(outcome, AppendResult):
        return outcome.stream_version, [stored[position] for position in outcome.global_positions]
    if isinstance(outcome, OptimisticConcurrencyError):
        return "conflict", outcome.actual_version
    return type(outcome).__name__


@pytest.mark.parametrize("seed", range(3))
async def test_a_batch_gives_the_answers_that_its_commits_get_one_by_one(database_url: str, seed: int) -> None:
    dice = Dice(seed)
    kinds: set[object] = set()
    async with (
        PostgreSQLEventStore(database_url, schema="together") as together,
        PostgreSQLEventStore(database_url, schema="singly") as singly,
        together.database.connection() as connection,
    ):
        for _ in range(60):
            batch = dice.batch()
            commits = [
                encode_commit(stream_id, expected, [event(n, UUID(int=n)) for n in numbers], PAYLOAD_LIMIT)
                for stream_id, expected, numbers in batch
            ]
            ours: list[Answer | None] = await together._group._writer._appends.append_batch(
                connection, commits, look_up=True, lock_timeout="0"
            )
            theirs = [
                await singly._group._writer._appends.append_commit(connection, commit, look_up=True, lock_timeout="0")
                for commit in commits
            ]
            stored = [
                {one.global_position: one.event_id.int for one in await store.read_all_events()}
                for store in (together, singly)
            ]
            answers = [told(outcome, stored[0]) for outcome in ours]
            assert answers == [told(outcome, stored[1]) for outcome in theirs]
            assert list(stored[0].values()) == list(stored[1].values())
            kinds |= {type(outcome) for outcome in ours}

    assert kinds == {AppendResult, OptimisticConcurrencyError, EventIdReuseError}


async def test_a_batch_of_repeats_writes_something_so_that_its_commit_waits_for_a_synchronous_standby(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    commits = [encode_commit(f"note-{n}", ANY, [event(n)], PAYLOAD_LIMIT) for n in range(2)]
    many = store._group._writer._appends.append_batch
    first = await many(connection, commits, look_up=True, lock_timeout="0")

    async with connection.transaction():
        assert await many(connection, commits, look_up=True, lock_timeout="0") == first
        assert await connection.fetchval("select pg_current_xact_id_if_assigned()") is not None


@pytest.mark.parametrize("look_up", [False, True])
async def test_a_batch_never_scans_the_log_though_that_was_small_when_the_plan_was_made(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, look_up: bool
) -> None:
    await insert(connection, "note-first", 1)
    await connection.execute("vacuum analyze perdure.events")

    async def batch(number: int) -> None:
        commits = [encode_commit(f"note-{number}-{n}", ANY, [event(n)], PAYLOAD_LIMIT) for n in range(200)]
        await store._group._writer._appends.append_batch(connection, commits, look_up=look_up, lock_timeout="0")

    async def scanned() -> int:
        found = await connection.fetchval("""
            select pg_stat_get_xact_tuples_returned('perdure.events'::regclass)
                + coalesce(sum(pg_stat_get_xact_tuples_returned(indexrelid)), 0)
            from pg_index where indrelid = 'perdure.events'::regclass
        """)
        return int(found)

    for number in range(7):  # after five, PostgreSQL may keep one plan
        await batch(number)
    await connection.execute("""
        insert into perdure.events
            (stream_id, stream_version, event_id, event_type, event_version, event_data, metadata)
        select 'note-' || n, 1, gen_random_uuid(), 'test.races.noted', 1, '{}',
            '{"timestamp":"2026-01-01T00:00:00Z"}' from generate_series(1, 3000) n
    """)
    async with connection.transaction():
        before = await scanned()
        await batch(7)
        assert await scanned() == before


# --- Other commits that spoil a batch ---------------------------------------------------------------------------------


async def test_a_poison_event_costs_its_batch_a_few_statements_not_one_for_each_commit(
    database_url: str, connection: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    await refuse(connection)
    async with one_lane(database_url) as store:
        tries = Tries(store, monkeypatch)

        outcomes = await gathered(*others(store, 63), store.append_to_stream("note-other-031", ANY, notes("poison")))

        assert isinstance(outcomes[-1], DatabaseError)
        assert all(isinstance(outcome, AppendResult) for outcome in outcomes[:-1])
        assert len(tries) == 1 + 2 * 6  # two for each time that 64 are halved


async def test_a_stream_with_a_poison_event_in_its_middle_keeps_its_order(
    database_url: str, connection: asyncpg.Connection
) -> None:
    await refuse(connection)
    async with one_lane(database_url) as store:
        wanted = [*range(20), "poison", *range(20, 30)]
        outcomes = await gathered(*[store.append_to_stream("note-a", ANY, notes(text)) for text in wanted])

        assert [type(outcome) for outcome in outcomes].index(DatabaseError) == 20
        assert texts(await store.read_stream("note-a")) == [str(n) for n in range(30)]
