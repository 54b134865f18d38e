"""Deadlocks between appends and callers' transactions, which may lock their streams in another order."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from perdure.errors import DeadlockError, StoreOverloadedError
from perdure.observation import keys

logger = logging.getLogger("perdure.append")

R = TypeVar("R")

_FIRST_PAUSE = 0.05
_LONGEST_PAUSE = 1.0


async def outlasted(attempt: Callable[[], Awaitable[R]], timeout: float) -> R:
    """Repeat an attempt to append, in a transaction of the store, while it loses deadlocks. Return its result.

    PostgreSQL rolls back the loser of a deadlock, so it is safe to repeat. The other transaction continues meanwhile.

    Args:
        attempt: begins the transaction, appends, and commits.
        timeout: how many seconds to repeat it at most.

    Raises:
        StoreOverloadedError: it lost deadlocks all that time.
    """
    now = asyncio.get_running_loop().time
    deadline = now() + timeout
    pause = _FIRST_PAUSE
    while True:
        try:
            return await attempt()
        except DeadlockError as error:
            left = deadline - now()
            if left <= 0:
                raise StoreOverloadedError("an append to several streams lost deadlocks", timeout) from error
            logger.warning(
                "an append lost a deadlock with a transaction that locks its streams in another order; it is repeated",
                extra=keys(error, operation="append_to_streams"),
            )
            await asyncio.sleep(min(left, random.uniform(pause / 2, pause)))
            pause = min(_LONGEST_PAUSE, pause * 2)
