"""The fence under stress: writers that commit late, roll back and use savepoints; followers that must miss nothing.

By hand: ``python -m tests.stress.fence [runs] [seconds]``, on an embedded PostgreSQL or PERDURE_TEST_DATABASE_URL; with
``standby`` at the end, on a primary of its own, and the readers on its standby.
"""

import asyncio
import os
import random
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import asyncpg

from perdure.commit import ANY
from perdure.events import event
from perdure.stores.postgres.embedded import EmbeddedPostgreSQL
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.cluster import servers
from tests.pooler import direct

LAST = "stress-last"


@event("test.stress.written")
class Written:
    number: int = 0


class Figures(NamedTuple):
    """What came of a run."""

    committed: int
    naive_missed: int
    missed: int
    """By any of our followers."""
    duplicates: int
    is_one_order: bool
    """Whether our followers saw the same events in the same order, that of positions."""

    def __str__(self) -> str:
        order = "one order" if self.is_one_order else "ORDERS DIFFER"
        return (
            f"committed {self.committed:6}   naive missed {self.naive_missed:6}   "
            f"ours missed {self.missed}, duplicates {self.duplicates}, {order}"
        )


class Run:
    """One run, for so many seconds; the readers elsewhere, if told so."""

    def __init__(self, url: str, seconds: float, writers: int, reading_url: str | None = None) -> None:
        self._url = url
        self._reading_url = reading_url or url
        self._seconds = seconds
        self._writers = writers
        self._committed: list[int] = []
        self._is_over = asyncio.Event()

    async def figures(self) -> Figures:
        async with (
            PostgreSQLEventStore(self._url) as store,
            PostgreSQLEventStore(self._reading_url, read_only=self._reading_url != self._url) as reading,
            asyncio.TaskGroup() as tasks,
        ):
            naive = tasks.create_task(self._read_naively())
            ours = [tasks.create_task(self._follow(reading, category)) for category in (None, "stress")]
            await self._write(store)
            last = await store.append_to_stream(LAST, ANY, [Written()])
            self._committed += last.global_positions
            await asyncio.gather(*ours)
            self._is_over.set()
        committed = sorted(self._committed)
        seen = [follower.result() for follower in ours]
        return Figures(
            len(committed),
            len({*committed} - {*naive.result()}),
            sum(len({*committed} - {*one}) for one in seen),
            sum(len(one) - len({*one}) for one in seen),
            all(one == committed for one in seen),
        )

    async def _write(self, store: PostgreSQLEventStore) -> None:
        connections = [await asyncpg.connect(direct(self._url)) for _ in range(self._writers)]
        end = asyncio.get_running_loop().time() + self._seconds
        try:
            async with asyncio.TaskGroup() as tasks:
                for number, connection in enumerate(connections):
                    tasks.create_task(_until(end, lambda c=connection, n=number: self._transact(c, n)))  # type: ignore[misc]  # bound early
                for number in range(4):
                    tasks.create_task(_until(end, lambda n=number: self._append(store, n)))  # type: ignore[misc]  # bound early
        finally:
            for connection in connections:
                await connection.close()

    async def _transact(self, connection: asyncpg.Connection, number: int) -> None:
        transaction = connection.transaction()
        await transaction.start()
        positions: list[int] = []
        for _ in range(random.choice((1, 1, 2))):
            if random.random() < 0.1:
                savepoint = connection.transaction()
                await savepoint.start()
                await _insert(connection, number)
                await savepoint.rollback()
            positions += await _insert(connection, number)
        await asyncio.sleep(0.2 if random.random() < 0.02 else random.uniform(0, 0.01))
        if random.random() < 0.15:
            await transaction.rollback()
        else:
            await transaction.commit()
            self._committed += positions

    async def _append(self, store: PostgreSQLEventStore, number: int) -> None:
        result = await store.append_to_stream(f"stress-store{number}", ANY, [Written(number=n) for n in range(2)])
        self._committed += result.global_positions
        await asyncio.sleep(random.uniform(0, 0.01))

    async def _follow(self, store: PostgreSQLEventStore, category: str | None) -> list[int]:
        seen: list[int] = []
        async for stored in store.subscribe(category=category):
            seen.append(stored.global_position)
            if stored.stream_id == LAST:
                break
        return seen

    async def _read_naively(self) -> list[int]:
        """What everybody writes at first."""
        seen: list[int] = []
        connection = await asyncpg.connect(direct(self._reading_url))
        try:
            while True:
                is_over = self._is_over.is_set()
                rows = await connection.fetch(
                    "select global_position from perdure.events where global_position > $1 order by 1",
                    seen[-1] if seen else 0,
                )
                seen += [row["global_position"] for row in rows]
                if is_over:
                    return seen
                await asyncio.sleep(0.002)
        finally:
            await connection.close()


async def _until(end: float, work: Callable[[], Awaitable[None]]) -> None:
    while asyncio.get_running_loop().time() < end:
        await work()


async def _insert(connection: asyncpg.Connection, number: int) -> list[int]:
    """As the store's own statement does, or by a plain INSERT: both must be fenced."""
    if random.random() < 0.5:
        row = await connection.fetchrow(
            """
            select global_positions from perdure.append_group(
                array[$1], array[-1], array[1], array[]::text[], array[]::integer[], array[$2::uuid],
                array['test.stress.written'], array[1::smallint], array['{}'::json],
                array['{"timestamp":"2024-01-01T00:00:00Z"}'::json], true, null
            )
            """,
            f"stress-{number}",
            uuid4(),
        )
        assert row is not None
        return list(row["global_positions"])
    position = await connection.fetchval(
        """
        insert into perdure.events
            (stream_id, stream_version, event_id, event_type, event_version, event_data, metadata)
        values ($1, 1, $2, 'test.stress.written', 1, '{}', '{"timestamp":"2024-01-01T00:00:00Z"}')
        returning global_position
        """,
        f"stress-{uuid4()}",
        uuid4(),
    )
    return [position]


async def stress(url: str, seconds: float, writers: int = 32, reading_url: str | None = None) -> Figures:
    """Run on a fresh database for so many seconds."""
    return await Run(url, seconds, writers, reading_url).figures()


async def stress_on_standby(seconds: float, writers: int = 32) -> Figures:
    """Run on servers of its own, the readers on the standby."""
    async with servers() as cluster:
        primary = await cluster.primary()
        async with PostgreSQLEventStore(primary.url()):
            pass
        standby = await cluster.standby_of(primary)
        return await stress(primary.url(), seconds, writers, standby.url())


async def _main_on_standby(runs: int, seconds: float) -> bool:
    is_well = True
    for number in range(runs):
        figures = await stress_on_standby(seconds)
        is_well = is_well and _is_well(figures)
        print(f"run {number + 1}, readers on the standby: {figures}", flush=True)
    return is_well


def _is_well(figures: Figures) -> bool:
    return figures.missed == figures.duplicates == 0 and figures.is_one_order


async def _main(runs: int, seconds: float) -> bool:
    is_well = True
    with tempfile.TemporaryDirectory() as folder:
        given = os.environ.get("PERDURE_TEST_DATABASE_URL")
        server = None if given else EmbeddedPostgreSQL(Path(folder) / "server", settings={"max_connections": "200"})
        if server is not None:
            await server.start()
        url = given or (server.url if server else "")
        for number in range(runs):
            connection = await asyncpg.connect(direct(url))
            await connection.execute("drop schema if exists perdure cascade")
            await connection.close()
            figures = await stress(url, seconds)
            is_well = is_well and _is_well(figures)
            print(f"run {number + 1}: {figures}", flush=True)
        if server is not None:
            await server.stop()
    return is_well


if __name__ == "__main__":
    _arguments = [one for one in sys.argv[1:] if one != "standby"]
    _runs, _seconds = [*_arguments, *("5", "6")[len(_arguments) :]]
    _run = _main if len(_arguments) == len(sys.argv) - 1 else _main_on_standby
    sys.exit(0 if asyncio.run(_run(int(_runs), float(_seconds))) else 1)
