"""One PostgreSQL server for the run, one database for each test, copied from a migrated template."""

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, settings

from perdure.events import registry
from perdure.stores.postgres.embedded import EmbeddedPostgreSQL
from perdure.stores.postgres.embedded.binaries import Binaries
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.cluster import in_memory
from tests.databases import Databases, url_for
from tests.integrations.brokers import MISSING
from tests.patience import patience
from tests.pooler import BEHIND, PROGRAM, around, direct, in_front_of
from tests.pooler import MISSING as NO_POOLER

QUICK = "PERDURE_TEST_QUICK"

# How long properties are looked at, where they don't say so themselves.
settings.register_profile("tests", max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
settings.register_profile("fuzz", settings.get_profile("tests"), max_examples=2000, print_blob=True)
settings.register_profile(
    "broken",  # for what is known to fail: soon, and the same each time
    settings.get_profile("tests"),
    max_examples=50,
    phases=[Phase.generate],
    report_multiple_bugs=False,
    derandomize=True,
    database=None,
)
settings.load_profile("tests")

_SETTINGS = {
    # The server is thrown away after the run. Tests of durability start servers of their own.
    "fsync": "off",
    "full_page_writes": "off",
    "max_connections": "300",
    "shared_buffers": "128MB",
    "max_prepared_transactions": "10",
    "max_wal_size": "256MB",
}


def pytest_configure() -> None:
    """Whoever asks for a pooler that isn't there is told, instead of being shown tests that ran without."""
    if os.environ.get(BEHIND) and PROGRAM is None:
        pytest.exit(f"NOT RUN: {NO_POOLER}", returncode=3)


_NOT_RUN = pytest.StashKey[Counter[str]]()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests that take the server of the run. Those that start servers of their own say so themselves.

    Tests of a broker that isn't there are left out, which the last lines of the run tell.
    """
    missing = {
        item: marker.args[0] for item in items for marker in item.iter_markers("broker") if marker.args[0] in MISSING
    }
    config.hook.pytest_deselected(items=list(missing))
    items[:] = [item for item in items if item not in missing]
    not_run = config.stash[_NOT_RUN] = Counter(missing.values())
    if hasattr(config, "workeroutput"):
        config.workeroutput["not_run"] = dict(not_run)
    for item in items:
        if "server_itself" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.server)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Take over from a process of tests what it left out: all of them leave out the same."""
    node.config.stash[_NOT_RUN] = Counter(getattr(node, "workeroutput", {}).get("not_run", {}))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Tell what wasn't tried here, and why."""
    for broker, count in config.stash.get(_NOT_RUN, Counter()).items():
        terminalreporter.line(f"NOT RUN: {count} tests of {broker}: {MISSING[broker]}")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> None:
    """Stop a test that hangs, with patience for a busy machine: unless it says itself how long it may take."""
    if item.get_closest_marker("timeout") is None and item.config.getoption("timeout") is None:
        item.add_marker(pytest.mark.timeout(patience(float(item.config.getini("timeout")))))


@pytest.fixture(scope="session", autouse=True)
def no_server() -> Iterator[None]:
    """With `make quick`, refuse to start a server: a test that needs one carries the marker, or fails here."""
    if QUICK not in os.environ:
        yield
        return

    def refuse(major: int) -> Binaries:
        raise AssertionError(f"this test starts PostgreSQL {major}: mark it with pytest.mark.server")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Binaries, "find", refuse)
        yield


async def _execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(direct(url))
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@pytest.fixture(scope="session")
def server_url(server_itself: str) -> Iterator[str]:
    """A server where the tests may make databases; through a pooler if PERDURE_TEST_POOLER says so."""
    if not os.environ.get(BEHIND):
        yield server_itself
        return
    with in_front_of(server_itself) as url:
        yield url


@pytest.fixture(scope="session")
def server_itself() -> Iterator[str]:
    """The server of the run: PERDURE_TEST_DATABASE_URL, or an embedded one."""
    if url := os.environ.get("PERDURE_TEST_DATABASE_URL"):
        yield url
        return
    folder = Path(tempfile.mkdtemp(prefix="perdure-server-", dir=in_memory()))
    folder.chmod(0o711)  # root's server is another user's
    major = int(os.environ.get("PERDURE_TEST_MAJOR", "18"))
    server = EmbeddedPostgreSQL(folder / "server", major=major, settings=_SETTINGS)
    asyncio.run(server.start())
    try:
        yield server.url
    finally:
        location = server.location
        asyncio.run(server.stop())
        shutil.rmtree(location)  # elsewhere, if its user can't enter the folder
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def template(server_url: str) -> Iterator[str]:
    """The name of a database that holds an empty store."""
    name = f"perdure_template_{uuid4().hex[:8]}"

    async def make() -> None:
        await _execute(server_url, f"create database {name}")
        async with PostgreSQLEventStore(direct(url_for(server_url, name))):
            pass

    asyncio.run(make())
    yield name
    asyncio.run(_execute(server_url, f"drop database {name} with (force)"))


@pytest.fixture(scope="session")
def databases(server_url: str, template: str) -> Iterator[Databases]:
    """Databases for tests, each with an empty store in the schema `perdure`."""
    with Databases(server_url, template) as databases:
        yield databases


@pytest.fixture
async def database_url(request: pytest.FixtureRequest, databases: Databases) -> AsyncIterator[str]:
    """A database of this test's own, with an empty store in the schema `perdure`."""
    async with databases.one() as url:
        yield direct(url) if request.node.get_closest_marker("one_session") else url


@pytest.fixture
async def empty_database_url(server_url: str) -> AsyncIterator[str]:
    """A database of this test's own with nothing in it."""
    name = f"perdure_empty_{uuid4().hex[:8]}"
    await _execute(server_url, f"create database {name}")
    yield url_for(server_url, name)
    await _execute(server_url, f"drop database {name} with (force)")


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PostgreSQLEventStore]:
    """An open store on a database of this test's own. Behind a pooler, it listens around it."""
    async with PostgreSQLEventStore(database_url, direct_url=around(database_url)) as store:
        yield store


@pytest.fixture
async def connection(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """A connection to this test's database, beside the store."""
    connection = await asyncpg.connect(direct(database_url))
    try:
        yield connection
    finally:
        await connection.close()


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make deciding take no time. On a busy machine, a queue would spread waiting commands over several commits."""
    monkeypatch.setattr("perdure.repository.pace.perf_counter", lambda: 0.0)


@pytest.fixture
def own_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Events and upcasters that a test defines are forgotten after it."""
    for name, known in vars(registry).items():
        monkeypatch.setattr(registry, name, dict(known))
