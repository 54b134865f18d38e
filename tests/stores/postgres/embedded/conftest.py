"""A folder of root, and one of another user in it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from perdure.stores.postgres.embedded.account import Account
from tests.stores.postgres.embedded.owners import SECRET, own
from tests.stores.postgres.embedded.projects import project


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder of root's that every user can enter."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        folder.chmod(0o755)
        yield folder


@pytest.fixture
def user() -> Account:
    """A user that the system lists."""
    return Account.listed()


@pytest.fixture
def directory(folder: Path, user: Account) -> Iterator[Path]:
    """The `.perdure` of that user's project, which isn't made yet."""
    with project(own(folder / "home", user)) as directory:
        yield directory


@pytest.fixture
def secret(folder: Path) -> Path:
    """A file of root's."""
    path = folder / "secret"
    path.write_text(SECRET)
    path.chmod(0o600)
    return path


@pytest.fixture
def new_directory(tmp_path: Path) -> Iterator[Path]:
    """A project of which nothing is made yet."""
    with project(tmp_path) as directory:
        yield directory
