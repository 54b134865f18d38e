"""A rebuild under load: a long log, appends going on, and a reader that queries in a loop.

Run by hand: python tests/stress/rebuilding.py URL [events, appends a second, segments, processes]
It prints, as JSON, how long the rebuild took, what the reader saw, and whether what is shown is what was appended.
"""

import asyncio
import json
import sys
import time
from contextlib import suppress
from dataclasses import dataclass

import asyncpg

from perdure.commit import ANY
from perdure.events import event, handles
from perdure.projection import TableProjection
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.pooler import direct

USERS = 5_000
TOTAL = "select count(*)::int as users, coalesce(sum(watches), 0)::int as watches from stress_watching"


@event("test.stress.watched")
class Watched:
    user_id: str
    seconds: int


@dataclass
class Watching:
    user_id: str
    watches: int = 0
    seconds: int = 0


class WatchingPerUser(TableProjection[Watching], table="stress_watching", key="user_id", version=1):
    @handles
    def watched(self, event: Watched, row: Watching | None) -> Watching:
        row = row or Watching(event.user_id)
        row.watches += 1
        row.seconds += event.seconds
        return row


def watches(start: int, count: int) -> list[Watched]:
    return [Watched(user_id=f"u{n * 7919 % USERS}", seconds=n % 100) for n in range(start, start + count)]


class Reader:
    """Queries in a loop, and remembers the worst."""

    def __init__(self) -> None:
        self.queries = 0
        self.errors: list[str] = []
        self.longest = 0.0
        self.went_back = 0
        self.fewest = 0
        self._last = 0

    async def read(self, url: str) -> None:
        connection = await asyncpg.connect(direct(url))
        try:
            while True:
                begun = time.perf_counter()
                try:
                    row = await connection.fetchrow(TOTAL)
                except asyncpg.PostgresError as error:
                    self.errors.append(str(error))
                    continue
                assert row is not None
                self.longest = max(self.longest, time.perf_counter() - begun)
                self.queries += 1
                self.went_back += row["watches"] < self._last
                self._last = row["watches"]
                self.fewest = self.fewest or row["watches"]
                self.fewest = min(self.fewest, row["watches"])
                await asyncio.sleep(0.01)
        finally:
            await connection.close()


async def append(store: PostgreSQLEventStore, begin: int, a_second: int) -> None:
    n = begin
    while True:
        await store.append_to_stream(f"watch-{n % 50}", ANY, watches(n, 5))
        n += 5
        await asyncio.sleep(5 / a_second)


async def serve(url: str) -> None:
    async with PostgreSQLEventStore(url) as store, ProjectionService(store, [WatchingPerUser()]):
        print("started", flush=True)
        await asyncio.Event().wait()


async def started(url: str) -> asyncio.subprocess.Process:
    process = await asyncio.create_subprocess_exec(
        sys.executable, __file__, url, "serve", stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"started\n"
    return process


async def rebuild(operations: ProjectionOperations, segments: int) -> dict[str, object]:
    begun = time.perf_counter()
    asked = await operations.rebuild("stress_watching", segments=segments)
    progress: list[str] = []
    caught_up = 0.0
    while True:
        found = {one.build: one for one in await operations.status("stress_watching")}
        status = found[asked.build]
        left = "?" if status.time_left is None else f"{status.time_left:.0f}"
        progress.append(f"{status.progress:.0%} at {status.rate:.0f}/s, {left} s left, {len(status.owners)} owners")
        if status.stage != "building" and not caught_up:
            caught_up = time.perf_counter() - begun
        if status.is_shown:
            break
        await asyncio.sleep(0.5)
    seconds = time.perf_counter() - begun
    return {"seconds": seconds, "compared after": caught_up, "progress": progress[:: max(1, len(progress) // 8)]}


async def main(url: str, events: int, a_second: int, segments: int, processes: int) -> None:
    reader = Reader()
    async with PostgreSQLEventStore(url) as store:
        operations = ProjectionOperations(store)
        for n in range(0, events, 500):
            await store.append_to_stream(f"watch-{n // 500 % 50}", ANY, watches(n, 500))
        services = [await started(url) for _ in range(processes)]
        await operations.wait_for("stress_watching", events, timeout=600)
        reading = asyncio.create_task(reader.read(url))
        appending = asyncio.create_task(append(store, events, a_second))
        try:
            outcome = await rebuild(operations, segments)
            await asyncio.sleep(2)
        finally:
            appending.cancel()
            reading.cancel()
            for task in (appending, reading):
                with suppress(asyncio.CancelledError):
                    await task
        appended = await store.database.fetch_value("select max(global_position) from perdure.events")
        await operations.wait_for("stress_watching", appended, timeout=60)
        count = await store.database.fetch_value("select count(*)::int from perdure.events")
        shown = await store.database.fetch(TOTAL)
        for service in services:
            service.terminate()
            await service.wait()
    outcome |= {
        "events": count,
        "rate": count / float(str(outcome["seconds"])),
        "shown": shown[0]["watches"],
        "users": shown[0]["users"],
        "queries": reader.queries,
        "errors": reader.errors,
        "longest query": reader.longest,
        "fewest seen": reader.fewest,
        "went back": reader.went_back,
    }
    print(json.dumps(outcome, indent=1))


if __name__ == "__main__":
    if sys.argv[2:] == ["serve"]:
        asyncio.run(serve(sys.argv[1]))
    else:
        figures = [int(one) for one in sys.argv[2:]] or [200_000, 300, 4, 2]
        asyncio.run(main(sys.argv[1], *figures))
