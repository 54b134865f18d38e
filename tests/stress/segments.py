"""Segments under stress: processes share a projection while events flow; one is killed, another stands still.

By hand: ``python -m tests.stress.segments [events] [processes] [segments] [lease]``, on an embedded PostgreSQL or
PERDURE_TEST_DATABASE_URL. With ``naive`` as last word, the processes don't look at epochs: the rows come out wrong.
"""

import asyncio
import os
import random
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from time import monotonic
from typing import Any, NamedTuple

import asyncpg

from perdure.commit import ANY
from perdure.projections.service import ProjectionService
from perdure.projections.state.segments import Checkpoint, Segment, Segments
from perdure.stores.postgres.embedded import EmbeddedPostgreSQL
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.projections import fold_tables
from tests.pooler import direct
from tests.projections.checking import tables_in
from tests.projections.counting import Closed, Moved, Pages, Visited

ROOT = Path(__file__).parents[2]
CALLERS = 16
PER_APPEND = 10
FREEZES = 4


class Figures(NamedTuple):
    """What came of a run."""

    events: int
    seconds: float
    """From the first append until every segment had caught up."""
    takeover_from_killed: float
    """Seconds until all its segments had another owner."""
    takeover_from_frozen: float
    """The longest of several."""
    epochs: int
    """How often a segment got a new owner, in all."""
    owners: int
    """The processes that had segments at the end."""
    rows: int
    is_equal: bool
    """Whether the rows are those of a fresh fold."""

    def __str__(self) -> str:
        return ", ".join(
            f"{name.replace('_', ' ')} {value:.2f}" if isinstance(value, float) else f"{name.replace('_', ' ')} {value}"
            for name, value in self._asdict().items()
        )


def drawn_event(drawn: random.Random, pages: int) -> object:
    """A bit of everything, with rows that come, go and come again."""
    page = f"page-{drawn.randrange(pages)}"
    kind = drawn.random()
    if kind < 0.9:
        return Visited(page=page, visitor=f"v{drawn.randrange(5)}", seconds=drawn.randrange(99))
    return Moved(source=page, target=f"page-{drawn.randrange(pages)}") if kind < 0.97 else Closed(page=page)


async def advance_naively(self: Any, connection: Any, segments: Sequence[Segment], to: Checkpoint) -> None:
    """Moves the checkpoint, whoever owns the segment by now and wherever it stands."""
    await connection.execute(
        "update perdure.projection_segments set global_position = greatest(global_position, $1), event_id = $2, "
        "leased_until = clock_timestamp() + interval '1 second' where first_hash = any($3)",
        to.global_position,
        to.event_id,
        [segment.first_hash for segment in segments],
    )


async def work(url: str, segments: int, lease: float, *, naive: bool) -> None:
    """What a process does, until it is told to stop."""
    if naive:
        Segments.advance = advance_naively  # type: ignore[method-assign,assignment]  # the variant that must be found out
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    async with (
        PostgreSQLEventStore(url) as store,
        ProjectionService(store, [Pages()], segments=segments, lease=lease, batch_size=200),
    ):
        print("started", flush=True)
        await stopped.wait()


async def start(url: str, segments: int, lease: float, *, naive: bool) -> asyncio.subprocess.Process:
    """A process at work."""
    words = [url, str(segments), str(lease), *(["naive"] if naive else [])]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.stress.segments", "work", *words, stdout=asyncio.subprocess.PIPE, cwd=ROOT
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"started\n"
    return process


class Observed:
    """The segments, as the database shows them."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self._connection = connection

    async def owners(self) -> dict[int, str]:
        """The process id of each segment's owner."""
        rows = await self._connection.fetch("select first_hash, owner from perdure.projection_segments")
        return {row["first_hash"]: (row["owner"] or "::").split(":")[1] for row in rows}

    async def position(self) -> int:
        """Where the slowest stands."""
        position: int = await self._connection.fetchval(
            "select coalesce(min(global_position), 0) from perdure.projection_segments"
        )
        return position

    async def until(self, position: int) -> None:
        """Wait for the slowest."""
        while await self.position() < position:  # noqa: ASYNC110 - told to nobody
            await asyncio.sleep(0.02)

    async def until_shared(self, processes: Sequence[asyncio.subprocess.Process]) -> None:
        """Wait until each process has its share."""
        wanted = {str(process.pid) for process in processes}
        while set((await self.owners()).values()) != wanted:  # noqa: ASYNC110 - told to nobody
            await asyncio.sleep(0.02)

    async def taken_over(self, process: asyncio.subprocess.Process) -> float:
        """Wait until a process owns nothing; returns the seconds."""
        began = monotonic()
        while str(process.pid) in (await self.owners()).values():  # noqa: ASYNC110 - told to nobody
            await asyncio.sleep(0.01)
        return monotonic() - began


async def append(store: PostgreSQLEventStore, events: int, pages: int) -> None:
    """Append by several callers at once."""
    left = [events // PER_APPEND]

    async def call(caller: int) -> None:
        drawn = random.Random(caller)
        while left[0] > 0:
            left[0] -= 1
            stream = f"site-{drawn.randrange(100)}"
            await store.append_to_stream(stream, ANY, [drawn_event(drawn, pages) for _ in range(PER_APPEND)])

    await asyncio.gather(*[call(caller) for caller in range(CALLERS)])


async def stress(
    url: str, events: int, processes: int = 4, segments: int = 8, lease: float = 2.0, naive: bool = False
) -> Figures:
    """Run on an empty store."""
    began = monotonic()
    async with PostgreSQLEventStore(url) as store:
        pages = max(100, events // 20)
        # A backlog, so that those who are killed and frozen are at work.
        await append(store, events // 2, pages)
        running = [await start(url, segments, lease, naive=naive) for _ in range(processes)]
        observer = await asyncpg.connect(direct(url))
        seen = Observed(observer)
        await seen.until_shared(running)
        appending = asyncio.create_task(append(store, events - events // 2, pages))
        killed, frozen = running[0], running[1]

        await seen.until(events // 8)
        killed.kill()
        from_killed = await seen.taken_over(killed)

        from_frozen = 0.0
        for part in range(FREEZES):
            await seen.until(events // 4 + part * events // (2 * FREEZES))
            frozen.send_signal(signal.SIGSTOP)
            from_frozen = max(from_frozen, await seen.taken_over(frozen))
            frozen.send_signal(signal.SIGCONT)
            await seen.until_shared(running[1:])

        await appending
        await seen.until(events)
        took = monotonic() - began
        await seen.until_shared(running[1:])
        for process in running[1:]:
            process.terminate()
        for process in running:
            await process.wait()
        epochs = await observer.fetchval("select sum(epoch)::bigint from perdure.projection_segments")
        await observer.close()
        _, tables = await tables_in(url, Pages())
        expected = fold_tables(Pages(), await store.read_all_events())
    return Figures(
        events=events,
        seconds=took,
        takeover_from_killed=from_killed,
        takeover_from_frozen=from_frozen,
        epochs=epochs,
        owners=processes - 1,
        rows=sum(map(len, tables.values())),
        is_equal=tables == expected,
    )


async def _main(words: list[str]) -> bool:
    naive = words[-1:] == ["naive"]
    numbers = [float(word) for word in words if word != "naive"]
    events, processes, segments, lease = numbers + [20_000.0, 4.0, 8.0, 2.0][len(numbers) :]
    with tempfile.TemporaryDirectory() as folder:
        given = os.environ.get("PERDURE_TEST_DATABASE_URL")
        server = None if given else EmbeddedPostgreSQL(Path(folder) / "server", settings={"max_connections": "200"})
        if server is not None:
            await server.start()
        url = given or (server.url if server else "")
        try:
            figures = await stress(url, int(events), int(processes), int(segments), lease, naive)
        finally:
            if server is not None:
                await server.stop()
    print(figures)
    return figures.is_equal


if __name__ == "__main__":
    if sys.argv[1:2] == ["work"]:
        asyncio.run(work(sys.argv[2], int(sys.argv[3]), float(sys.argv[4]), naive=sys.argv[5:] == ["naive"]))
    else:
        sys.exit(0 if asyncio.run(_main(sys.argv[1:])) else 1)
