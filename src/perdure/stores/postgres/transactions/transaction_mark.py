"""A mark on a transaction, by which another one that took its place on the session is recognised.

A statement may end a transaction and begin the next: ``rollback; begin``, or ``commit and chain``. The driver sees a
session that is in a transaction before and after. A local setting tells them apart, because it ends with its
transaction. It costs no transaction id and no lock, and needs no right.

A rollback to a savepoint takes a local setting back to what it was before. So the mark also holds the number of the
last append: read before the next one, and before the commit, it tells which appends are there still.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from uuid import uuid4

from perdure.stores.postgres.connections.database import Connection
from perdure.stores.postgres.sql_files import Statements

_SQL = Statements(Path(__file__).parents[1] / "sql" / "transactions")


class TransactionMark:
    """A text of its own, and the number of an append, which a transaction bears until it ends.

    RESET ALL takes it off as well: then the transaction isn't recognised, although it is the same.
    """

    def __init__(self) -> None:
        self.prefix = f"{uuid4().hex}:"
        self._numbers = count(1)
        self._before: dict[int, int] = {}
        """For each append the one before it, whatever savepoints have taken back in between; 0 for the first."""

    async def put_on(self, connection: Connection) -> None:
        """Mark the transaction that the connection is in. To be done before the caller can set a savepoint."""
        await set_mark(connection, f"{self.prefix}0")

    async def is_on(self, connection: Connection) -> bool:
        """Whether the connection is still in the marked transaction."""
        return self.is_mark(await connection.fetchval(_SQL["transaction_mark"]))

    def is_mark(self, found: str | None) -> bool:
        """Whether this was found on the transaction: the setting ``perdure.transaction``, read by any statement."""
        return found is not None and found.startswith(self.prefix)

    def next_append(self) -> int:
        """A number for an append."""
        return next(self._numbers)

    def note(self, number: int, found: str) -> None:
        """The mark bears that number now; `found` is what it was before."""
        self._before[number] = self._number(found)

    def appends(self, found: str) -> set[int]:
        """The numbers of the appends that no savepoint has taken back, by what the mark is now."""
        numbers: set[int] = set()
        number = self._number(found)
        while number:
            numbers.add(number)
            number = self._before[number]
        return numbers

    def _number(self, found: str) -> int:
        return int(found.removeprefix(self.prefix))


async def set_mark(connection: Connection, text: str) -> None:
    """Let the transaction bear this instead of what it bore until now."""
    await connection.execute(_SQL["mark_transaction"], text)
