"""A mark on a transaction, by which another one that took its place on the session is recognised.

A statement may end a transaction and begin the next: ``rollback; begin``, or ``commit and chain``. The driver sees a
session that is in a transaction before and after. A local setting tells them apart, because it ends with its
transaction. It costs no transaction id and no lock, and a rollback to a later savepoint leaves it alone.
"""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

from perdure.stores.postgres.database import Connection
from perdure.stores.postgres.statements import Statements

_SQL = Statements(Path(__file__).parent / "sql")


class TransactionMark:
    """A text of its own, which a transaction bears until it ends.

    RESET ALL takes it off as well: then the transaction isn't recognised, although it is the same.

    Args:
        text: the mark that the transaction bears already; None for a new one, which `put_on` puts there.
    """

    def __init__(self, text: str | None = None) -> None:
        self._text = text or uuid4().hex

    async def put_on(self, connection: Connection) -> None:
        """Mark the transaction that the connection is in. To be done before the caller can set a savepoint."""
        await connection.execute(_SQL["mark_transaction"], self._text)

    async def is_on(self, connection: Connection) -> bool:
        """Whether the connection is still in the marked transaction."""
        return self.is_mark(await connection.fetchval(_SQL["transaction_mark"]))

    def is_mark(self, found: str | None) -> bool:
        """Whether this was found on the transaction: the setting ``perdure.transaction``, read by any statement."""
        return found == self._text
