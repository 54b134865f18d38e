"""Indexes and unique columns: created with the table, carried to each build, checked, and enforced event by event."""

import asyncio
import logging
from typing import Any

import asyncpg
import pytest

from perdure import schema
from perdure.commit import ANY
from perdure.errors import (
    EventParkedError,
    InlineProjectionError,
    ProjectionDefinitionError,
    ProjectionPausedError,
    ProjectionShapeError,
    UniqueViolationError,
)
from perdure.events import StoredEvent, handles
from perdure.projection import TableProjection
from perdure.projections.engines.table.definition import TableDefinition
from perdure.projections.inline_store import InlineProjections
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.projections.state.identity import BuildId
from perdure.retry import RetryConfig
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.projections import fold
from tests.projections.counting import Page, Visited
from tests.projections.members import Changed, Joined, Left, Member, Members, Seat
from tests.projections.rebuilding import until_shown

ONCE = RetryConfig(max_attempts=1)
UNIQUE = "select conname from pg_constraint where conrelid = 'members__v1'::regclass and contype = 'u'"
INDEXES = """
    select tablename || ': ' || regexp_replace(indexdef, '.* USING btree ', '') as one
    from pg_indexes where schemaname = 'public' order by 1
"""


def a_table(**options: Any) -> type[TableProjection[Any]]:
    class Made(TableProjection[Page], table="pages", key="page", **options):
        @handles
        def visited(self, event: Visited, row: Page | None) -> Page | None:
            return row

    return Made


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"indexes": "visits"}, r"indexes is 'visits': give a list: indexes=\[\"plan\"\]"),
        ({"indexes": ("visits", "seconds")}, r"indexes=\[\(\"plan\", \"city\"\)\] for two fields together"),
        ({"indexes": [7]}, "indexes has 7: name a field"),
        ({"indexes": [("visits", "visits")]}, "several different fields"),
        ({"indexes": ["visits", ("visits",)]}, r"indexes has \('visits',\) twice"),
        ({"indexes": ["page"]}, "leave it out, the key has an index anyway"),
        ({"unique": ["page"]}, "leave it out, the key is unique anyway"),
        ({"unique": [("page", "visits")]}, "the key is unique anyway"),
        ({"unique": None}, "unique is None: give a list"),
        ({"indexes": [("visits", "limit")]}, r"indexes has 'limit': rename the field, because find\(\) has an option"),
    ],
)
def test_a_wrong_declaration_is_refused_where_the_class_is_defined(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ProjectionDefinitionError, match=reason):
        a_table(**options)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"indexes": ["nothing"]}, "Page has no field 'nothing', which is in indexes of 'pages'"),
        ({"unique": ["nothing"]}, "Page has no field 'nothing', which is in unique of 'pages'"),
        ({"indexes": ["path"]}, r"field 'path' of Page can't be in indexes: its column is text\[\]"),
    ],
)
def test_a_field_that_can_have_no_index_is_refused(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ProjectionDefinitionError, match=reason):
        fold(a_table(**options)(), [])


def test_what_is_unique_beyond_a_key_can_not_be_divided() -> None:
    assert not TableDefinition(Members()).is_divisible
    assert TableDefinition(a_table(indexes=["visits"])()).is_divisible


async def test_indexes_are_created_with_the_table_and_with_each_build(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, quick_beats: None, quick_rebuilds: None
) -> None:
    async with ProjectionService(store, [Members()], segments=4) as service:
        saved = await store.append_to_stream("x-1", ANY, [Joined(member="a", email="a@x")])
        await service.wait_for("members", saved, timeout=30)
        expected = [
            "members__v1: (email)",
            "members__v1: (joined_at, member)",
            "members__v1: (member)",
            "members__v1: (plan, member)",
            "members__v1: (plan, score, member)",
            "members__v1: (score, member)",
            "members_seats__v1: (member, seat)",
            "members_seats__v1: (taken, member, seat)",
        ]
        assert [row["one"] for row in await connection.fetch(INDEXES)] == expected

        await ProjectionOperations(store).rebuild("members", segments=4)
        await until_shown(store, BuildId("members", 1, 2))

        rebuilt = [row["one"] for row in await connection.fetch(INDEXES) if "__v1_2:" in row["one"]]
        assert rebuilt == [one.replace("__v1:", "__v1_2:") for one in expected]
        await ProjectionOperations(store).rebuild("members")
        await until_shown(store, BuildId("members", 1, 3))
        statuses = await ProjectionOperations(store).status("members")
        assert {len(status.segments) for status in statuses} == {1}, "what is unique is folded in the order of the log"


async def test_verify_finds_what_a_table_lacks_and_says_how_to_create_it(
    store: PostgreSQLEventStore, database_url: str, connection: asyncpg.Connection
) -> None:
    async with ProjectionService(store, [Members()]):
        pass
    assert await schema.verify(database_url) == []
    unique = await connection.fetchval(
        "select conname from pg_constraint where conname like 'members%' and contype = 'u'"
    )
    await connection.execute(
        f'drop index members__v1_plan_score_member_idx; alter table members__v1 drop constraint "{unique}"'
    )

    index, constraint = sorted(await schema.verify(database_url), key=lambda drift: drift.object_type, reverse=True)

    assert (index.kind, index.object_type, index.name) == (
        "missing",
        "index",
        "public.members__v1 (plan, score, member)",
    )
    assert (constraint.object_type, constraint.name) == ("constraint", "public.members__v1 (email)")
    for drift in (index, constraint):
        await connection.execute(drift.advice.partition("create it: ")[2])
    assert await schema.verify(database_url) == []

    await connection.execute("update pg_index set indisvalid = false where indexrelid = 'members__v1_pkey'::regclass")
    (drift,) = await schema.verify(database_url)
    assert drift.name == "public.members__v1 (member)"


async def test_an_index_can_be_added_by_a_rebuild_but_unique_needs_a_new_version(
    store: PostgreSQLEventStore,
    connection: asyncpg.Connection,
    caplog: pytest.LogCaptureFixture,
    quick_beats: None,
    quick_rebuilds: None,
) -> None:
    saved = await store.append_to_stream("x-1", ANY, [Visited(page="a", visitor="x")])
    async with ProjectionService(store, [a_table()()]) as service:
        await service.wait_for("pages", saved, timeout=30)

    with caplog.at_level(logging.WARNING, "perdure.projections"):
        async with ProjectionService(store, [a_table(indexes=["visits"])()]) as service:
            await service.wait_for("pages", saved, timeout=30)
            assert "lacks: pages__v1 (visits, page); call rebuild('pages')" in caplog.text
            await ProjectionOperations(store).rebuild("pages")
            await until_shown(store, BuildId("pages", 1, 2))
    assert "pages__v1_2: (visits, page)" in [row["one"] for row in await connection.fetch(INDEXES)]

    with pytest.raises(ProjectionShapeError, match="the unique fields of pages__v1: none, now visits"):
        async with ProjectionService(store, [a_table(unique=["visits"])()]):
            pass


async def test_an_event_that_breaks_uniqueness_is_parked_for_its_row(store: PostgreSQLEventStore) -> None:
    async with ProjectionService(store, [Members()], retry=ONCE) as service:
        events = [
            Joined(member="a", email="same@x"),
            Joined(member="b", email="same@x"),
            Joined(member="c", email=None),
            Joined(member="d", email=None),
        ]
        saved = await store.append_to_stream("x-1", ANY, events)
        with pytest.raises(EventParkedError, match="would have the same email"):
            await service.wait_for("members", saved, timeout=30)
        await service.wait_for("members", saved.global_position, timeout=30)

    (parked,) = await ProjectionOperations(store).parked("members")
    assert (parked.global_position, parked.key, parked.failure and parked.failure.kind) == (
        2,
        '{"member":"b"}',
        "database",
    )
    assert parked.failure
    assert parked.failure.error_type.endswith("UniqueViolationError")
    assert "two rows of 'members' would have the same email, which is declared unique: " in parked.failure.message
    rows = await store.database.fetch("select member from members order by 1")
    assert [row["member"] for row in rows] == ["a", "c", "d"]


@pytest.mark.parametrize("is_deferred", [False, True], ids=["as declared", "deferred by an operator"])
async def test_an_event_of_several_rows_is_parked_only_for_the_row_that_breaks_uniqueness(
    store: PostgreSQLEventStore, connection: asyncpg.Connection, is_deferred: bool
) -> None:
    async with ProjectionService(store, [Members()], retry=ONCE) as service:
        joined = [Joined(member=name, email=f"{name}@x") for name in "abc"]
        await service.wait_for("members", await store.append_to_stream("x-1", ANY, joined), timeout=30)
        if is_deferred:
            name = await connection.fetchval(UNIQUE)
            await connection.execute(
                f'alter table members__v1 drop constraint "{name}", '
                f'add constraint "{name}" unique (email) deferrable initially deferred'
            )
        saved = await store.append_to_stream("x-1", ANY, [Changed(emails={"a": "c@x", "b": "new@x"})])
        with pytest.raises(EventParkedError):
            await service.wait_for("members", saved, timeout=30)

    assert [parked.key for parked in await ProjectionOperations(store).parked("members")] == ['{"member":"a"}']
    rows = await store.database.fetch("select member, email from members order by 1")
    assert [(row["member"], row["email"]) for row in rows] == [("a", "a@x"), ("b", "new@x"), ("c", "c@x")]


async def test_an_event_that_breaks_uniqueness_pauses_unless_it_may_be_parked(store: PostgreSQLEventStore) -> None:
    class Strict(Members, table="strict", key="member", unique=["email"]):
        pass

    async with ProjectionService(store, [Strict()], retry=ONCE) as service:
        saved = await store.append_to_stream("x-1", ANY, [Joined(member=name, email="same@x") for name in "ab"])
        with pytest.raises(ProjectionPausedError, match="would have the same email"):
            await service.wait_for("strict", saved, timeout=30)


async def test_rows_pass_a_unique_value_on_within_a_batch_and_within_an_event(store: PostgreSQLEventStore) -> None:
    events = [
        Joined(member="a", email="1@x"),
        Joined(member="b", email="2@x"),
        Changed(emails={"a": "2@x", "b": "1@x"}),
        Changed(emails={"a": None}),
        Joined(member="c", email="2@x"),
        Left(member="c"),
        Joined(member="d", email="2@x"),
    ]
    await store.append_to_stream("x-1", ANY, events)
    async with ProjectionService(store, [Members()], retry=ONCE) as service:
        await service.wait_for("members", len(events), timeout=30)
        assert await ProjectionOperations(store).parked("members") == []
        # And one at a time.
        one_by_one = [Changed(emails={"a": "1@x", "b": "2@x", "d": None}), Changed(emails={"a": "2@x", "b": "1@x"})]
        for each in one_by_one:
            saved = await store.append_to_stream("x-1", ANY, [each])
            await service.wait_for("members", saved, timeout=30)
    assert await ProjectionOperations(store).parked("members") == []
    rows = await store.database.fetch("select member, email from members order by 1")
    assert [(row["member"], row["email"]) for row in rows] == [("a", "2@x"), ("b", "1@x"), ("d", None)]


class Accounts(TableProjection[Member], table="accounts", key="member", by_stream="member", unique=["email"]):
    @handles
    def joined(self, event: Joined, row: Member | None, at: StoredEvent) -> Member:
        return Member(event.member, event.email, event.plan)


async def test_inline_the_append_fails_so_that_no_second_account_has_the_address(store: PostgreSQLEventStore) -> None:
    async with InlineProjections(store, [Accounts()]) as accounts:
        await accounts.append_to_stream("member-a", 0, [Joined(member="a", email="same@x")])
        with pytest.raises(InlineProjectionError, match="would have the same email") as caught:
            await accounts.append_to_stream("member-b", 0, [Joined(member="b", email="same@x")])
        assert isinstance(caught.value.__cause__, UniqueViolationError)
        assert (caught.value.__cause__.table, caught.value.__cause__.fields) == ("accounts", ("email",))
        assert await store.stream_version("member-b") == 0


async def test_of_appends_that_race_for_a_unique_value_one_wins_in_each_process(
    store: PostgreSQLEventStore, elsewhere: PostgreSQLEventStore
) -> None:
    async def join(accounts: InlineProjections, member: str, email: str) -> bool:
        try:
            await accounts.append_to_stream(f"member-{member}", 0, [Joined(member=member, email=email)])
        except InlineProjectionError as error:
            return not isinstance(error.__cause__, UniqueViolationError)
        return True

    async with InlineProjections(store, [Accounts()]) as one, InlineProjections(elsewhere, [Accounts()]) as other:
        racers = [
            join((one, other)[number % 2], f"{email}-{number}", f"{email}@x") for number in range(8) for email in "abc"
        ]
        won = await asyncio.gather(*racers)

        assert sum(won) == 3
        page = await Accounts.find(one, order_by="email")
        assert [row.email for row in page] == ["a@x", "b@x", "c@x"]
        end = (await other.read_all_events())[-1].global_position
        for row in page:
            assert await Accounts.get(other, row.member) == row
            assert await Accounts.get(other, row.member, at_position=end) == row
        assert await other.stream_version(f"member-{page.rows[0].member}") == 1


def test_child_tables_declare_them_too() -> None:
    (_, seats) = TableDefinition(Members()).tables
    assert (seats.row, seats.indexes) == (Seat, (("taken", "member", "seat"),))
