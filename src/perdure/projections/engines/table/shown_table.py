"""Which columns of the shown build a class can read, when the build belongs to another version of the class."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from perdure.projections.engines.table.table import Table
from perdure.projections.state.identity import TableShape

_NOT_NULL = " not null"


def readable_columns(table: Table, found: TableShape | None) -> dict[str, str]:
    """Return the columns of a table in the database that the row class has, and their SQL types."""
    columns: Mapping[str, str] = {} if found is None else found.columns
    return {each.name: each.sql_type for each in table.columns if each.name in columns}


def mismatches(table: Table, found: TableShape | None, named: Collection[str]) -> list[str]:
    """Return why rows of a table in the database can't be read as rows of a class; an empty list if they can.

    A column may be missing if its field has a default, and the query doesn't name it.

    Args:
        table: the table that the class describes.
        found: the table in the database; None if there is none.
        named: the columns that the query names.
    """
    if found is None:
        return [f"there is no {table.view!r}"]
    if found.key != table.key:
        return [f"the key is {', '.join(found.key)}"]
    reasons: list[str] = []
    for column in table.columns:
        kind = found.columns.get(column.name)
        if kind is None:
            if column.is_required or column.name in named:
                reasons.append(f"there is no {column.name!r}")
        elif kind.removesuffix(_NOT_NULL) != column.sql_type:
            reasons.append(f"{column.name!r} is {kind}")
        elif not column.nullable and not kind.endswith(_NOT_NULL):
            reasons.append(f"{column.name!r} may be null")
    return reasons
