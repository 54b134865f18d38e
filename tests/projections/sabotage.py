"""Connections that are cut at one statement of those that certain tasks send."""

import asyncio
from typing import Any

import asyncpg
import pytest


class Saboteur:
    """Cuts the connection before, or after, one statement, counted from 1.

    Args:
        at: which statement, of those that count.
        after: whether it has been carried out when the connection is cut.
        by: what is in the names of the tasks whose statements count.
    """

    def __init__(self, at: int, *, after: bool, by: str = "perdure projection") -> None:
        self.at, self.after, self.by = at, after, by
        self.count = 0

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("execute", "fetch", "fetchrow", "fetchval"):
            monkeypatch.setattr(asyncpg.Connection, name, self._sabotaged(getattr(asyncpg.Connection, name)))

    def _sabotaged(self, original: Any) -> Any:
        async def sabotaged(connection: asyncpg.Connection, *arguments: Any, **options: Any) -> Any:
            task = asyncio.current_task()
            assert task is not None
            if self.by not in task.get_name():
                return await original(connection, *arguments, **options)
            self.count += 1
            is_hit = self.count == self.at
            if is_hit and not self.after:
                connection.terminate()
                raise ConnectionResetError("cut before")
            result = await original(connection, *arguments, **options)
            if is_hit:
                connection.terminate()
                raise ConnectionResetError("cut after")
            return result

        return sabotaged
