"""The commands print the output that the page on the command line shows."""

import asyncio
import re
import shlex
from pathlib import Path

import pytest

from examples.streaming import app
from perdure.cli.entry import main
from tests.cli.calling import STREAMING, fill
from tests.docs.documents import ROOT, blocks

DOCUMENT = ROOT / "docs" / "command-line.md"
VARYING = [
    (re.compile(r"postgresql://\S+"), "postgresql://shop@db.example.com/shop"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ"), "2026-11-22 17:10:18Z"),
    (re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+Z"), "2026-11-22 17:10:18.296Z"),
    (re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z"), "2026-11-22T17:10:18.296415Z"),
    (
        re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"),
        "01a2043c-b9da-7176-a9f5-62d57dc34e1a",
    ),
    (re.compile(r"PostgreSQL [\d.]+, database '\S+', user '\S+'"), "PostgreSQL 18.4, database 'shop', user 'shop'"),
    (re.compile(r"[\d.]+ ms (ahead of|behind)"), "1 ms ahead of"),
    (re.compile(r"after [\d.]+ ms"), "after 1 ms"),
    (re.compile(r"Python [\d.]+"), "Python 3.11"),
    (re.compile(r"perdure( +)\d+\.\d+\.\d+"), r"perdure\g<1>0.1.0"),
    (re.compile(r" {2,}"), "  "),
]
SHOWN = re.compile(r"^\$ perdure (?P<arguments>.*)\n(?P<output>(?:(?!\$ ).*\n)*)", re.MULTILINE)


def settled(text: str) -> str:
    """The text with values that differ from run to run in one form."""
    for pattern, instead in VARYING:
        text = pattern.sub(instead, text)
    return text


async def streaming(database_url: str) -> None:
    """The reference application after a few events, with up-to-date read models and no running service."""
    await fill(database_url)
    async with app.connect(database_url), app.projection_service() as service:
        for projection in app.projections:
            await service.wait_for(projection.name, 6, timeout=30)


def printed(arguments: str, capfd: pytest.CaptureFixture[str]) -> str:
    capfd.readouterr()
    main(shlex.split(arguments))
    out, err = capfd.readouterr()
    return out + err


@pytest.mark.one_session  # doctor's check of the listener
def test_the_commands_print_the_output_in_the_document(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    asyncio.run(streaming(database_url))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PERDURE_APP", STREAMING)
    monkeypatch.setenv("PERDURE_DATABASE_URL", database_url)
    document = DOCUMENT.read_text(encoding="utf-8")
    shown = [match for block in blocks(document, "console") for match in SHOWN.finditer(block.text)]

    assert len(shown) > 10
    for match in shown:
        assert settled(printed(match["arguments"], capfd)) == settled(match["output"]), match["arguments"]
