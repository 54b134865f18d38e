"""The command line imports an application that a file names only where nobody else can have put it."""

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from perdure.cli import trust
from tests.cli.calling import Call
from tests.cli.test_discovery import application

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT RUN: only root can make files of other users")

OTHER = 61998
CODE = "from perdure import Application\napp = Application()\n"


@pytest.fixture
def name() -> Iterator[str]:
    name = f"trap_{uuid4().hex[:8]}"
    yield name
    sys.modules.pop(name, None)


@pytest.fixture
def project(place: Path, name: str) -> Path:
    """A project of ours with an application, below the working folder."""
    folder = place / "project"
    folder.mkdir(mode=0o755)
    (folder / "pyproject.toml").write_text(f"[tool.perdure]\napp = '{name}:app'\n")
    (folder / f"{name}.py").write_text(CODE)
    return folder


def set_mode(path: Path, mode: int) -> None:
    path.chmod(mode)


def give(*paths: Path) -> None:
    for path in paths:
        os.chown(path, OTHER, OTHER)


async def assert_refused(perdure: Call, name: str, *told: str) -> None:
    answer = await perdure("check")

    assert answer.status == 2
    assert f"names the application '{name}:app', which isn't imported: " in answer.err
    assert all(part in answer.err for part in told), answer.err
    assert answer.err.endswith("Next: perdure --app module:name doctor\n")
    assert name not in sys.modules


@only_root
@pytest.mark.parametrize("owned", [".", "pyproject.toml"])
async def test_what_belongs_to_another_user_is_not_imported(
    perdure: Call, project: Path, name: str, owned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "deeper").mkdir()
    monkeypatch.chdir(project / "deeper")
    give(project / owned)

    await assert_refused(perdure, name, f"{project / owned} belongs to user {OTHER}, and you are 'root'")


@only_root
async def test_a_file_of_another_user_in_a_folder_that_all_may_write_is_not_believed(
    perdure: Call, project: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_mode(project, 0o1777)
    give(project / "pyproject.toml", project / f"{name}.py")
    ours = project / "ours" / "deeper"
    ours.mkdir(parents=True)
    monkeypatch.chdir(ours)

    await assert_refused(perdure, name, f"other users can write {project} (mode 1777)")


@pytest.mark.parametrize(("path", "mode"), [(".", 0o777), (".", 0o1777), ("pyproject.toml", 0o666)])
async def test_what_others_can_write_is_not_imported(
    perdure: Call, project: Path, name: str, path: str, mode: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    (project / path).chmod(mode)

    await assert_refused(perdure, name, f"other users can write {project / path} (mode {mode:o})")


@pytest.mark.parametrize("by", ["option", "variable"])
async def test_what_is_named_expressly_is_imported_whoever_owns_it(
    perdure: Call, project: Path, name: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project)
    set_mode(project, 0o777)
    if os.geteuid() == 0:  # as in a container that runs as root on a mounted folder
        give(project, project / "pyproject.toml", project / f"{name}.py")
    if by == "variable":
        monkeypatch.setenv("PERDURE_APP", f"{name}:app")
        assert await application(perdure) == (f"{name}:app", "PERDURE_APP")
    else:
        assert await application(perdure, "--app", f"{name}:app") == (f"{name}:app", "--app")
    assert (await perdure(*(["--app", name] if by == "option" else []), "check")).status == 0
    assert name in sys.modules


@only_root
async def test_the_search_ends_at_a_folder_of_another_user(
    perdure: Call, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = project / "theirs" / "ours"
    ours.mkdir(parents=True)
    give(project / "theirs")
    monkeypatch.chdir(ours)

    assert await application(perdure) == ("none", "default")


@pytest.mark.parametrize("mark", ["setup.py", ".git"])
async def test_the_search_ends_at_the_root_of_a_project(
    perdure: Call, project: Path, mark: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = project / "inner" / "deeper"
    inner.mkdir(parents=True)
    monkeypatch.chdir(inner)
    assert (await application(perdure))[1] == str(project / "pyproject.toml")

    (project / "inner" / mark).mkdir()

    assert await application(perdure) == ("none", "default")


async def test_without_an_application_the_folder_of_another_user_is_no_hindrance(
    perdure: Call, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (project / "pyproject.toml").write_text("[project]\nname = 'theirs'\n")
    set_mode(project, 0o777)
    monkeypatch.chdir(project)
    before = [*sys.path]

    assert (await perdure("streams", "list")).status == 0
    assert sys.path == before


@only_root
def test_a_user_trusts_files_of_root_and_a_group_of_its_own(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: OTHER)
    monkeypatch.setattr(os, "getegid", lambda: OTHER)
    assert trust.distrusted(project, "pyproject.toml") is None

    set_mode(project, 0o775)
    os.chown(project, OTHER, OTHER)
    assert trust.distrusted(project) is None

    os.chown(project, OTHER, OTHER + 1)
    assert trust.distrusted(project) == f"other users can write {project} (mode 775)"
    assert stat.S_IMODE(project.stat().st_mode) == 0o775
