"""Groups under stress: money moves between a few streams, by several processes, in overlapping groups of random order.

By hand: ``python -m tests.stress.groups [seconds] [processes] [appenders]``, on an embedded PostgreSQL or
PERDURE_TEST_DATABASE_URL.
"""

import asyncio
import json
import os
import random
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import asyncpg

from perdure.commit import ANY, ExpectedVersion
from perdure.errors import OptimisticConcurrencyError
from perdure.events import event
from perdure.stores.postgres.embedded import EmbeddedPostgreSQL
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.pooler import direct

STREAMS = [f"purse-{number}" for number in range(12)]


@event("test.stress.moved")
class Moved:
    amount: int
    group: str
    streams: int
    """How many streams the group has."""


class Figures(NamedTuple):
    """What came of a run."""

    groups: int
    """Acknowledged, by all processes."""
    singles: int
    conflicts: int
    stored: int
    """Groups of which there are events."""
    halves: int
    """Groups of which some events are missing."""
    gaps: int
    """Streams whose versions aren't contiguous, or don't follow the log's order."""
    money: int
    """The sum of all amounts."""
    broken_conditions: int
    """Groups that were written though the stream of a condition had moved on."""
    deadlocks: int

    def __str__(self) -> str:
        return ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in self._asdict().items())

    @property
    def is_well(self) -> bool:
        return self.stored == self.groups and not (
            self.halves or self.gaps or self.money or self.broken_conditions or self.deadlocks
        )


class Mover:
    """What a process does."""

    def __init__(self, store: PostgreSQLEventStore, end: float) -> None:
        self._store = store
        self._end = end
        self._versions = dict.fromkeys(STREAMS, 0)
        self.counts: Counter[str] = Counter()
        self.conditions: list[tuple[int, str, int]] = []
        """The first position of a group, a stream that it didn't write, and the version it had to have."""

    async def run(self) -> None:
        while asyncio.get_running_loop().time() < self._end:
            try:
                await (self._append_one() if random.random() < 0.3 else self._append_group())
            except OptimisticConcurrencyError as conflict:
                self._versions[conflict.stream_id] = conflict.actual_version
                self.counts["conflicts"] += 1

    def _expected(self, stream: str) -> ExpectedVersion:
        return ANY if random.random() < 0.7 else self._versions[stream]

    async def _append_one(self) -> None:
        stream = random.choice(STREAMS)
        result = await self._store.append_to_stream(stream, self._expected(stream), [_moved(0, "", 1)])
        self._versions[stream] = result.stream_version
        self.counts["singles"] += 1

    async def _append_group(self) -> None:
        streams = random.sample(STREAMS, random.randint(3, 5))
        *written, other = streams
        amounts = [random.randint(-9, 9) for _ in written[1:]]
        group = str(uuid4())
        conditions = {other: self._versions[other]} if random.random() < 0.3 else {}
        results = await self._store.append_to_streams(
            [
                (stream, self._expected(stream), [_moved(amount, group, len(written))])
                for stream, amount in zip(written, [*amounts, -sum(amounts)], strict=True)
            ],
            conditions=conditions,
        )
        self._versions.update({one.stream_id: one.stream_version for one in results})
        self.counts["groups"] += 1
        self.conditions += [(results[0].global_positions[0], *condition) for condition in conditions.items()]


def _moved(amount: int, group: str, streams: int) -> Moved:
    return Moved(amount=amount, group=group, streams=streams)


async def move(url: str, seconds: float, appenders: int) -> None:
    async with PostgreSQLEventStore(url) as store:
        mover = Mover(store, asyncio.get_running_loop().time() + seconds)
        await asyncio.gather(*[mover.run() for _ in range(appenders)])
    print(json.dumps({**mover.counts, "conditions": mover.conditions}))


async def stress(url: str, seconds: float, processes: int = 3, appenders: int = 12) -> Figures:
    """Run on an empty store for so many seconds."""
    program = [sys.executable, "-m", "tests.stress.groups", "move", url, str(seconds), str(appenders)]
    running = [
        await asyncio.create_subprocess_exec(*program, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2])
        for _ in range(processes)
    ]
    answers: list[dict[str, Any]] = [json.loads((await one.communicate())[0]) for one in running]
    connection = await asyncpg.connect(direct(url))
    try:
        rows = await connection.fetch(
            "select stream_id, stream_version, global_position, event_data from perdure.events order by global_position"
        )
        deadlocks = await connection.fetchval(
            "select deadlocks from pg_stat_database where datname = current_database()"
        )
    finally:
        await connection.close()

    events = [json.loads(row["event_data"]) for row in rows]
    found = Counter(one["group"] for one in events if one["group"])
    sizes = {one["group"]: one["streams"] for one in events}
    places: dict[str, list[int]] = defaultdict(list)
    gaps = set()
    for row in rows:
        places[row["stream_id"]].append(row["global_position"])
        if row["stream_version"] != len(places[row["stream_id"]]):
            gaps.add(row["stream_id"])
    # A condition held: of that stream, so many events stand before the group.
    broken = sum(
        sum(place < position for place in places[stream]) != version
        for answer in answers
        for position, stream, version in answer["conditions"]
    )
    return Figures(
        groups=sum(answer["groups"] for answer in answers),
        singles=sum(answer["singles"] for answer in answers),
        conflicts=sum(answer["conflicts"] for answer in answers),
        stored=len(found),
        halves=sum(count != sizes[group] for group, count in found.items()),
        gaps=len(gaps),
        money=sum(one["amount"] for one in events),
        broken_conditions=broken,
        deadlocks=deadlocks,
    )


async def _main(seconds: float, processes: int, appenders: int) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        given = os.environ.get("PERDURE_TEST_DATABASE_URL")
        server = None if given else EmbeddedPostgreSQL(Path(folder) / "server", settings={"max_connections": "200"})
        if server is not None:
            await server.start()
        url = given or (server.url if server else "")
        try:
            connection = await asyncpg.connect(direct(url))
            await connection.execute("drop schema if exists perdure cascade")
            await connection.close()
            async with PostgreSQLEventStore(url):
                pass
            figures = await stress(url, seconds, processes, appenders)
        finally:
            if server is not None:
                await server.stop()
    print(figures)
    return figures.is_well


if __name__ == "__main__":
    if sys.argv[1:2] == ["move"]:
        asyncio.run(move(sys.argv[2], float(sys.argv[3]), int(sys.argv[4])))
    else:
        _seconds, _processes, _appenders = [*sys.argv[1:], *("30", "3", "12")[len(sys.argv) - 1 :]]
        sys.exit(0 if asyncio.run(_main(float(_seconds), int(_processes), int(_appenders))) else 1)
