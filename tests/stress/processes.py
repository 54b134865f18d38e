"""Several processes append to the same few streams; whatever was acknowledged must be there, once, in order."""

import asyncio
import json
import random
import sys

from perdure.commit import ANY
from perdure.errors import OptimisticConcurrencyError
from perdure.events import event
from perdure.stores.postgres.store import PostgreSQLEventStore


@event("test.stress.appended")
class Appended:
    number: int


async def append(store: PostgreSQLEventStore, end: float, acknowledged: list[list[object]]) -> int:
    """Append until the end, under any version or an exact one. Returns how many conflicts there were."""
    versions: dict[str, int] = {}
    conflicts = 0
    while asyncio.get_running_loop().time() < end:
        stream = f"hot-{random.randrange(30)}"
        expected = ANY if random.random() < 0.5 else versions.get(stream, 0)
        try:
            result = await store.append_to_stream(stream, expected, [Appended(number=1)] * random.choice((1, 1, 3)))
        except OptimisticConcurrencyError as conflict:
            versions[stream] = conflict.actual_version
            conflicts += 1
        else:
            versions[stream] = result.stream_version
            acknowledged.append([stream, result.stream_version, list(result.global_positions)])
    return conflicts


async def main(url: str, seconds: float, appenders: int) -> None:
    acknowledged: list[list[object]] = []
    async with PostgreSQLEventStore(url) as store:
        end = asyncio.get_running_loop().time() + seconds
        conflicts = await asyncio.gather(*[append(store, end, acknowledged) for _ in range(appenders)])
    print(json.dumps({"acknowledged": acknowledged, "conflicts": sum(conflicts)}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
