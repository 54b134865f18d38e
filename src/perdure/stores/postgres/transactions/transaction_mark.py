"""A mark on a transaction, which shows whether the session is still in the same transaction.

A statement may end a transaction and begin the next: ``rollback; begin``, or ``commit and chain``. The driver sees a
session that is in a transaction before and after. A local setting distinguishes them, because it ends with its
transaction. It costs no transaction id and no lock, and needs no right.

A rollback to a savepoint resets a local setting to its earlier value. So the mark also holds the number of the last
append. It is read before the next append and before the commit, and shows which appends are still there.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path
from uuid import uuid4

from perdure.stores.postgres.connections.database import Connection
from perdure.stores.postgres.sql_files import Statements

_SQL = Statements(Path(__file__).parents[1] / "sql" / "transactions")


class TransactionMark:
    """A unique text and the number of an append, which a transaction carries until it ends.

    RESET ALL removes it as well: then the transaction isn't recognised, although it is the same.
    """

    def __init__(self) -> None:
        self.prefix = f"{uuid4().hex}:"
        self._numbers = count(1)
        self._before: dict[int, int] = {}
        """The number of the append before each append, whatever was undone in between; 0 before the first."""

    async def put_on(self, connection: Connection) -> None:
        """Mark the connection's transaction. Call it before the caller can set a savepoint."""
        await set_mark(connection, f"{self.prefix}0")

    async def is_on(self, connection: Connection) -> bool:
        """Return whether the connection is still in the marked transaction."""
        return self.is_mark(await connection.fetchval(_SQL["transaction_mark"]))

    def is_mark(self, found: str | None) -> bool:
        """Return whether `found`, the value of the setting ``perdure.transaction``, is this mark."""
        return found is not None and found.startswith(self.prefix)

    def next_append(self) -> int:
        """Return a number for an append."""
        return next(self._numbers)

    def note(self, number: int, found: str) -> None:
        """Record that the mark has that number now, and that it was `found` before."""
        self._before[number] = self._number(found)

    def appends(self, found: str) -> set[int]:
        """Return the numbers of the appends that no savepoint has undone, from the mark as it is now."""
        numbers: set[int] = set()
        number = self._number(found)
        while number:
            numbers.add(number)
            number = self._before[number]
        return numbers

    def _number(self, found: str) -> int:
        return int(found.removeprefix(self.prefix))


async def set_mark(connection: Connection, text: str) -> None:
    """Replace the mark of the transaction by this text."""
    await connection.execute(_SQL["mark_transaction"], text)
