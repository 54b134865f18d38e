"""The command line within this process, on this test's database."""

import asyncio
import sys
from pathlib import Path

import pytest

from perdure.cli.program import run
from tests.cli.calling import STREAMING, Answer, Call, fill


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, with nothing set up that says which application or database to use."""
    for name in ("PERDURE_APP", "PERDURE_DATABASE_URL", "DATABASE_URL", "PERDURE_EMBEDDED_DIRECTORY", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def perdure(
    place: Path, database_url: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """Calls the command line within this process, with this test's database. Not on a terminal."""
    monkeypatch.setenv("PERDURE_DATABASE_URL", database_url)

    async def call(*arguments: str) -> Answer:
        capsys.readouterr()
        status = await asyncio.to_thread(run, arguments)
        out, err = capsys.readouterr()
        return Answer(status, out, err)

    return call


@pytest.fixture
def streaming(perdure: Call) -> Call:
    """The same, with the reference application."""

    async def call(*arguments: str) -> Answer:
        return await perdure("--app", STREAMING, *arguments)

    return call


@pytest.fixture
async def events(database_url: str) -> None:
    """Six events: see `fill`."""
    await fill(database_url)
