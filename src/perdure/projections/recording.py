"""The record of what was done to projections."""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple

import msgspec

from perdure.projections.tables import BuildId
from perdure.stores.postgres.database import Connection, Database
from perdure.stores.postgres.statements import Statements

_FOLDER: Final = Path(__file__).parent / "sql" / "action"

ITSELF: Final = "perdure"
"""Who acts when nobody asked."""


class Deed(NamedTuple):
    """What is done to a build, by whom and why."""

    action: str
    actor: str = ITSELF
    reason: str | None = None


class Record:
    """Keeps what was done, in the transaction in which it is done.

    Args:
        database: the database of the store.
    """

    def __init__(self, database: Database) -> None:
        self._sql = Statements(_FOLDER, schema=database.quoted_schema)["record"]

    async def keep(self, connection: Connection, build: BuildId, deed: Deed, detail: object = None) -> None:
        """Keep a deed, with what else is to be known of it."""
        encoded = None if detail is None else msgspec.json.encode(detail).decode()
        await connection.execute(self._sql, *build, deed.action, deed.actor, deed.reason, encoded)
