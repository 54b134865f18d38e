"""The schema is planned, applied, printed and verified."""

import asyncpg
import pytest

from tests.cli.calling import Call
from tests.pooler import direct


@pytest.fixture
def empty(perdure: Call, empty_database_url: str, monkeypatch: pytest.MonkeyPatch) -> Call:
    """The command line on a database with nothing in it."""
    monkeypatch.setenv("PERDURE_DATABASE_URL", empty_database_url)
    return perdure


async def test_the_missing_migrations_are_planned_and_applied(empty: Call) -> None:
    plan = await empty("db", "plan")
    planned = (await empty("db", "plan", "--json")).data
    applied = await empty("db", "apply")
    again = await empty("db", "apply", "--json")

    assert plan.status == 0
    assert plan.out.splitlines()[1].startswith("0100_baseline ")
    assert plan.out.endswith(f"Schema 'perdure' lacks {len(planned['migrations'])} migrations.\n")
    assert plan.err == "Next: perdure db apply\n"
    assert applied.status == 0
    assert applied.out.splitlines()[:-1] == [f"applied {one['name']}" for one in planned["migrations"]]
    assert again.data == {"applied": []}
    assert (await empty("db", "plan")).out == "Schema 'perdure' is as this version of Perdure needs it.\n"
    assert (await empty("streams", "list")).status == 0


async def test_another_schema_is_planned_and_applied(perdure: Call, connection: asyncpg.Connection) -> None:
    assert (await perdure("--schema", "shop", "db", "apply")).status == 0

    assert await connection.fetchval("select to_regclass('shop.events') is not null")


async def test_the_schema_is_printed_as_a_script_that_makes_it(empty: Call, empty_database_url: str) -> None:
    script = await empty("db", "print")
    connection = await asyncpg.connect(direct(empty_database_url))
    try:
        await connection.execute(script.out)
    finally:
        await connection.close()

    assert (script.status, script.err) == (0, "")
    assert (await empty("db", "plan", "--json")).data["migrations"] == []
    assert (await empty("db", "verify")).status == 0


async def test_only_what_is_missing_is_printed(perdure: Call) -> None:
    assert (await perdure("db", "print", "--missing")).out == ""
    assert (await perdure("db", "print", "--missing", "--json")).data == {"script": ""}


async def test_a_schema_as_it_was_made_is_verified(perdure: Call) -> None:
    answer = await perdure("db", "verify")

    assert answer == (0, "Schema 'perdure' is exactly as the migrations create it.\n", "")


async def test_what_differs_is_listed(perdure: Call, connection: asyncpg.Connection) -> None:
    await connection.execute("drop index perdure.events_category; alter table perdure.events add column extra text")

    answer = await perdure("db", "verify")
    drift = (await perdure("db", "verify", "--json")).data["drift"]

    assert answer.status == 1
    assert answer.out.endswith("Schema 'perdure' differs in 2 places.\n")
    assert {(one["kind"], one["object_type"]) for one in drift} == {("missing", "index"), ("unexpected", "column")}
    assert answer.err == "Next: perdure db print\n"


async def test_a_missing_schema_cannot_be_verified(empty: Call) -> None:
    answer = await empty("db", "verify")

    assert answer.status == 1
    assert answer.err.endswith("Next: perdure db apply\n")


async def test_a_store_that_the_application_made_is_told(perdure: Call) -> None:
    answer = await perdure("--app", "tests.cli.own_store:app", "db", "plan")

    assert answer.status == 2
    assert "the application made its store itself" in answer.err
    assert "secret" not in answer.err


async def test_a_number_that_is_shared_is_found_and_the_copy_is_given_another(
    perdure: Call, connection: asyncpg.Connection
) -> None:
    await perdure("--schema", "copy", "db", "apply")
    number = await connection.fetchval("select perdure.store_namespace()")
    await connection.execute(f"""
        create or replace function copy.store_namespace() returns integer
            language sql immutable parallel safe return {number};
        create or replace function copy.store_schema() returns text
            language sql immutable parallel safe return 'perdure';
    """)

    original = await perdure("doctor", "--json")
    copy = await perdure("--schema", "copy", "doctor", "--json")
    assert original.status == copy.status == 1
    assert {one["name"] for one in original.data["findings"] if one["state"] == "problem"} == {"locks"}
    assert "perdure --schema copy db renumber" in original.err + original.out
    assert "has the same lock number as schema 'perdure'" in copy.data["findings"][-1]["message"]

    renumbered = await perdure("--schema", "copy", "db", "renumber", "--json")
    assert renumbered.data == {"namespace": await connection.fetchval("select copy.store_namespace()")}
    assert renumbered.data["namespace"] != number
    assert (await perdure("doctor")).status == (await perdure("--schema", "copy", "doctor")).status == 0
