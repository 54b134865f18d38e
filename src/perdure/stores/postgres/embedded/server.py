"""`EmbeddedPostgreSQL`, the share of a process in the embedded server."""

from __future__ import annotations

import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from perdure.checks import check_instance
from perdure.errors import EmbeddedServerError, InvalidArgumentError
from perdure.errors.formats import shown
from perdure.stores.postgres.embedded.binaries import Binaries
from perdure.stores.postgres.embedded.cluster import PASSFILE, checked_settings
from perdure.stores.postgres.embedded.launch import Launch
from perdure.stores.postgres.embedded.location import find_location
from perdure.stores.postgres.embedded.locks import FileLock
from perdure.stores.postgres.embedded.postmaster import Postmaster
from perdure.stores.postgres.embedded.shared_server import join, leave

_DIRECTORY = ".perdure"
DIRECTORY_VARIABLE = "PERDURE_EMBEDDED_DIRECTORY"


class EmbeddedPostgreSQL:
    """A share in a PostgreSQL server that the processes of a project use together.

    The first process starts the server, others join it, and the last one stops it. A killed process gives up its share.
    Forked children keep the share of their parent until they end; each should take its own.

    The server uses `directory`, else ``PERDURE_EMBEDDED_DIRECTORY``, else ``.perdure`` in the working directory.
    `settings` are PostgreSQL settings; they apply if this share starts the server. `tcp` also opens a port on
    127.0.0.1, beside the private socket.

    Example:
        >>> async def main() -> None:
        ...     async with EmbeddedPostgreSQL() as server:
        ...         connection = await asyncpg.connect(server.url)
    """

    def __init__(
        self,
        directory: Path | str | None = None,
        *,
        major: int = 18,
        settings: Mapping[str, str] | None = None,
        tcp: bool = False,
    ) -> None:
        if directory is not None:
            check_instance("directory", directory, str, Path)
            if not str(directory) or "\0" in str(directory):
                raise InvalidArgumentError("directory", f"{shown(directory)} isn't the path of a folder")
        chosen = directory or os.environ.get(DIRECTORY_VARIABLE) or _DIRECTORY
        if "://" in str(chosen):
            raise InvalidArgumentError("directory", "is a URL: give it as url, or in PERDURE_DATABASE_URL")
        self.directory = Path(os.path.abspath(Path(chosen).expanduser()))  # noqa: PTH100 - links are followed at the start
        self.major = major
        self._settings = checked_settings(settings or {})
        self._tcp = tcp
        self._launch: Launch | None = None
        self._share: FileLock | None = None
        self._postmaster: Postmaster | None = None
        self._password = ""

    async def start(self) -> None:
        """Join the server, or start it. Safe to repeat."""
        binaries = Binaries.find(self.major)
        with self._usable():
            location = await find_location(self.directory)
            binaries = await binaries.reachable_by(location.account)
            await self._join(Launch(location, binaries, self._settings, self._tcp))

    async def ensure_running(self) -> None:
        """Start the server again if it died. Cheap if it is running. Its `url` may change."""
        launch = self._started()
        with self._usable():
            # For root, one process of the owner does both.
            if not launch.location.account.is_other_user and (found := launch.running()):
                self._postmaster = found
            else:
                await self._join(launch)

    async def stop(self) -> None:
        """Give up this share. The last share stops the server. Safe to repeat."""
        launch, share = self._launch, self._share
        self._launch = self._share = self._postmaster = None
        if launch is None or share is None:
            return
        try:
            if not share.inherited:
                await leave(launch, share)
        except OSError as error:
            raise EmbeddedServerError(f"the embedded PostgreSQL in {self.directory} can't be left: {error}") from error
        finally:
            share.close()

    @property
    def url(self) -> str:
        """The URL of the database ``postgres``."""
        return self.url_for("postgres")

    def url_for(self, database: str) -> str:
        """Return the URL of a database on the private socket."""
        postmaster = self._running()
        folder = quote(str(postmaster.sockets))
        return f"postgresql://postgres@/{quote(database, safe='')}?host={folder}&port={postmaster.port}"

    def tcp_url_for(self, database: str) -> str:
        """Return the TCP URL of a database, with the password. Only a server started with `tcp` has one."""
        postmaster = self._running()
        if not postmaster.tcp:
            raise EmbeddedServerError("the server has no TCP port: stop all its users, then start it with tcp=True")
        return f"postgresql://postgres:{self._password}@127.0.0.1:{postmaster.port}/{quote(database, safe='')}"

    @property
    def has_tcp_port(self) -> bool:
        """Whether the server was started with `tcp`."""
        return self._running().tcp

    @property
    def passfile(self) -> Path | None:
        """The password for the TCP port, in a file for libpq's PGPASSFILE. None without a port.

        None for root, too, if the server is another user's: that user could replace the file by a link to one of root.
        """
        launch = self._started()
        is_usable = self.has_tcp_port and not launch.location.account.is_other_user
        return launch.location.path / PASSFILE if is_usable else None

    @property
    def location(self) -> Path:
        """The folder of the server: `directory`, or the folder that its ``location.txt`` names."""
        return self._started().location.path

    @property
    def data_directory(self) -> Path:
        """The data directory."""
        return self._started().location.data

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.stop()

    async def _join(self, launch: Launch) -> None:
        if self._share and self._share.inherited:
            self._share.close()
            self._share = None
        joined = await join(launch, self._share)
        if self._share not in {None, joined.share}:
            joined.share.close()  # start() ran twice at the same time, and one share is enough
        else:
            self._share = joined.share
        self._launch, self._postmaster, self._password = launch, joined.postmaster, joined.password

    @contextmanager
    def _usable(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise EmbeddedServerError(f"the embedded PostgreSQL can't use {self.directory}: {error}") from error

    def _started(self) -> Launch:
        if self._launch is None:
            raise EmbeddedServerError("the embedded PostgreSQL isn't started: use it inside 'async with'")
        return self._launch

    def _running(self) -> Postmaster:
        self._started()
        if self._postmaster is None:
            raise EmbeddedServerError("the embedded PostgreSQL isn't running: call start() first")
        return self._postmaster
