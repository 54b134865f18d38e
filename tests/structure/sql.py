"""Splits SQL into statements, by PostgreSQL's lexical rules: comments (which nest), quotes and dollar quotes."""

import re

TOKEN = re.compile(
    r"""
      (?P<comment> --[^\n]* )
    | (?P<block> /\* )
    | \$ (?P<tag> (?:[A-Za-z_]\w*)? ) \$ .*? \$ (?P=tag) \$
    | \b [eE] ' (?: [^'\\] | \\. | '' )* '
    | ' (?: [^'] | '' )* '
    | " (?: [^"] | "" )* "
    | (?P<end> ; )
    | [\w$]+
    | .
    """,
    re.VERBOSE | re.DOTALL,
)
BLOCK_EDGE = re.compile(r"/\*|\*/")


def statements(sql: str) -> list[str]:
    """The statements of `sql`, without comments and semicolons."""
    found, current, position = [], "", 0
    while token := TOKEN.match(sql, position):
        position = end_of_block(sql, token.end()) if token["block"] else token.end()
        if token["end"]:
            found.append(current.strip())
            current = ""
        else:
            current += " " if token["comment"] or token["block"] else token[0]
    return [statement for statement in [*found, current.strip()] if statement]


def end_of_block(sql: str, position: int) -> int:
    depth = 1
    while depth and (edge := BLOCK_EDGE.search(sql, position)):
        depth += 1 if edge[0] == "/*" else -1
        position = edge.end()
    return len(sql) if depth else position
