"""Child tables: many rows for each row of a projection, declared by `child_table`, given to handlers as `ChildRows`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

from perdure.checks import can_take
from perdure.declaration import Columns, check_table, checked_columns, checked_key
from perdure.errors import ChildNotLoadedError, ProjectionDefinitionError, ProjectionRowError
from perdure.errors.formats import shown

Child = TypeVar("Child")


class ChildTable(Generic[Child]):
    """The declaration that `child_table` returns. A handler with a parameter of its name gets `ChildRows`."""

    def __init__(
        self,
        row: type[Child],
        table: str,
        key: tuple[str, ...],
        keys: Callable[[Any], Iterable[Any]] | None,
        *,
        indexes: tuple[tuple[str, ...], ...] = (),
        unique: tuple[tuple[str, ...], ...] = (),
    ) -> None:
        self.row = row
        self.table = table
        self.key = key
        self.keys = keys
        self.indexes = indexes
        self.unique = unique


def child_table(
    row: type[Child],
    *,
    table: str,
    key: tuple[str, ...],
    keys: Callable[[Any], Iterable[Any]] | None = None,
    indexes: Columns = (),
    unique: Columns = (),
) -> ChildTable[Child]:
    """Declare a child table, with many rows for each row of the projection: exact membership at constant cost.

    Before a handler runs, the child rows for `keys` are loaded, and the handler can use only these. Child rows are
    deleted together with the parent's row.

    Args:
        row: the class of the rows, a dataclass or a msgspec Struct.
        table: the name under which users query the rows.
        key: the fields that identify a row: first the fields of the parent's key, then at least one more.
        keys: returns the keys for an event, without the part of the parent's key; several fields make a tuple. By
            default, the event's attributes with the names of the key fields. It is called for each event class whose
            handler takes the child table.
        indexes: the fields of each index, as for a `TableProjection`.
        unique: the fields that no two rows may have in common, as for a `TableProjection`.

    Raises:
        ProjectionDefinitionError: an argument can't be used.

    Example:
        class Popularity(TableProjection[Title], table="popularity", key="title_id", version=1):
            viewers = child_table(Viewer, table="popularity_viewers", key=("title_id", "user_id"))

            @handles
            def watched(self, event: Watched, row: Title | None, viewers: ChildRows[Viewer]) -> Title:
                row = row or Title(event.title_id)
                if event.user_id not in viewers:
                    viewers.put(Viewer(event.title_id, event.user_id))
                    row.unique_viewers += 1
                return row
    """
    check_table("child_table", table)
    if keys is not None and not (callable(keys) and can_take(keys, 1)):
        raise ProjectionDefinitionError(table, f"its keys are {shown(keys)}: give a function that takes the event")
    fields = checked_key(table, key)
    return ChildTable(
        row,
        table,
        fields,
        keys,
        indexes=checked_columns(table, "indexes", indexes, fields),
        unique=checked_columns(table, "unique", unique, fields),
    )


class ChildRows(Generic[Child]):
    """The rows of a child table that were loaded for an event and one parent row.

    A row is identified by the part of its key after the parent's key: a value, or a tuple of several fields. See
    `child_table`.

    Args:
        name: the name of the child table in its projection.
        loaded: the stored rows by that part of their key; None if there is no row.
        decode: decodes a stored row.
        part_of: returns that part of a row's key.
    """

    def __init__(
        self,
        name: str,
        loaded: Mapping[Any, Any],
        decode: Callable[[Any], Child],
        part_of: Callable[[Child], Any],
    ) -> None:
        self._name = name
        self._loaded = loaded
        self._decode = decode
        self._part_of = part_of
        self.changes: dict[Any, Child | None] = {}
        """The rows that the handler put, and None for each row that it deleted."""

    def __contains__(self, key: object) -> bool:
        """Return whether there is a row of this key. Raise ChildNotLoadedError as `get` does."""
        stored = self._stored(key)
        return self.changes[key] is not None if key in self.changes else stored is not None

    def get(self, key: object) -> Child | None:
        """Return the row of this key, or None. If you change it, `put` it.

        Raises:
            ChildNotLoadedError: the key wasn't loaded; see the `keys` of `child_table`.
        """
        stored = self._stored(key)
        if key in self.changes:
            return self.changes[key]
        return None if stored is None else self._decode(stored)

    def put(self, row: Child) -> None:
        """Insert a row, or replace the row of the same key.

        Raises:
            ChildNotLoadedError: as `get` does.
            ProjectionRowError: it isn't a row of this table.
        """
        try:
            key = self._part_of(row)
        except AttributeError as error:
            raise ProjectionRowError(self._name, f"{shown(row)} has no key: put a row of its class") from error
        self._stored(key)
        self.changes[key] = row

    def delete(self, key: object) -> None:
        """Delete the row of this key, if there is one. Raise ChildNotLoadedError as `get` does."""
        self._stored(key)
        self.changes[key] = None

    def _stored(self, key: object) -> Any:
        try:
            return self._loaded[key]
        except (KeyError, TypeError):
            raise ChildNotLoadedError(self._name, key) from None
