"""A secret is given in every way to configure a database, and is looked for in all that can be printed."""

import asyncio
import base64
import logging
import traceback
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from urllib.parse import quote
from uuid import uuid4

import click
import pytest

import perdure as library
from perdure import Application, PostgreSQLEventStore
from perdure.cli.program import COMMANDS, program
from perdure.errors import ConfigurationError, InvalidArgumentError, PerdureError
from perdure.errors.mask import masked_text, masked_url
from perdure.stores.postgres.connections.database import Database
from perdure.stores.postgres.embedded import EmbeddedPostgreSQL
from tests.cli.calling import Answer, Call
from tests.schema.test_passwords import told_by
from tests.telemetry.conftest import Exported, exported

__all__ = ["exported"]  # a fixture, which is imported to be found

MARK = "C4nary"
SECRET = f"{MARK} 1:/?#@%&=,'\"{MARK}"
"""Whichever piece of it ends up anywhere: the mark is at both of its ends."""
ESCAPED = quote(SECRET, safe="")
PARTS = {MARK, base64.b64encode(SECRET.encode()).decode()}
NOWHERE = "127.0.0.1:1"

URLS = {
    "user": f"postgresql://u:{ESCAPED}@{NOWHERE}/x",
    "password": f"postgresql://u@{NOWHERE}/x?password={ESCAPED}",
    "later": f"postgresql://u@{NOWHERE}/x?sslmode=prefer&password={ESCAPED}",
    "sslpassword": f"postgresql://u@{NOWHERE}/x?sslpassword={ESCAPED}",
    "escaped name": f"postgresql://u@{NOWHERE}/x?p%61ssword={ESCAPED}",
    "unknown": f"postgresql://u@{NOWHERE}/x?app.key={ESCAPED}",
    "SQLAlchemy": f"postgresql+asyncpg://u:{ESCAPED}@{NOWHERE}/x?ssl=prefer&prepared_statement_cache_size=0",
    "SQLAlchemy's parameter": f"postgresql+psycopg_async://u@{NOWHERE}/x?app_key={ESCAPED}",
    "twice": f"postgresql+psycopg://u:{ESCAPED}@{NOWHERE}/x?password=another",
    "impossible": f"postgresql://u:{ESCAPED}@{NOWHERE}/x?channel_binding=require",
    "no seconds": f"postgresql://u:{ESCAPED}@{NOWHERE}/x?connect_timeout=never",
    "another driver": f"postgresql+other://u:{ESCAPED}@{NOWHERE}/x",
    "several hosts": f"postgresql://u:{ESCAPED}@{NOWHERE},127.0.0.1:2/x?password={ESCAPED}",
    "no such host": f"postgresql://u:{ESCAPED}@no-such-host.invalid/x",
    "not escaped": f"postgresql://u:{SECRET}@{NOWHERE}/x",
    "not escaped parameter": f"postgresql://u@{NOWHERE}/x?password={SECRET}",
    "another scheme": f"mysql://u:{ESCAPED}@{NOWHERE}/x",
    "no scheme": f"u:{ESCAPED}@{NOWHERE}/x",
    "port": f"postgresql://u:{ESCAPED}@127.0.0.1:port/x",
    "port parameter": f"postgresql://u:{ESCAPED}@127.0.0.1/x?port=port",
    "IPv6": f"postgresql://u:{ESCAPED}@[::1/x",
    "folded character": f"postgresql://u:{MARK}\u2100@{NOWHERE}/x",
    "target": f"postgresql://u:{ESCAPED}@{NOWHERE}/x?target_session_attrs=nothing",
    "ssl": f"postgresql://u:{ESCAPED}@{NOWHERE}/x?sslmode=verify-full&sslrootcert=/nowhere",
    "settings": f"host=127.0.0.1 port=1 password={MARK} user=u",
    "quoted settings": f"host=127.0.0.1 port=1 user=u password='{MARK} {MARK}'",
    "alone": MARK,
}
ARGUMENTS = {
    "streams show": ["user-1"],
    "events show": ["1"],
    "state": ["user-1"],
    "projections pause": ["pausing"],
    "projections resume": ["pausing"],
    "projections status": ["pausing"],
    "projections wait": ["pausing"],
    "projections rebuild": ["pausing"],
    "parked show": ["pausing", "1"],
    "parked retry": ["pausing", "--yes"],
    "parked skip": ["pausing", "1", "--reason", "x", "--yes"],
    "timers cancel": ["trials", "{}", "end", "--reason", "x", "--yes"],
}
ENDLESS = {("run",), ("events", "tail"), ("projections", "watch"), ("projections", "wait")}
PSQL = ("db", "psql")
"""It prints what psql prints, see `test_clients`."""


def commands(group: click.Group = program, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The names of all commands."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


def call_of(path: tuple[str, ...]) -> list[str]:
    return [*path, *ARGUMENTS.get(" ".join(path), [])]


def assert_silent(text: str, how: object) -> None:
    found = [part for part in PARTS if part in text]
    assert not found, f"{how}: {text}"


def printed(answer: Answer) -> str:
    return f"{answer.out}\n{answer.err}"


@pytest.fixture(autouse=True)
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """All that is logged, by whomever, is looked at at the end."""
    for name in ("perdure", "asyncpg", "asyncio", None):
        caplog.set_level(logging.DEBUG, name)
    yield
    assert_silent(caplog.text, "the log")
    assert_silent("\n".join(repr(vars(record)) for record in caplog.records), "a record")


@pytest.mark.parametrize("json", [[], ["--json"]], ids=["", "json"])
@pytest.mark.parametrize("url", URLS)
async def test_no_form_of_a_url_is_printed(
    perdure: Call, place: Path, url: str, json: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    module = f"canary_{uuid4().hex[:8]}"
    lines = [
        "from perdure import Application",
        f"url = Application({URLS[url]!r})",
        f"settings = Application({{'url': {URLS[url]!r}}})",
        f"direct = Application({{'direct_url': {URLS[url]!r}}})",
    ]
    await asyncio.to_thread((place / f"{module}.py").write_text, "\n".join(lines))
    ways = {
        "--database": ["--database", URLS[url]],
        "application": ["--app", f"{module}:url"],
        "settings": ["--app", f"{module}:settings"],
        "direct_url": ["--app", f"{module}:direct"],
        "PERDURE_DATABASE_URL": [],
        "DATABASE_URL": [],
    }
    for way, options in ways.items():
        if way.endswith("_URL"):
            monkeypatch.delenv("PERDURE_DATABASE_URL")
            monkeypatch.setenv(way, URLS[url])
        for command in (["doctor"], ["events", "read"]):
            answer = await perdure(*options, *command, *json)
            assert_silent(printed(answer), (way, command))
            assert answer.status != 0, (way, command, answer)
        monkeypatch.delenv("DATABASE_URL", raising=False)
        monkeypatch.setenv("PERDURE_DATABASE_URL", URLS["user"])


@pytest.mark.parametrize("json", [[], ["--json"]], ids=["", "json"])
@pytest.mark.parametrize("path", [path for path in commands() if path != PSQL], ids=" ".join)
async def test_no_command_prints_it_when_it_fails(perdure: Call, path: tuple[str, ...], json: list[str]) -> None:
    for url in (URLS["user"], URLS["password"], URLS["settings"], URLS["not escaped"]):
        answer = await perdure("--app", "tests.cli.failing", "--database", url, *call_of(path), *json)

        assert_silent(printed(answer), (path, url))


@pytest.mark.parametrize("json", [[], ["--json"]], ids=["", "json"])
@pytest.mark.parametrize("path", [path for path in commands() if path not in ENDLESS | {PSQL}], ids=" ".join)
async def test_no_command_prints_it_when_it_succeeds(
    perdure: Call,
    database_url: str,
    events: None,
    path: tuple[str, ...],
    json: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PGPASSWORD", SECRET)
    sign = "&" if "?" in database_url else "?"
    url = f"{database_url}{sign}password={ESCAPED}"

    assert_silent(printed(await perdure("--database", url, *call_of(path), *json)), path)


@pytest.mark.parametrize(
    "arguments",
    [
        ["--app", URLS["user"], "doctor"],
        ["--schema", URLS["user"], "doctor"],
        ["--database", URLS["user"], "--nonsense"],
        [URLS["user"]],
        ["doctor", URLS["user"]],
        ["streams", "show", URLS["user"]],
        ["streams", URLS["password"]],
        ["projections", "status", URLS["user"]],
        [f"--databse={URLS['password']}", "doctor"],
    ],
)
async def test_a_url_in_the_wrong_place_is_not_printed(perdure: Call, arguments: list[str]) -> None:
    for more in ([], ["--json"]):
        assert_silent(printed(await perdure(*arguments, *more)), arguments)


@pytest.mark.parametrize("url", ["user", "password", "not escaped", "settings"])
async def test_code_that_fails_with_a_url_is_not_quoted(perdure: Call, place: Path, url: str) -> None:
    module = f"canary_{uuid4().hex[:8]}"
    text = f"raise RuntimeError({f'cannot use {URLS[url]}'!r})"
    await asyncio.to_thread((place / f"{module}.py").write_text, text)

    assert_silent(printed(await perdure("--app", module, "doctor")), url)


async def test_a_password_file_is_not_printed(perdure: Call, place: Path) -> None:
    file = place / "passwords"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSFILE", str(file))
        for text in (f"*:*:*:*:{SECRET}", f"127.0.0.1:1:x:u:{MARK}:{MARK}", f"{MARK}\n{MARK}:::"):
            write_privately(file, text)
            answer = await perdure("--database", f"postgresql://u@{NOWHERE}/x", "doctor")
            assert_silent(printed(answer), text)
            assert "problem" in answer.out


def write_privately(file: Path, text: str) -> None:
    file.write_text(text)
    file.chmod(0o600)


Way = Callable[[str], Awaitable[object]]


async def opened(url: str) -> None:
    async with library.connect(url):
        pass


async def opened_directly(url: str) -> None:
    async with library.connect(URLS["user"], direct_url=url):
        pass


async def in_a_directory(url: str) -> None:
    async with library.connect(directory=url):
        pass


async def in_the_environment(url: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PERDURE_DATABASE_URL", url)
        async with library.connect():
            pass


async def by_an_application(url: str) -> None:
    async with Application({"url": url}).connect():
        pass


async def as_a_schema(url: str) -> None:
    async with library.connect(URLS["user"], schema=url):
        pass


async def as_settings(url: str) -> None:
    Application({"uri": url})  # type: ignore[call-overload]  # what the test is about


@pytest.mark.parametrize(
    "way", [opened, opened_directly, in_the_environment, by_an_application, as_a_schema, as_settings, in_a_directory]
)
@pytest.mark.parametrize("url", URLS)
async def test_no_error_tells_it(
    url: str, way: Way, exported: Exported, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    asyncio.get_running_loop().set_debug(True)
    if way is in_a_directory and "://" not in URLS[url]:
        pytest.skip("this is the name of a folder, and is told as one")
    if way is as_a_schema and "://" not in URLS[url]:
        pytest.skip("this is told as the name of a schema")

    with pytest.raises(PerdureError) as raised:
        await way(URLS[url])

    assert_silent(told_by(raised.value), url)
    assert_silent("".join(traceback.format_exception(raised.value)), url)
    assert_silent(repr([span.to_json() for span in exported.spans()]), url)
    assert_silent(repr(exported.points()), url)


@pytest.mark.parametrize("url", ["user", "password", "sslpassword", "several hosts"])
def test_no_object_shows_it(url: str) -> None:
    for made in (PostgreSQLEventStore(URLS[url]), Database(URLS[url]), Application(URLS[url])):
        assert_silent(f"{made!r} {made}", url)
    assert_silent(repr(PostgreSQLEventStore(URLS["user"], direct_url=URLS[url])), url)


def test_a_url_is_no_folder() -> None:
    with pytest.raises(InvalidArgumentError, match="directory is a URL"):
        EmbeddedPostgreSQL(URLS["user"])


@pytest.mark.parametrize("url", ["port", "port parameter", "folded character", "IPv6"])
def test_a_url_that_can_not_be_read_is_an_error_of_ours(url: str) -> None:
    with pytest.raises(ConfigurationError):
        PostgreSQLEventStore(URLS[url])


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("postgresql://u@h/x", "postgresql://u@h/x"),
        ("postgresql://h:5432/x?sslmode=require", "postgresql://h:5432/x?sslmode=require"),
        ("postgresql://u:p@h:1,i:2/x", "postgresql://u:...@h:1,i:2/x"),
        ("postgresql://u@h/x?password=p&host=/a&a.b=c", "postgresql://u@h/x?password=...&host=/a&a.b=..."),
        ("at https://example.com:80/a, and b:c", "at https://example.com:80/a, and b:c"),
        ("from a://u:p@h to a://u:p@i", "from a://u:...@h to a://u:...@i"),
        ("'postgresql://u:p cut off", "'postgresql://u:..."),
        ("postgresql://u:p q@h/x", "postgresql://u:...@h/x"),
        ("{'password': 'p', 'host': 'h'}", "{'password': ..., 'host': 'h'}"),
        ("password = 'p q' host=h", "password = ... host=h"),
        ("the password: check it", "the password: check it"),
        ("write url.render_as_string(hide_password=False)", "write url.render_as_string(hide_password=False)"),
        ("f(hide_password=p), f(hide_password=False1)", "f(hide_password=...), f(hide_password=...)"),
        ("postgresql://[::1]:5432/x", "postgresql://[::1]:5432/x"),
        ("postgresql+psycopg_async://u:p@h/x?a=p&ssl=a", "postgresql+psycopg_async://u:...@h/x?a=...&ssl=a"),
    ],
)
def test_what_is_masked(text: str, masked: str) -> None:
    assert masked_text(text) == masked


def test_what_is_no_url_is_not_shown_as_one() -> None:
    assert masked_url("postgresql://u:p@h/x") == "postgresql://u:...@h/x"
    assert masked_url("host=h password=p") == "..."
    assert masked_url("p") == "..."


def test_all_commands_are_tried() -> None:
    assert {path[0] for path in commands()} == set(COMMANDS)


@pytest.mark.parametrize("word", ["a", "://", "x://a ", "secret", "password='", "postgres://u:p@h "])
def test_a_text_of_a_megabyte_is_masked_before_the_test_times_out(word: str) -> None:
    """Patterns that look back over the text so far take hours for it."""
    text = word * (2**20 // len(word))

    assert masked_text(text).startswith(word.split("p@", maxsplit=1)[0].rstrip("='").rstrip(":"))
