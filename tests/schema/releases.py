"""Releases to come: the migrations that there are, and one more, of which a part runs online."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from perdure.stores.postgres.schema import drift, migrator, plan
from perdure.stores.postgres.schema.migrations import MIGRATIONS, known_migrations

NEXT = "9000_next"

STATEMENTS = {
    "01_note.sql": "create table {schema}.note (number integer primary key)",
    "02_events_type.online.sql": "create index {concurrently} events_type on {schema}.events (event_type)",
    "03_snapshots_text.locking.sql": "alter table {schema}.snapshots add column text text not null default ''",
    "04_events_recorded.online.sql": "create index {concurrently} events_recorded on {schema}.events (recorded_at)",
}
"""Mixed, and with more than one index, so that a crash has somewhere to fall in between."""

Release = Callable[..., Path]


@pytest.fixture
def release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Release:
    """Let this version of Perdure be a later one from now on. Returns the folder of its migrations."""

    def install(statements: Mapping[str, str] = STATEMENTS, name: str = NEXT) -> Path:
        folder = write_release(tmp_path / "migrations", statements, name)
        for module in (migrator, drift, plan):
            monkeypatch.setattr(module, "known_migrations", lambda *_: known_migrations(folder))
        return folder

    return install


def write_release(folder: Path, statements: Mapping[str, str] = STATEMENTS, name: str = NEXT) -> Path:
    shutil.copytree(MIGRATIONS, folder, dirs_exist_ok=True)
    (folder / name).mkdir()
    for file, sql in statements.items():
        (folder / name / file).write_text(sql, encoding="utf-8")
    return folder
