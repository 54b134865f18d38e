"""Processes that append to the same few streams lose nothing, and never deadlock."""

import asyncio
import json
import sys
from collections import defaultdict
from pathlib import Path

import asyncpg

PROCESSES, APPENDERS, SECONDS = 3, 40, 3.0


async def test_processes_that_append_to_the_same_streams_lose_nothing(
    database_url: str, connection: asyncpg.Connection
) -> None:
    program = Path(__file__).with_name("processes.py")
    processes = [
        await asyncio.create_subprocess_exec(
            sys.executable, program, database_url, str(SECONDS), str(APPENDERS), stdout=asyncio.subprocess.PIPE
        )
        for _ in range(PROCESSES)
    ]
    answers = [json.loads((await process.communicate())[0]) for process in processes]
    acknowledged = [one for answer in answers for one in answer["acknowledged"]]

    stored: dict[str, list[int]] = defaultdict(list)
    for row in await connection.fetch(
        "select stream_id, stream_version, global_position from perdure.events order by stream_id, stream_version"
    ):
        stored[row["stream_id"]].append(row["global_position"])
        assert row["stream_version"] == len(stored[row["stream_id"]])

    assert all(positions == sorted(positions) for positions in stored.values())
    for stream, version, positions in acknowledged:
        assert stored[stream][version - len(positions) : version] == positions
    assert sum(len(positions) for _, _, positions in acknowledged) == sum(map(len, stored.values()))
    assert len(acknowledged) > 100
    assert sum(answer["conflicts"] for answer in answers) > 0
    deadlocks = "select deadlocks from pg_stat_database where datname = current_database()"
    assert await connection.fetchval(deadlocks) == 0
