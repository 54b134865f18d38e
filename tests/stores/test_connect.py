"""Which database `connect` takes, and what it says about it."""

import logging
import os
from collections.abc import Iterator

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

import perdure
from perdure.commit import NO_STREAM
from perdure.stores import connect as module
from tests.stores.postgres.races import notes

SECRET = "s3cret"


@pytest.fixture(autouse=True)
def new_process(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Nothing is set, and nothing was said yet."""
    for name in ("PERDURE_DATABASE_URL", "DATABASE_URL", "PGPASSWORD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(module, "_announced", set())
    caplog.set_level(logging.DEBUG)
    yield
    assert SECRET not in caplog.text
    assert SECRET not in repr([vars(record) for record in caplog.records])


def announced(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.message) for record in caplog.records if "DATABASE_URL" in record.message]


async def opened(url: str | None = None) -> None:
    async with perdure.connect(url):
        pass


def with_password(url: str) -> str:
    """The URL for SQLAlchemy, with a password that the server doesn't ask for."""
    return f"postgresql+asyncpg://{url.partition('://')[2]}{'&' if '?' in url else '?'}password={SECRET}"


async def test_database_url_is_announced_once(
    database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    if os.environ.get("PERDURE_TEST_DATABASE_URL"):
        pytest.skip("NOT RUN: the server may ask for another password")
    monkeypatch.setenv("DATABASE_URL", with_password(database_url))

    await opened()
    await opened()

    [(level, message)] = announced(caplog)
    assert level == "INFO"
    assert message.startswith("no URL was given, so the event store is in the database of DATABASE_URL: postgresql://")
    assert message.endswith("; to choose another, set PERDURE_DATABASE_URL")


async def test_making_the_schema_there_is_a_warning(
    empty_database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DATABASE_URL", empty_database_url)

    await opened()
    await opened()

    (first, _), (second, warning) = announced(caplog)
    assert (first, second) == ("INFO", "WARNING")
    assert warning.startswith("schema 'perdure': applied 0100_baseline")
    assert warning.endswith(
        ", in the database of DATABASE_URL, as no URL was given; to choose another, set PERDURE_DATABASE_URL"
    )


async def test_a_database_that_was_named_is_not_announced(
    empty_database_url: str, database_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgresql://127.0.0.1:1/nowhere")
    await opened(empty_database_url)
    monkeypatch.setenv("PERDURE_DATABASE_URL", database_url)
    await opened()

    assert announced(caplog) == []


async def test_one_url_serves_sqlalchemy_and_the_store(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"postgresql+asyncpg://{database_url.partition('://')[2]}"
    sign = "&" if "?" in url else "?"
    monkeypatch.setenv("DATABASE_URL", f"{url}{sign}ssl=prefer&prepared_statement_cache_size=0")

    async with perdure.connect() as store:
        await store.append_to_stream("note-1", NO_STREAM, notes("a"))
        engine = create_async_engine(os.environ["DATABASE_URL"])
        async with engine.connect() as connection:
            assert (await connection.execute(text("select count(*) from perdure.events"))).scalar() == 1
        await engine.dispose()
