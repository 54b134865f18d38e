"""Whatever stands in the arguments of the command line reaches the database as data, and the answer is one."""

from pathlib import Path

import asyncpg
import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.cli.program import program
from tests.bad_input.test_hostile_names import SCHEMAS, relations
from tests.bad_input.values import HOSTILE_NAMES
from tests.cli.calling import STREAMING, Call, fill
from tests.cli.conftest import perdure, place
from tests.cli.test_program import leaves
from tests.fuzzing.payloads import TROUBLE

__all__ = ["perdure", "place"]  # fixtures, which are imported to be found

ENDLESS = {"run", "events tail", "projections watch"}
MAKES_SCHEMAS = {"db apply"}
OPENS_ANOTHER_PROGRAM = {"db psql"}  # its arguments are SQL, and psql answers


def calls() -> list[list[str]]:
    """Each command with HERE, where a text is to stand, as its arguments, and as each of its options."""
    found = [[option, HERE, *path] for option in ("--schema", "--app", "--database") for path in (LIST, ["doctor"])]
    for name, command in leaves(program).items():
        if name in ENDLESS | MAKES_SCHEMAS | OPENS_ANOTHER_PROGRAM:
            continue
        called = [*name.split(), *[HERE for one in command.params if isinstance(one, click.Argument)]]
        options = [one for one in command.params if isinstance(one, click.Option) and not one.is_flag]
        found += [called, *[[*called, one.opts[0], HERE] for one in options]]
    return found


LIST = ["streams", "list"]
HERE = "<here>"
CALLS = calls()
texts = (
    st.sampled_from(HOSTILE_NAMES)
    | TROUBLE.texts
    | st.sampled_from(["user-1", "user", "-1", "0", "1e9", "user_profiles"])
)


def test_there_are_calls_to_try() -> None:
    assert len(CALLS) > 60


@given(call=st.sampled_from(CALLS), text=texts, json=st.booleans())
async def test_an_argument_is_data_and_the_answer_has_a_form(
    perdure: Call, connection: asyncpg.Connection, call: list[str], text: str, *, json: bool
) -> None:
    before = await everything(connection)
    app = [] if "--app" in call else ["--app", STREAMING]

    answer = await perdure(*app, *[text if one == HERE else one for one in call], *["--json"] * json)

    assert answer.status in (0, 1, 2)
    assert "Traceback" not in answer.out + answer.err
    if json and call[0] != "db":
        assert answer.envelope["status"] == answer.status
    assert await everything(connection) == before


async def everything(connection: asyncpg.Connection) -> tuple[set[str], list[str], int]:
    """What there is in the database, as far as SQL in an argument would show."""
    schemas = [row[0] for row in await connection.fetch(SCHEMAS)]
    return (
        await relations(connection),
        sorted(schemas),
        await connection.fetchval("select count(*) from perdure.events"),
    )


@pytest.fixture(autouse=True)
async def filled(database_url: str, place: Path) -> None:
    await fill(database_url)
