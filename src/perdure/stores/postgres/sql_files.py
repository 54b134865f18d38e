"""SQL statements by name, each from its own file, with the names of schemas and tables filled in."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from perdure.errors import InvalidArgumentError
from perdure.errors.formats import shown

_PLACEHOLDER = re.compile(r"\{(\w+)\}")


class Statements(Mapping[str, str]):
    """The statements of a folder of ``.sql`` files, by file name.

    Args:
        folder: where the files are.
        names: what replaces ``{schema}`` and the like in them: quoted identifiers, never values.
    """

    def __init__(self, folder: Path, **names: str) -> None:
        self._texts = {name: fill_in(text, **names) for name, text in _texts_in(folder).items()}

    def __getitem__(self, name: str) -> str:
        return self._texts[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


@cache
def _texts_in(folder: Path) -> dict[str, str]:
    return {file.stem: file.read_text("utf-8") for file in sorted(folder.glob("*.sql"))}


def fill_in(sql: str, **names: str) -> str:
    """Replace ``{schema}`` and the like in a statement, all in one pass, because a name may look like a placeholder."""
    return _PLACEHOLDER.sub(lambda found: names.get(found[1], found[0]), sql)


def quote_identifier(name: str, argument: str = "name") -> str:
    """Return the name of a schema, table or column quoted for SQL, whatever characters it holds.

    Raises:
        InvalidArgumentError: the name is empty, holds a NUL, or is longer than the 63 bytes that PostgreSQL stores. The
            error names `argument`.
    """
    if not isinstance(name, str) or not name or "\x00" in name:
        raise InvalidArgumentError(argument, f"{shown(name)} can't be the name of a schema, table or column")
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        raise InvalidArgumentError(argument, f"{shown(name)} holds a lone surrogate") from None
    if size > 63:
        raise InvalidArgumentError(argument, f"{shown(name)} takes {size} bytes, but PostgreSQL stores only 63")
    return '"' + name.replace('"', '""') + '"'


def quoted_schema(schema: str) -> str:
    """Return the quoted name of a schema for tables.

    Raises:
        InvalidArgumentError: the name can't be used, or belongs to PostgreSQL itself.
    """
    quoted = quote_identifier(schema, "schema")
    if schema.startswith("pg_") or schema == "information_schema":
        raise InvalidArgumentError("schema", f"{schema!r} belongs to PostgreSQL itself: choose another name")
    return quoted


def quoted_store_schema(schema: str) -> str:
    """Return the quoted name of a schema that holds a store.

    Raises:
        InvalidArgumentError: as for `quoted_schema`, or the name holds ``$$``, which would end the body of a function.
    """
    quoted = quoted_schema(schema)
    if "$$" in schema:
        raise InvalidArgumentError("schema", f"{schema!r} holds $$, which ends the body of a function")
    return quoted
