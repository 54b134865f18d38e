"""A proxy before a server, which loses requests and replies when it is told to."""

import asyncio
import random
from contextlib import suppress
from enum import Enum
from types import TracebackType
from typing import Self


class Cut(Enum):
    """Where a connection is cut.

    Attributes:
        REQUEST: The server doesn't get the next request.
        REPLY: The server gets it, does it, and its reply is lost.
    """

    REQUEST = 1
    REPLY = 2


class Link:
    """A connection that goes through the proxy."""

    def __init__(self, client: asyncio.StreamWriter, server: asyncio.StreamWriter) -> None:
        self._writers = (client, server)
        self.cut: Cut | None = None
        self._is_asked = False

    async def forward(self, source: asyncio.StreamReader, *, to_server: bool) -> None:
        """Pass on what comes, until it is to be cut."""
        target = self._writers[to_server]
        try:
            while data := await source.read(65536):
                if to_server and self.cut is Cut.REQUEST:
                    break
                if to_server and self.cut is Cut.REPLY:
                    self._is_asked = True
                elif not to_server and self._is_asked:
                    break
                target.write(data)
                await target.drain()
        except OSError:
            pass
        finally:
            self.close()

    def close(self) -> None:
        """Cut it off at once, in both directions."""
        for writer in self._writers:
            writer.transport.abort()


class Proxy:
    """Listens on a port of its own, and passes on to another.

    Args:
        port: where the server listens.
    """

    def __init__(self, port: int) -> None:
        self._target = port
        self._links: set[Link] = set()
        self._dark_until = 0.0
        self.cuts = 0
        """How many connections were told to be cut."""

    @property
    def url(self) -> str:
        """The URL of the server, by the proxy."""
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def cut(self, how: Cut, *, dark: float = 0.0) -> None:
        """Cut one of the connections at its next request, and take no new one for a while."""
        waiting = [link for link in self._links if link.cut is None]
        if waiting:
            random.choice(waiting).cut = how
            self.cuts += 1
        self._dark_until = asyncio.get_running_loop().time() + dark

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._server.close()
        for link in [*self._links]:
            link.close()
        await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if asyncio.get_running_loop().time() < self._dark_until:
            writer.transport.abort()
            return
        with suppress(OSError):
            replies, requests = await asyncio.open_connection("127.0.0.1", self._target)
            link = Link(writer, requests)
            self._links.add(link)
            try:
                await asyncio.gather(link.forward(reader, to_server=True), link.forward(replies, to_server=False))
            finally:
                self._links.discard(link)
