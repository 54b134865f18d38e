"""Finds commands that control a transaction in SQL, before it is sent."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

_COMMANDS: Final = frozenset({"begin", "start", "commit", "end", "rollback", "abort", "savepoint", "release"})
_PERHAPS: Final = re.compile(rf"\b(?:{'|'.join(sorted(_COMMANDS))}|prepare)\b", re.IGNORECASE)
_TOKEN: Final = re.compile(
    r"""
    (?P<space> \s+ | --[^\r\n]* )
    | (?P<comment> /\* )
    | (?P<quoted>
        e' (?: [^'\\] | \\. | '' )* '
        | ' (?: [^'] | '' )* '
        | " (?: [^"] | "" )* "
        | \$ (?P<tag> (?: [^\W\d] \w* )? ) \$ .*? \$ (?P=tag) \$
      )
    | (?P<word> [^\W\d] [\w$]* )
    | (?P<end> ; )
    | .
    """,
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_BRACKET: Final = re.compile(r"/\*|\*/")


@lru_cache(maxsize=1000)
def transaction_command(sql: str) -> str | None:
    """Return the first command that begins or ends a transaction or a savepoint, or None.

    Functions and blocks needn't be searched: the server refuses such a command there, inside a transaction.
    """
    if not _PERHAPS.search(sql):
        return None
    is_first, before = True, ""
    for kind, text in _tokens(sql):
        if kind == "end":
            is_first, before = True, ""
            continue
        word = text.lower() if kind == "word" else ""
        if is_first and word in _COMMANDS:
            return word.upper()
        if before == "prepare" and word == "transaction":
            return "PREPARE TRANSACTION"
        before = word if is_first else ""
        is_first = False
    return None


def _tokens(sql: str) -> Iterator[tuple[str | None, str]]:
    """Yield the tokens of a statement, without spaces and comments."""
    position = 0
    while found := _TOKEN.match(sql, position):
        position = found.end()
        if found.lastgroup == "comment":
            position = _end_of_comment(sql, position)
        elif found["space"] is None:
            yield ("word" if found["word"] else "end" if found["end"] else None), found[0]


def _end_of_comment(sql: str, position: int) -> int:
    """Return the end of a comment that begins before `position`. Comments can be nested."""
    depth = 1
    while depth and (bracket := _BRACKET.search(sql, position)):
        depth += 1 if bracket[0] == "/*" else -1
        position = bracket.end()
    return len(sql) if depth else position
