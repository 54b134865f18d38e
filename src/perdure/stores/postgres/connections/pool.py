"""A pool of connections for short work. Taking one that is free, and giving it back, takes no turn of the event loop.

The driver's own pool takes a task for each, which is more than most statements take.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

import asyncpg

from perdure.errors import StoreClosedError, StoreOverloadedError
from perdure.observation import keys

logger = logging.getLogger("perdure.postgres")

LONGEST_IDLE = 300.0
"""Seconds after which a connection that nobody needs is closed."""

_NOT_DONE = "nothing was read or written: end transactions sooner, use fewer at once, or raise pool_size"

# A string, for the driver's classes are generic in their stubs only.
Pooled: TypeAlias = "asyncpg.Connection[Any]"


class Pool:
    """Connections, each for one task at a time. That which came back last is taken first, so that few stay open.

    Args:
        connect: opens a connection.
        size: how many may be open at once.
    """

    def __init__(self, connect: Callable[[], Awaitable[Pooled]], size: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._connect = connect
        self._free_places = size
        """How many more may be opened."""
        self._size = size
        self._generation = 0
        self._generations: dict[Pooled, int] = {}
        """All that are open. Those of an earlier generation aren't used any more."""
        self._idle: list[tuple[Pooled, float]] = []
        self._waiters: deque[asyncio.Future[Pooled | None]] = deque()
        self._restoring: set[asyncio.Task[None]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False
        self._released: asyncio.Event | None = None

    async def acquire(self, patience: float) -> Pooled:
        """A connection, which must be given back.

        Args:
            patience: for how many seconds to wait, in turn, when all are in use.

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
        """Give a connection back whose work is done."""
        if not self._is_usable(connection):
            self._drop(connection)
        elif connection.is_in_transaction():
            self.restore(connection)
        elif not self._hand_over(connection):
            self._idle.append((connection, self._loop.time()))
            if self._timer is None:
                self._timer = self._loop.call_later(LONGEST_IDLE, self._close_idle)
        self._note_released()

    def restore(self, connection: Pooled) -> None:
        """Give a connection back whose work has failed, or was cut off: as soon as nothing of it is left."""
        task = self._loop.create_task(self._restore(connection), name="perdure pool")
        self._restoring.add(task)
        task.add_done_callback(self._restoring.discard)

    def expire(self) -> None:
        """Let no connection be used again that is open now."""
        self._generation += 1

    async def close(self, timeout: float) -> None:
        """Close all connections: those in use when they come back, or else cut them off after `timeout` seconds."""
        self._is_closed = True
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(StoreClosedError())
        self._released = asyncio.Event()
        self._note_released()
        try:
            async with asyncio.timeout(timeout):
                await self._released.wait()
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
        """The next connection that is given back, or None: then one may be opened in the place of one that wasn't."""
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
        """A new connection, in a place that was counted already."""
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
                await connection.reset()  # waits for the end of what was cut off
                if connection.is_in_transaction():
                    connection.terminate()  # what was cut off began one after all
        except Exception as error:  # noqa: BLE001 - a connection that can't be given back is of no more use
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
        connection.terminate()  # without a farewell: its server may be silent
        if self._generations.pop(connection, None) is not None:
            self._pass_on(None)

    def _pass_on(self, connection: Pooled | None) -> None:
        """Give away a connection that nobody uses, or the place of one."""
        if connection is not None:
            self.release(connection)
        elif not self._hand_over(None):
            self._free_places += 1

    def _hand_over(self, connection: Pooled | None) -> bool:
        """Whether somebody waited for a connection, or for the place of one, and has it now."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    def _close_idle(self) -> None:
        """Close what nobody has needed for long."""
        latest = self._loop.time() - LONGEST_IDLE
        while self._idle and self._idle[0][1] <= latest:
            self._drop(self._idle.pop(0)[0])
        self._timer = self._loop.call_later(LONGEST_IDLE, self._close_idle) if self._idle else None

    def _note_released(self) -> None:
        if self._released is not None and len(self._idle) == len(self._generations):
            self._released.set()
