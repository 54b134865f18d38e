"""Settings with their sources, and what is looked at."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import asyncpg
import pytest

from examples.streaming.events import ContentRated
from perdure import ANY, PostgreSQLEventStore
from perdure.cli import doctor
from perdure.stores.postgres.inspection import Inspection
from tests.cli.calling import Call
from tests.projections.timers.timing import set_timer

RATED = ContentRated(content_id="1", user_id="1", rating=4.0)


def settings(diagnosis: Any) -> dict[str, tuple[str, str]]:
    return {one["name"]: (one["value"], one["source"]) for one in diagnosis["settings"]}


def findings(diagnosis: Any) -> dict[str, tuple[str, str]]:
    return {one["name"]: (one["state"], one["message"]) for one in diagnosis["findings"]}


@pytest.mark.one_session
async def test_all_is_well(streaming: Call, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_HEARD_WITHIN", 60.0)
    answer = await streaming("doctor")
    diagnosis = (await streaming("doctor", "--json")).data

    assert (answer.status, answer.err) == (0, "")
    assert settings(diagnosis)["database"] == (database_url, "PERDURE_DATABASE_URL")
    assert settings(diagnosis)["application"] == ("examples.streaming:app", "--app")
    assert settings(diagnosis)["schema"] == ("perdure", "default")
    assert {name: state for name, (state, _) in findings(diagnosis).items()} == dict.fromkeys(
        ("connection", "schema", "locks", "fence", "listener", "clock", "timers"), "ok"
    )


@pytest.mark.usefixtures("events")
async def test_options_and_the_application_are_told_as_sources(
    perdure: Call, place: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "doctored.py").write_text(
        "from perdure import Application\n"
        f"app = Application({{'url': {database_url!r}, 'schema': 'perdure', 'payload_limit': 1000}})\n"
    )
    monkeypatch.setenv("PERDURE_APP", "doctored")

    found = settings((await perdure("doctor", "--json")).data)
    overruled = settings((await perdure("--database", database_url, "--schema", "perdure", "doctor", "--json")).data)

    assert found["application"] == ("doctored", "PERDURE_APP")
    assert found["database"] == (database_url, "the application")
    assert found["payload_limit"] == ("1000", "the application")
    assert (overruled["database"][1], overruled["schema"][1]) == ("--database", "--schema")


async def test_who_holds_the_fence_is_told(perdure: Call, store: PostgreSQLEventStore) -> None:
    async with store.transaction() as tx:
        await store.append_to_stream("content-1", ANY, [RATED], tx=tx)
        pid = await tx.connection.fetchval("select pg_backend_pid()")

        diagnosis = (await perdure("doctor", "--json")).data
        answer = await perdure("doctor")

    [holder] = diagnosis["fence"]["holders"]
    assert (holder["floor"], holder["pid"], holder["state"]) == (0, pid, "idle in transaction")
    assert diagnosis["fence"]["safe_position"] == 0
    assert findings(diagnosis)["fence"][0] == "ok"
    assert "up to position 0, 1 short of the last one assigned; 1 append under way" in findings(diagnosis)["fence"][1]
    assert str(pid) in answer.out.splitlines()[-1]


async def test_an_append_that_takes_long_is_pointed_out(
    perdure: Call, store: PostgreSQLEventStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doctor, "_LONG", timedelta(0))
    async with store.transaction() as tx:
        await store.append_to_stream("content-1", ANY, [RATED], tx=tx)

        answer = await perdure("doctor")

    assert answer.status == 0
    assert "attention  fence: " in answer.out
    assert "readers can't pass it" in answer.out


async def test_a_prepared_transaction_is_told_as_what_it_is(perdure: Call, store: PostgreSQLEventStore) -> None:
    connection = await store.database.connect()
    try:
        await connection.execute("begin")
        await connection.execute(
            "insert into perdure.events (stream_id, stream_version, event_id, event_type, event_version, event_data, "
            "metadata) values ('a-1', 1, gen_random_uuid(), 'x', 1, '{}', '{\"timestamp\":\"2026-01-01T00:00:00Z\"}')"
        )
        await connection.execute("prepare transaction 'left'")

        answer = await perdure("doctor")

        assert "attention  fence: " in answer.out
        assert "prepared" in answer.out.splitlines()[-1]
    finally:
        await connection.execute("rollback prepared 'left'")
        await connection.close()


async def test_a_missing_schema_is_a_problem_with_its_cure(
    perdure: Call, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERDURE_DATABASE_URL", empty_database_url)

    answer = await perdure("doctor")

    assert answer.status == 1
    assert "problem    schema: schema 'perdure' lacks migrations" in answer.out
    assert answer.err == "Next: perdure db apply\n"


async def test_a_database_that_is_down_is_a_problem(perdure: Call) -> None:
    answer = await perdure("--database", "postgresql://ann:secret@127.0.0.1:1/shop", "doctor")

    assert answer.status == 1
    assert "problem    database: the database can't be reached" in answer.out
    assert "postgresql://ann:...@127.0.0.1:1/shop" in answer.out
    assert "secret" not in answer.out + answer.err
    assert answer.err == "Next: perdure --database postgresql://user@host/database doctor\n"


async def test_an_application_that_cannot_be_imported_is_a_problem(perdure: Call) -> None:
    answer = await perdure("--app", "nowhere:app", "doctor")

    assert answer.status == 1
    assert "problem    application: there is no module 'nowhere'" in answer.out


async def test_a_notify_that_is_not_heard_and_a_clock_that_is_apart_are_pointed_out(
    perdure: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hear_nothing(self: Inspection, timeout: float) -> None:
        pass

    monkeypatch.setattr(Inspection, "seconds_until_heard", hear_nothing)
    monkeypatch.setattr(doctor, "_CLOCKS_APART", -3600.0)

    answer = await perdure("doctor")

    assert answer.status == 0
    assert "attention  listener: no NOTIFY arrived within 2 s" in answer.out
    assert "attention  clock: the server is" in answer.out


@pytest.mark.parametrize(("behind", "state"), [(0, "ok"), (3, "ok"), (5, "attention"), (-2, "attention")])
async def test_a_slow_answer_is_no_reason_to_call_the_clocks_apart(
    monkeypatch: pytest.MonkeyPatch, behind: int, state: str
) -> None:
    asked = datetime(2026, 1, 1, tzinfo=UTC)

    class Asking:
        """A server that answers after 3 s, with what its clock showed at some moment of them."""

        times = iter((asked, asked + timedelta(seconds=3)))

        @classmethod
        def now(cls, _: object) -> datetime:
            return next(cls.times)

        async def session(self) -> Any:
            return SimpleNamespace(clock=asked + timedelta(seconds=3 - behind))

    monkeypatch.setattr(doctor, "datetime", Asking)

    assert (await doctor._clock(Asking())).state == state  # type: ignore[arg-type]  # it is asked for the session only


async def test_timers_that_should_have_fired_are_pointed_out(perdure: Call, connection: asyncpg.Connection) -> None:
    await set_timer(connection, "ann", due_in=timedelta(minutes=-2))
    await set_timer(connection, "bob")
    await set_timer(connection, "eve", due_in=timedelta(days=7))

    answer = await perdure("doctor", "--json")

    state, message = findings(answer.data)["timers"]
    assert (answer.status, state) == (0, "attention")
    assert message.startswith("2 timers of processes should have fired, the first 2 min ")
    assert answer.envelope["next"].endswith("timers status")


async def test_a_timer_that_has_just_become_due_is_no_finding(perdure: Call, connection: asyncpg.Connection) -> None:
    await set_timer(connection, "ann", due_in=timedelta(0))
    await connection.execute("update perdure.timers set due_at = clock_timestamp()")

    assert findings((await perdure("doctor", "--json")).data)["timers"] == ("ok", "no timer of a process is overdue")
