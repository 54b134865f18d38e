"""A process that runs a reaction which writes each call to a file: ``python -m ... URL FILE [WHAT AT]``.

It prints ``started``. WHAT is ``kill`` or ``stop``: the signal that it sends to itself after it has written its AT-th
call, before that call is recorded.
"""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import NamedTuple

import perdure
from perdure.events import handles
from perdure.projections.service import ProjectionService
from perdure.reaction import Delivery, Reaction
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.projections.engines.reaction.calling import Placed

ROOT = Path(__file__).parents[4]
LEASE = 1.0
SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}


class Line(NamedTuple):
    """A call, as it is in the file."""

    process: int
    order: str
    number: int
    key: str
    attempt: int
    may_be_repeat: bool


class Journal(Reaction, name="journal", start=0, concurrency=4):
    """Writes each call to a file."""

    def __init__(self, file: Path, what: str = "", at: int = 0) -> None:
        self.file = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self.what, self.at, self.count = what, at, 0

    @handles
    async def placed(self, event: Placed, call: Delivery) -> None:
        words = os.getpid(), event.order, event.number, call.idempotency_key, call.attempt, int(call.may_be_repeat)
        os.write(self.file, (" ".join(map(str, words)) + "\n").encode())
        self.count += 1
        if self.count == self.at:
            os.kill(os.getpid(), SIGNALS[self.what])
        await asyncio.sleep(0.001)


def lines_in(file: Path) -> list[Line]:
    """The calls so far."""
    if not file.exists():
        return []
    split = [line.split() for line in file.read_text().splitlines()]
    return [
        Line(int(process), order, int(number), key, int(attempt), again == "1")
        for process, order, number, key, attempt, again in split
    ]


async def started(url: str, file: Path, *more: str) -> asyncio.subprocess.Process:
    """Start such a process."""
    sources = f"{Path(perdure.__file__).parents[1]}{os.pathsep}{ROOT}"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", __name__, url, str(file), *more),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": sources},
    )
    assert process.stdout is not None
    assert await process.stdout.readline() == b"started\n"
    return process


async def main(url: str, file: str, what: str = "", at: str = "0") -> None:
    """Run the reaction until the process is killed."""
    journal = Journal(Path(file), what, int(at))
    async with PostgreSQLEventStore(url) as store, ProjectionService(store, [journal], lease=LEASE, segments=4):
        print("started", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
