"""SQL lives in `.sql` files: one statement each, opening with its purpose. None of it is in Python's strings."""

import ast
import re
from pathlib import Path

import pytest

from tests.structure.sources import docstrings, modules, parse, shown, sql_files
from tests.structure.sql import statements

THING = r"(temp(orary)?|unlogged|unique|table|view|materialized|index|function|trigger|sequence|schema|database|role)"
CHANGE = r"INSERT\s+INTO|UPDATE\s+\S+\s+SET|DELETE\s+FROM|(CREATE|ALTER|DROP)\s+(TABLE|VIEW|INDEX|FUNCTION)"
BEGUN = (
    rf"((select|insert\s+into|update\s+\S+\s+set|delete\s+from|truncate|grant|revoke)\s|with\s+\w+\s+as\s*\("
    rf"|(listen|notify)\s+\S+$|(create(\s+or\s+replace)?|alter|drop)\s+{THING}\s)"
)
SQL = re.compile(rf"\b({CHANGE})\s|^\s*(?i:{BEGUN})")
"""Changes in capitals anywhere, all else where a text begins with it. Advice such as "try ALTER SYSTEM" is prose."""


def text_of(node: ast.AST) -> str:
    """The text of a string, or of an f-string with `{}` for each value."""
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def sql_in(tree: ast.Module) -> list[str]:
    prose = docstrings(tree)
    return [text for node in ast.walk(tree) if id(node) not in prose and SQL.search(text := text_of(node))]


@pytest.mark.parametrize("path", modules(), ids=shown)
def test_no_string_holds_sql(path: Path) -> None:
    assert sql_in(parse(path)) == []


@pytest.mark.parametrize("path", sql_files(), ids=shown)
def test_a_file_holds_one_statement(path: Path) -> None:
    assert len(statements(path.read_text(encoding="utf-8"))) == 1


@pytest.mark.parametrize("path", sql_files(), ids=shown)
def test_a_file_opens_with_its_purpose(path: Path) -> None:
    assert re.match(r"-- \S.{9,}", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", sql_files(), ids=shown)
def test_regression_21_no_lock_outlives_its_transaction(path: Path) -> None:
    locks = re.findall(r"pg_(?:try_)?advisory_\w*lock\w*", path.read_text(encoding="utf-8"))
    assert [lock for lock in locks if "_xact_" not in lock] == []


@pytest.mark.parametrize(
    "source",
    [
        '"SELECT 1"',
        '"select * from events"',
        'f"INSERT INTO {table} VALUES ($1)"',
        '"""\n  update events set a = 1"""',
        '"delete from events"',
        '"create table if not exists t (a int)"',
        'f"drop view {name}"',
        'f"LISTEN {channel}"',
        '"BEGIN; CREATE TABLE t (a int)"',
        '"WITH a AS (SELECT 1) TABLE a"',
    ],
)
def test_sql_in_a_string_is_found(source: str) -> None:
    assert sql_in(ast.parse(f"x = {source}"))


@pytest.mark.parametrize(
    "source",
    [
        '"""SELECT in a docstring."""',
        'x = "choose a row from the list"',
        'x = f"can\'t create {name}: drop it first, or update it"',
        'x = "with no database running"',
        'x = "keep your settings with ALTER SYSTEM, or GRANT SELECT to others"',
        'x = "update the package"',
    ],
)
def test_prose_is_not_taken_for_sql(source: str) -> None:
    assert sql_in(ast.parse(source)) == []


@pytest.mark.parametrize(
    ("sql", "count"),
    [
        ("", 0),
        ("-- nothing; but a comment", 0),
        ("SELECT 1", 1),
        ("SELECT 1; -- that's all;", 1),
        ("SELECT 1; SELECT 2", 2),
        ("SELECT ';'; SELECT ';'';'", 2),
        ("SELECT E'\\';', \";\"", 1),
        ("DO $$ BEGIN PERFORM 1; PERFORM 2; END $$;", 1),
        ("DO $body$ BEGIN PERFORM '$$;'; END $body$; SELECT 1", 2),
        ("/* a; /* nested; */ b; */ SELECT $1; SELECT $2", 2),
        ("SELECT 1 -- it's;\n, 2;", 1),
    ],
)
def test_statements_are_told_apart(sql: str, count: int) -> None:
    assert len(statements(sql)) == count
