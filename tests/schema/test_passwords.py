"""No password in an error, a repr or a log, whatever goes wrong while a schema is opened, migrated or granted."""

import asyncio
import logging
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

import pytest

import perdure
from perdure import schema
from perdure.commit import ANY
from perdure.errors import PerdureError
from perdure.stores.postgres.connections.database import Database
from perdure.stores.postgres.embedded import EmbeddedPostgreSQL
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.schema.releases import Release, release
from tests.schema.roles import url_of
from tests.stores.postgres.races import notes, other_connection

pytestmark = pytest.mark.server  # the tests start servers of their own

__all__ = ["release"]  # a fixture, which is imported to be found

SECRET = "hunter2 :/?#@%&=secret"
SHAPES = {SECRET, quote(SECRET, safe=""), quote(SECRET), "hunter2"}
WRONG = "swordfish"

Call = Callable[[str], Awaitable[object]]


async def opened(url: str) -> None:
    async with perdure.connect(url) as store:
        await store.append_to_stream("note-1", ANY, notes("a"))
        await store.read_all_events()


CALLS: dict[str, Call] = {
    "connect": opened,
    "connect without migrating": lambda url: PostgreSQLEventStore(url, migrate=False).open(),
    "plan": schema.plan,
    "apply": lambda url: schema.apply(url, lock_timeout=0.05, timeout=0.05),
    "verify": schema.verify,
    "grants": schema.grants,
    "grant": lambda url: schema.grant(url, "secrets_writer", "writer"),
    "make the owner": lambda url: schema.grant(url, "secrets_writer", "owner"),
    "revoke": lambda url: schema.revoke(url, "secrets_writer"),
}


def told_by(error: BaseException) -> str:
    """All that an error and those behind it say, as a log, a debugger or a tracker of errors would show them."""
    shown = [*traceback.format_exception(error)]
    chain: BaseException | None = error
    while chain is not None:
        shown += [str(chain), repr(chain), repr(chain.args), repr(vars(chain))]
        chain = chain.__cause__ or chain.__context__
    return "\n".join(shown)


def assert_no_secret(text: str) -> None:
    assert [shape for shape in (*SHAPES, WRONG) if shape in text] == []


async def told_by_all(url: str, *but: str) -> list[str]:
    """What is told by each way of using the URL that fails."""
    found = []
    for call in (call for name, call in CALLS.items() if name not in but):
        try:
            await call(url)
        except PerdureError as error:
            found.append(told_by(error))
    return found


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[EmbeddedPostgreSQL]:
    """A server that asks for passwords, with a role that has one and no rights."""
    settings = {"fsync": "off", "shared_buffers": "16MB"}
    async with EmbeddedPostgreSQL(tmp_path / "server", tcp=True, settings=settings) as server:
        await run(server, f"create role secrets login password '{SECRET}'; create role secrets_writer")
        yield server


async def run(server: EmbeddedPostgreSQL, statements: str) -> None:
    async with other_connection(server.url) as connection:
        await connection.execute(statements)


async def test_a_password_is_never_told(
    server: EmbeddedPostgreSQL, release: Release, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("perdure", "asyncpg", "asyncio", ""):
        caplog.set_level(logging.DEBUG, name or None)
    asyncio.get_running_loop().set_debug(True)  # it logs what tasks and callbacks hold
    url = url_of(server.tcp_url_for("postgres"), "secrets", SECRET)
    user = url.rpartition("@")[0]
    found = []
    for wrong in (
        url,  # the role may do nothing
        url_of(url, "secrets", WRONG),
        url_of(url, "nobody", SECRET),
        f"{url.rpartition('/')[0]}/missing",
        f"{user}@127.0.0.1:1/postgres",
        url.replace("postgresql://", "mysql://"),
        url.replace(quote(SECRET, safe=""), SECRET),
    ):
        told = await told_by_all(wrong)
        assert len(told) >= len(CALLS) - 1, wrong  # who may connect may ask for a plan
        found += told

    await run(server, "grant create on database postgres to secrets")
    assert len(await told_by_all(url)) == 1  # to make a role the owner that one isn't a member of
    release({"01_events.locking.sql": "alter table {schema}.events add column extra text"})
    async with other_connection(url) as holder, holder.transaction():
        await holder.fetchval("select count(*) from perdure.events")
        locked = await told_by_all(url, "connect")  # which would be more patient
    assert len(locked) == len(CALLS) - 2
    found += [*locked, repr(PostgreSQLEventStore(url)), repr(Database(url)), repr(await schema.plan(url))]

    assert_no_secret("\n".join(found))
    assert_no_secret(caplog.text)
    assert_no_secret("\n".join(repr(vars(record)) for record in caplog.records))
    assert "hunter2" in url
