"""Several hosts in the URL: each is tried by itself, one that takes writes is found, and errors name them all."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import pytest

from perdure.commit import ANY, StreamAppend
from perdure.errors import ConfigurationError, ServersUnavailableError, StoreUnavailableError
from perdure.stores.postgres.connections.database import Database
from perdure.stores.postgres.connections.database_url import check_url
from perdure.stores.postgres.connections.hosts import Host, hosts_of
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.cluster import free_port
from tests.stores.postgres.races import notes, texts

SECRET = "hunter2secret"
PATIENCE = 60.0


class Silent:
    """A host that takes connections and never says a word."""

    def __init__(self) -> None:
        self.host = Host("127.0.0.1", 0)
        self.calls = 0

    async def meet(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.calls += 1
        try:
            await asyncio.Event().wait()
        finally:
            writer.close()


@asynccontextmanager
async def silent_host() -> AsyncIterator[Silent]:
    silent = Silent()
    meetings: list[asyncio.Task[None]] = []
    server = await asyncio.start_server(
        lambda *streams: meetings.append(asyncio.ensure_future(silent.meet(*streams))), "127.0.0.1", 0
    )
    silent.host = Host("127.0.0.1", server.sockets[0].getsockname()[1])
    try:
        yield silent
    finally:
        server.close()
        for meeting in meetings:
            meeting.cancel()
        await asyncio.gather(*meetings, return_exceptions=True)


@pytest.fixture
def patient_with_others(monkeypatch: pytest.MonkeyPatch) -> Callable[[Silent], None]:
    """Let a connection to any but the silent host take longer than the time-out that is provoked."""
    connect = asyncpg.connect

    def give_time(silent: Silent) -> None:
        def patient(*arguments: Any, timeout: float, port: int, **settings: Any) -> Any:
            return connect(*arguments, timeout=timeout if port == silent.host.port else PATIENCE, port=port, **settings)

        monkeypatch.setattr(asyncpg, "connect", patient)

    return give_time


def url_of(database: str, *hosts: Host, more: str = "") -> str:
    names = ",".join(host.host for host in hosts)
    ports = ",".join(str(host.port) for host in hosts)
    return f"postgresql://postgres:{SECRET}@/{database}?host={names}&port={ports}{more}"


@pytest.fixture
def right(database_url: str) -> Host:
    """The host of this test's database."""
    return hosts_of(database_url)[0]


@pytest.fixture
def name(database_url: str) -> str:
    """The name of this test's database."""
    return Database(database_url).name


async def test_regression_31_a_silent_host_hides_no_other_and_costs_its_time_out_once(
    right: Host, name: str, patient_with_others: Callable[[Silent], None]
) -> None:
    async with silent_host() as silent:
        url = url_of(name, silent.host, right)
        with pytest.raises(TimeoutError):
            await asyncpg.connect(url, timeout=0.3)  # what the driver makes of it
        silent.calls = 0
        patient_with_others(silent)
        async with PostgreSQLEventStore(url, connect_timeout=0.3) as store:
            await store.append_to_stream("note-1", ANY, notes("a", "b"))
            follower = store.subscribe()

            assert texts([await anext(follower), await anext(follower)]) == ["a", "b"]
    assert silent.calls == 1


async def test_an_error_names_each_host_and_why_but_no_password(
    right: Host, name: str, connection: asyncpg.Connection, patient_with_others: Callable[[Silent], None]
) -> None:
    await connection.execute(f'alter database "{name}" set default_transaction_read_only = on')
    nobody = Host("127.0.0.1", free_port())
    async with silent_host() as silent:
        patient_with_others(silent)
        store = PostgreSQLEventStore(url_of(name, silent.host, nobody, right), connect_timeout=0.3)
        with pytest.raises(ServersUnavailableError) as refused:
            await store.open()
    reasons = refused.value.failures
    assert reasons[str(silent.host)] == "no answer within 0.3 s"
    assert "Connect call failed" in reasons[str(nobody)]
    assert reasons[str(right)] == "is not read-write"
    assert SECRET not in f"{refused.value} {store!r}"
    assert str(nobody) in str(refused.value)


async def test_a_server_that_fits_is_chosen_as_the_url_says(
    right: Host, name: str, connection: asyncpg.Connection
) -> None:
    await connection.execute(f'alter database "{name}" set default_transaction_read_only = on')
    nobody = Host("127.0.0.1", free_port())
    for target in ("any", "read-only", "prefer-standby", "primary"):
        database = Database(
            url_of(name, nobody, right, more=f"&target_session_attrs={target}"), connect_timeout=PATIENCE
        )
        async with database.session() as session:
            assert await session.fetchval("select current_database()") == name
    with pytest.raises(ServersUnavailableError, match="is not standby"):
        await Database(url_of(name, nobody, right, more="&target_session_attrs=standby")).connect()


@pytest.mark.one_session
async def test_a_connection_that_became_read_only_is_not_used_again(
    database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with PostgreSQLEventStore(database_url, pool_size=2) as store:
        async with store.database.connection() as one, store.database.connection() as other:
            for connection in (one, other):
                await connection.execute("set session characteristics as transaction read only")
        with pytest.raises(StoreUnavailableError, match="read-only"):
            await store.append_to_streams([StreamAppend("note-1", ANY, notes("a"))])
        await asyncio.gather(
            *[store.append_to_streams([StreamAppend(f"note-{n}", ANY, notes(n))]) for n in range(4)],
        )

        assert sorted(texts(await store.read_all_events())) == ["0", "1", "2", "3"]


@pytest.mark.one_session
async def test_the_pool_leaves_a_host_that_is_good_no_more(
    right: Host, name: str, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    gate = free_port()
    async with forwarded(gate, right) as door:
        database = Database(url_of(name, Host("127.0.0.1", gate), right), pool_size=2, connect_timeout=PATIENCE)
        await database.open()
        before = await database.fetch_value("select pg_backend_pid()")
        assert await database.fetch_value("select pg_backend_pid()") == before
        door.close()
        await door.wait_closed()
        async with database.session():
            pass  # finds the other host
        assert "no longer at 127.0.0.1" in caplog.text
        after = await database.fetch_value("select pg_backend_pid()")
        await database.close()
    assert after != before


@asynccontextmanager
async def forwarded(port: int, to: Host) -> AsyncIterator[asyncio.Server]:
    """A port that leads to a server; closed, it takes no more connections, but those that there are go on."""
    pumps: set[asyncio.Task[None]] = set()

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)
        writer.close()

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if to.host.startswith("/"):
            there = await asyncio.open_unix_connection(f"{to.host}/.s.PGSQL.{to.port}")
        else:
            there = await asyncio.open_connection(to.host, to.port)
        pumps.update({asyncio.ensure_future(pump(reader, there[1])), asyncio.ensure_future(pump(there[0], writer))})

    server = await asyncio.start_server(meet, "127.0.0.1", port)
    try:
        yield server
    finally:
        server.close()
        for one in pumps:
            one.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("postgresql:///db", []),
        ("postgresql://u:p@one/db", ["one:5432"]),
        ("postgresql://u:p@one,two:5433/db", ["one:5432", "two:5433"]),
        ("postgresql://one,[::1]:7/db", ["one:5432", "[::1]:7"]),
        ("postgresql:///db?host=one,two", ["one:5432", "two:5432"]),
        ("postgresql:///db?host=one,two&port=6000", ["one:6000", "two:6000"]),
        ("postgresql:///db?host=one,/run/pg&port=1,2", ["one:1", "/run/pg:2"]),
        ("postgresql://u@%2Frun%2Fpg/db", ["/run/pg:5432"]),
    ],
)
def test_hosts_are_read_as_the_driver_reads_them(url: str, hosts: list[str]) -> None:
    assert list(map(str, hosts_of(url))) == hosts


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("", "is empty"),
        ("localhost/shop", "has no scheme"),
        ("host=localhost password=s3cret", "has no scheme"),
        (
            "postgresql+other://me:s3cret@h/shop",
            "names a driver that Perdure doesn't know after a '+'",
        ),
        ("mysql://me:s3cret@h/shop", "isn't one of PostgreSQL"),
        ("s3cret://h/shop", "isn't one of PostgreSQL"),
        (
            "postgresql://me:s3cret#1@h/shop",
            "can't be read; in a password, write @ : / ? # % as %40 %3A %2F %3F %23 %25",
        ),
    ],
)
def test_what_is_wrong_with_a_url_is_said_without_its_password(url: str, reason: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        check_url(url)
    assert f"the database's URL {reason}" in str(caught.value)
    assert "it must look like postgresql://user@host:5432/database" in str(caught.value)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("url", ["postgresql://one,,two/db", "postgresql:///db?host=one,two&port=1,2,3"])
def test_a_list_of_hosts_that_is_none_is_a_configuration_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match="each of several servers"):
        Database(url)


def test_hosts_and_ports_may_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "one,two")
    monkeypatch.setenv("PGPORT", "1,2")

    assert list(map(str, hosts_of("postgresql:///db"))) == ["one:1", "two:2"]
