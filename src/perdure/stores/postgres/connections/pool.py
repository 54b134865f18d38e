"""A pool of connections for short work.

The driver's own pool runs a task for each connection that is taken and given back, which costs more than most
statements. Here, taking a free connection and giving it back is done at once.

The pool has a fixed number of places. A place is free, or holds a connection, which goes through these states:

- *opening*: `acquire` found no idle connection, and took a free place;
- *in use*: by the task that called `acquire`, until it calls `release` or `restore`;
- *restoring*: the work on it was interrupted, so a background task resets it first;
- *idle*: until it is needed, or was not for long;
- *dropped*: it was lost, or is of an earlier generation, so it is terminated, and its place is free again.

Where all places are taken, callers of `acquire` wait in order. Each is given the next connection that is released, or
the next place that becomes free, in which it opens a connection itself. So a place that is passed on to a waiting
caller never counts as free in between, and no newcomer can take it.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeAlias

import asyncpg

from perdure.errors import StoreClosedError, StoreOverloadedError
from perdure.observation import keys
from perdure.tasks import Tasks

logger = logging.getLogger("perdure.postgres")

LONGEST_IDLE = 300.0
"""Seconds after which an idle connection is closed."""

_NOT_DONE = "nothing was read or written: end transactions sooner, use fewer at once, or raise pool_size"

# A string, because the driver's classes are generic in their stubs only.
Pooled: TypeAlias = "asyncpg.Connection[Any]"


class Pool:
    """Connections, each for one task at a time. The one that came back last is taken first, so that few stay open.

    Args:
        connect: opens a connection.
        size: how many may be open at once.
        tasks: the background tasks of the store.
    """

    def __init__(self, connect: Callable[[], Awaitable[Pooled]], size: int, tasks: Tasks) -> None:
        self._loop = asyncio.get_running_loop()
        self._connect = connect
        self._tasks = tasks
        self._size = size
        self._free_places = size
        self._generation = 0
        """`expire` increments it: connections that were opened before aren't used again."""
        self._generations: dict[Pooled, int] = {}
        """The generation of each open connection, in whatever state."""
        self._idle: list[tuple[Pooled, float]] = []
        """The idle connections, each with the time since when, the longest idle one first."""
        self._waiters: deque[asyncio.Future[Pooled | None]] = deque()
        """The callers that wait, each for a connection; or for None, which is a place."""
        self._timer: asyncio.TimerHandle | None = None
        """Closes what was idle for long."""
        self._is_closed = False
        self._all_idle: asyncio.Event | None = None
        """For `close`: that no connection is in use any more."""

    async def acquire(self, patience: float) -> Pooled:
        """Return a connection, which the caller must give back by `release` or `restore`.

        Args:
            patience: for how many seconds to wait when all are in use.

        Raises:
            StoreOverloadedError: all were in use for that long.
            StoreClosedError: the pool was closed.
        """
        if self._is_closed:
            raise StoreClosedError
        while self._idle:
            connection, _ = self._idle.pop()
            if self._is_usable(connection):
                return connection
            self._drop(connection)
        if self._free_places:
            self._free_places -= 1
            return await self._open()
        return await self._next_free(patience) or await self._open()

    def release(self, connection: Pooled) -> None:
        """Take a connection back. It becomes idle, unless a caller waits for it or it can't be used again."""
        if not self._is_usable(connection):
            self._drop(connection)
        elif connection.is_in_transaction():
            self.restore(connection)
        elif not self._hand_over(connection):
            self._idle.append((connection, self._loop.time()))
            if self._timer is None:
                self._timer = self._loop.call_later(LONGEST_IDLE, self._close_idle)
        self._note_all_idle()

    def restore(self, connection: Pooled) -> None:
        """Take back a connection whose work failed or was interrupted. It is reset first, in the background."""
        _ = self._tasks.start(partial(self._restore, connection), "perdure pool", operation="connect")

    def expire(self) -> None:
        """Never use again a connection that is open now."""
        self._generation += 1

    async def close(self, timeout: float) -> None:
        """Wait until all connections are idle, for `timeout` seconds at most, and close them. Cut off the others."""
        self._is_closed = True
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(StoreClosedError())
        self._all_idle = asyncio.Event()
        self._note_all_idle()
        try:
            async with asyncio.timeout(timeout):
                await self._all_idle.wait()
                await asyncio.gather(*[one.close() for one, _ in self._idle], return_exceptions=True)
        except TimeoutError:
            logger.debug("cutting off connections that are still in use", extra=keys(operation="close"))
        finally:
            for connection in list(self._generations):
                self._drop(connection)
            self._idle.clear()
            if self._timer is not None:
                self._timer.cancel()

    async def _next_free(self, patience: float) -> Pooled | None:
        """Wait for a connection or a place. Returns None for a place, in which the caller may open a connection.

        When the wait ends early, the connection or the place may have been handed over already: it is passed on.
        """
        waiter: asyncio.Future[Pooled | None] = self._loop.create_future()
        self._waiters.append(waiter)
        try:
            async with asyncio.timeout(patience):
                return await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._pass_on(waiter.result())
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            if isinstance(error, TimeoutError):
                reason = f"all {self._size} connections of the pool were in use"
                raise StoreOverloadedError(reason, patience, _NOT_DONE) from None
            raise

    async def _open(self) -> Pooled:
        """Open a connection, in a place that the caller has taken."""
        try:
            connection = await self._connect()
        except BaseException:
            self._pass_on(None)
            raise
        self._generations[connection] = self._generation
        if self._is_closed:
            self._drop(connection)
            raise StoreClosedError
        return connection

    async def _restore(self, connection: Pooled) -> None:
        try:
            if self._is_usable(connection):
                await connection.reset()  # waits until the interrupted statement has ended
                if connection.is_in_transaction():
                    connection.terminate()  # the interrupted statement began one
        except Exception as error:  # noqa: BLE001 - a connection that can't be reset can't be used again
            logger.debug("dropping a connection: %s", error, extra=keys(error, operation="connect"))
            connection.terminate()
        except BaseException:
            connection.terminate()
            raise
        finally:
            self.release(connection)

    def _is_usable(self, connection: Pooled) -> bool:
        return not connection.is_closed() and self._generations.get(connection) == self._generation

    def _drop(self, connection: Pooled) -> None:
        connection.terminate()  # not closed, which waits for an answer: its server may be silent
        if self._generations.pop(connection, None) is not None:
            self._pass_on(None)

    def _pass_on(self, connection: Pooled | None) -> None:
        """Pass on a connection, or a place, that the caller can't use."""
        if connection is not None:
            self.release(connection)
        elif not self._hand_over(None):
            self._free_places += 1

    def _hand_over(self, connection: Pooled | None) -> bool:
        """Give a connection or a place to the first caller that waits. Returns whether one waited."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    def _close_idle(self) -> None:
        """Close what was idle for long."""
        latest = self._loop.time() - LONGEST_IDLE
        while self._idle and self._idle[0][1] <= latest:
            self._drop(self._idle.pop(0)[0])
        self._timer = self._loop.call_later(LONGEST_IDLE, self._close_idle) if self._idle else None

    def _note_all_idle(self) -> None:
        if self._all_idle is not None and len(self._idle) == len(self._generations):
            self._all_idle.set()
