"""Writes the dump with data of the schema as it is: run it at the end of an issue that adds a migration.

    python -m tests.schema.write_dump

The file is named after the newest migration, and never written again. `test_dumps.py` restores and upgrades each.
"""

import asyncio
import re
import sys
import tempfile
from pathlib import Path

from perdure import schema
from perdure.stores.postgres.embedded.server import EmbeddedPostgreSQL
from perdure.stores.postgres.schema.migrations import known_migrations
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.backup.programs import Programs
from tests.schema.dumped import ROLE, write_data
from tests.stores.postgres.races import other_connection

ROOT = Path(__file__).parents[2]
DUMPS = Path(__file__).parent / "dumps"
ONLY_FOR_PSQL = re.compile(r"^\\.*\n", re.MULTILINE)
ONLY_FOR_NEW_SERVERS = re.compile(r"^SET (transaction_timeout|idle_in_transaction_session_timeout).*\n", re.MULTILINE)


async def main() -> None:
    target = DUMPS / f"{known_migrations()[-1].name}.sql"
    if target.exists():
        sys.exit(f"{target.name} is there already, and dumps are never changed: add a migration first")
    with tempfile.TemporaryDirectory(prefix="perdure-dump-") as folder:
        async with EmbeddedPostgreSQL(Path(folder) / ".perdure") as server:
            async with PostgreSQLEventStore(server.url) as store, other_connection(server.url) as connection:
                await connection.execute(f"create role {ROLE}")
                await schema.grant(server.url, ROLE, "writer")
                await write_data(store)
            text = await _dump(server.url)
    target.write_text(text, encoding="utf-8")
    print(f"{target}: {len(text) / 1000:.0f} kB")


async def _dump(url: str) -> str:
    with tempfile.TemporaryDirectory(prefix="perdure-dump-") as folder:
        programs = await Programs.found(Path(folder))
        dump = await programs.dump(url, "--format=plain", "--inserts", "--no-owner")
        text = await asyncio.to_thread(dump.read_text, "utf-8")
    text = text.replace(f"{ROOT}/", "")  # in the tracebacks of parked events
    return ONLY_FOR_NEW_SERVERS.sub("", ONLY_FOR_PSQL.sub("", text))


if __name__ == "__main__":
    asyncio.run(main())
