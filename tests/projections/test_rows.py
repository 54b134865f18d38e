"""Rows read as objects, by key and by indexed fields: stored rows, and rows as they were."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from perdure.commit import ANY
from perdure.errors import (
    BuildStateError,
    InvalidArgumentError,
    ProjectionDefinitionError,
    UnknownProjectionError,
)
from perdure.events import handles
from perdure.projection import TableProjection
from perdure.projections import rows
from perdure.projections.operations import ProjectionOperations
from perdure.projections.service import ProjectionService
from perdure.projections.state.identity import BuildId
from perdure.row_query import RowPage
from perdure.store import EventStore
from perdure.stores.memory import InMemoryEventStore
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.projections import fold
from tests.projections.counting import Page, Visited
from tests.projections.members import Changed, Joined, Left, Member, Members, Seat, Seated
from tests.projections.rebuilding import until_shown

PLANS = ("free", "Zed", "äb", "b\U0001f600", "b\uffff")
QUERIES: tuple[dict[str, Any], ...] = (
    {},
    {"order_by": "-member"},
    {"order_by": "score"},
    {"order_by": "-score"},
    {"order_by": "plan"},
    {"order_by": ["-plan", "-score"]},
    {"order_by": "joined_at"},
    {"order_by": "email"},
    {"order_by": "-email"},
    {"plan": "free"},
    {"plan": "äb", "order_by": "score"},
    {"plan": "b\uffff", "order_by": "-score"},
    {"plan": "free", "score": None},
    {"score": 1, "plan": "Zed"},
    {"score": None, "order_by": "-member"},
    {"member": "m1"},
)
CHILD_QUERIES: tuple[dict[str, Any], ...] = (
    {},
    {"member": "m1"},
    {"order_by": "-taken"},
    {"member": "m2", "seat": "s1"},
)


async def all_pages(find: Any, limit: int, **query: Any) -> list[Any]:
    found: list[Any] = []
    after: str | None = None
    while True:
        page = await find(limit=limit, after=after, **query)
        assert len(page) <= limit
        found += page
        after = page.next
        if after is None:
            return found


names = st.sampled_from(["m1", "m2", "m3", "m4"])
joined = st.builds(
    Joined,
    member=names,
    email=st.none(),
    plan=st.sampled_from(PLANS),
    score=st.none() | st.sampled_from([-1, 0, 1]),
)
seated = st.builds(Seated, member=names, seat=st.sampled_from(["s1", "S2", "ß"]))
changed = st.builds(
    Changed, emails=st.dictionaries(names, st.none(), max_size=4).map(lambda them: {name: f"{name}@x" for name in them})
)
batches = st.lists(
    st.lists(joined | seated | changed | st.builds(Left, member=names), min_size=1, max_size=12), max_size=4
)


async def answers(store: EventStore, limit: int, at_position: int | None) -> list[Any]:
    """What all queries answer, page by page."""
    find, children = Members.find, Members.find_children
    found = [await all_pages(lambda **q: find(store, at_position=at_position, **q), limit, **each) for each in QUERIES]
    found += [
        await all_pages(lambda **q: children(store, Members.seats, at_position=at_position, **q), limit, **each)
        for each in CHILD_QUERIES
    ]
    found += [[await Members.get(store, name, at_position=at_position)] for name in ("m1", "m2", "m3", "m4")]
    return found


@pytest.fixture
async def members(store: PostgreSQLEventStore) -> AsyncIterator[ProjectionService]:
    async with ProjectionService(store, [Members()]) as service:
        yield service


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), phases=set(Phase) - {Phase.explain})
@given(batches=batches, limit=st.integers(1, 4))
async def test_stored_rows_and_rows_folded_as_of_their_position_agree(
    members: ProjectionService, store: PostgreSQLEventStore, batches: Sequence[Sequence[Any]], limit: int
) -> None:
    stored: dict[int, list[Any]] = {}
    for batch in batches:
        saved = await store.append_to_stream("x-1", ANY, batch)
        await members.wait_for("members", saved, timeout=30)
        stored[saved.global_position] = await answers(store, limit, None)
        everybody = stored[saved.global_position][0]
        assert [row.member for row in everybody] == sorted(row.member for row in everybody)

    for position, answered in stored.items():
        assert await answers(store, limit, position) == answered


async def test_a_page_says_where_the_next_one_begins(members: ProjectionService, store: PostgreSQLEventStore) -> None:
    events = [Joined(member=f"m{number}", plan="free", score=number % 2) for number in range(5)]
    await members.wait_for("members", await store.append_to_stream("x-1", ANY, events))

    first = await Members.find(store, plan="free", order_by="-score", limit=3)
    assert isinstance(first, RowPage)
    assert [(row.member, row.score) for row in first] == [("m3", 1), ("m1", 1), ("m4", 0)]
    assert first.next
    # Rows that come and go elsewhere move nothing.
    later = [Left(member="m3"), Joined(member="m9", plan="free", score=1)]
    await members.wait_for("members", await store.append_to_stream("x-1", ANY, later))
    last = await Members.find(store, plan="free", order_by="-score", limit=3, after=first.next)
    assert ([row.member for row in last], last.next) == (["m2", "m0"], None)


async def test_a_query_uses_an_index_for_each_page(
    members: ProjectionService,
    store: PostgreSQLEventStore,
    connection: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    events = [
        Joined(member=f"m{number:04}", plan=PLANS[number % 2], score=number % 7 or None) for number in range(3000)
    ]
    await members.wait_for("members", await store.append_to_stream("x-1", ANY, events))
    await connection.execute("analyze members__v1")
    statements: list[tuple[Any, ...]] = []
    fetchrow = asyncpg.Connection.fetchrow

    async def listen(self: Any, sql: str, *arguments: Any, **options: Any) -> Any:
        statements.append((sql, *arguments))
        return await fetchrow(self, sql, *arguments, **options)

    monkeypatch.setattr(asyncpg.Connection, "fetchrow", listen)
    queries: tuple[dict[str, Any], ...] = (
        {"plan": "free", "order_by": "score"},
        {"plan": "free", "order_by": "-score"},
        {"order_by": "-score"},
    )
    for query in queries:
        page = await Members.find(store, limit=10, **query)
        await Members.find(store, limit=10, after=page.next, **query)
    monkeypatch.undo()

    for sql, *arguments in statements:
        if "json_populate_record" in sql:
            plan = "\n".join(row[0] for row in await connection.fetch(f"explain {sql}", *arguments))
            assert "Index" in plan
            assert "Seq Scan on members" not in plan
            sorted_by = [line.rpartition(".")[2] for line in plan.splitlines() if "Sort Key" in line]
            assert set(sorted_by) == {"number"}, "a page is sorted, never the table"


@pytest.mark.parametrize(
    ("query", "argument", "reason"),
    [
        ({"paid": 1}, "paid", r'needs an index of .members.: declare indexes=\["paid"\], and rebuild'),
        ({"plan": "free", "order_by": "paid"}, "order_by", r'declare indexes=\[\("plan", "paid"\)\]'),
        ({"order_by": ["score", "plan"]}, "order_by", "needs an index"),
        ({"plan": "free", "order_by": ["score", "-member"]}, "order_by", "goes up and down"),
        ({"nothing": 1}, "nothing", "nothing is no field of Member: member, email, plan"),
        ({"order_by": "nothing"}, "order_by", "'nothing' is no field of Member"),
        ({"order_by": 7}, "order_by", "must be a field"),
        ({"plan": 7}, "plan", "no row of 'members' can have: Expected `str`, got `int`"),
        ({"score": "7"}, "score", "has a value that no row of 'members' can have"),
        ({"score": 2**63}, "score", "has a value that no row of 'members' can have"),
        ({"limit": 0}, "limit", "must be a whole number from 1 to 10000"),
        ({"after": "?"}, "after", "isn't a cursor of this query"),
        ({"after": 7}, "after", "isn't a cursor of this query"),
        ({"after": "W10"}, "after", "isn't a cursor of this query"),
    ],
)
async def test_what_no_index_serves_is_refused_with_the_cure(query: dict[str, Any], argument: str, reason: str) -> None:
    with pytest.raises(InvalidArgumentError, match=reason) as caught:
        await Members.find(InMemoryEventStore(), **query)
    assert caught.value.argument == argument


async def test_a_cursor_is_of_one_query(members: ProjectionService, store: PostgreSQLEventStore) -> None:
    events = [Joined(member=f"m{number}", plan=PLANS[number % 2]) for number in range(6)]
    await members.wait_for("members", await store.append_to_stream("x-1", ANY, events))
    page = await Members.find(store, plan="free", limit=1)

    others: tuple[dict[str, Any], ...] = (
        {"plan": "Zed"},
        {"plan": "free", "order_by": "score"},
        {"plan": "free", "order_by": "-member"},
        {},
    )
    for other in others:
        with pytest.raises(InvalidArgumentError, match="isn't a cursor of this query"):
            await Members.find(store, limit=1, after=page.next, **other)
    assert len(await Members.find(store, plan="free", limit=9, after=page.next)) == 2


async def test_a_store_without_a_database_folds_its_log() -> None:
    store = InMemoryEventStore()
    saved = await store.append_to_stream("x-1", ANY, [Joined(member="a", score=1), Seated(member="a", seat="7")])
    await store.append_to_stream("x-1", ANY, [Joined(member="b", plan="Zed"), Left(member="a")])

    assert [row.member for row in await Members.find(store, order_by="score")] == ["b"]
    assert await Members.get(store, "a") is None
    a = await Members.get(store, "a", at_position=saved.global_position)
    assert a is not None
    assert (a.member, a.score) == ("a", 1)
    seats = await Members.find_children(store, Members.seats, member="a", at_position=2)
    assert list(seats) == [Seat("a", "7", 1)]
    assert await Members.get(store, "a", at_time=datetime(2001, 1, 1, tzinfo=UTC)) is None


async def test_keys_are_checked_and_a_class_that_never_ran_is_unknown(store: PostgreSQLEventStore) -> None:
    for value in (7, b"a"):
        with pytest.raises(InvalidArgumentError, match=r"^key .* can't be a key .*'members'"):
            await Members.get(store, value)
    with pytest.raises(InvalidArgumentError, match=r"^plan has a value that no row of 'members' can have"):
        await Members.find(store, plan=5)
    with pytest.raises(InvalidArgumentError, match=r"^plann is no field of Member: "):
        await Members.find(store, plann="free")
    unknown = r"no projection 'members'; the projections are: none; if it is new, is its service running\?"
    with pytest.raises(UnknownProjectionError, match=unknown):
        await Members.get(store, "a")


class Older(TableProjection[Page], table="pages", key="page", version=1, indexes=["visits"]):
    @handles
    def visited(self, event: Visited, row: Page | None) -> Page:
        row = row or Page(event.page)
        row.visits += 1
        return row


class Newer(Older, table="pages", key="page", version=2, indexes=["visits"]):
    def __init__(self, step: int) -> None:
        self.step = step


class Renamed(TableProjection[Member], table="pages", key="member", version=3):
    @handles
    def joined(self, event: Joined, row: Member | None) -> Member | None:
        return row


async def test_rows_of_an_older_version_are_read_while_it_is_shown_if_they_fit(store: PostgreSQLEventStore) -> None:
    async with ProjectionService(store, [Older()]) as service:
        saved = await store.append_to_stream("x-1", ANY, [Visited(page="a", visitor="x")])
        await service.wait_for("pages", saved)

    assert await Newer.get(store, "a") == Page("a", 1), "the constructor isn't needed"
    with pytest.raises(BuildStateError, match=r"isn't read as version 3: the key is page; wait for version 3"):
        await Renamed.get(store, "a")
    with pytest.raises(ProjectionDefinitionError, match=r"can't be created without arguments .*: use LiveProjection"):
        await Newer.get(store, "a", at_position=1)


async def test_a_column_that_the_shown_table_lacks_has_its_default(
    store: PostgreSQLEventStore, connection: asyncpg.Connection
) -> None:
    async with ProjectionService(store, [Older()]) as service:
        saved = await store.append_to_stream("x-1", ANY, [Visited(page="a", visitor="x")])
        await service.wait_for("pages", saved)
    # As if version 1 had been made before the field was there.
    await connection.execute("""
        drop view pages; alter table pages__v1 drop column seconds; create view pages as table pages__v1;
        update perdure.projections set shape = replace(shape::text, '"seconds":"bigint not null",', '')::json
    """)

    page = await Older.get(store, "a")
    assert page is not None
    assert (page.visits, page.seconds) == (1, 0)
    await connection.execute("""
        update perdure.projections
        set shape = replace(shape::text, '"visits":"bigint not null"', '"visits":"text"')::json
    """)
    with pytest.raises(BuildStateError, match="'visits' is text"):
        await Older.get(store, "a")


@dataclass
class ShortPage:
    page: str
    visits: int = 0


class Shorter(TableProjection[ShortPage], table="pages", key="page", version=1):
    @handles
    def visited(self, event: Visited, row: ShortPage | None) -> ShortPage:
        return ShortPage(event.page, 1)


class Longer(TableProjection[Page], table="pages", key="page", version=2):
    @handles
    def visited(self, event: Visited, row: Page | None) -> Page:
        return Page(event.page, 1, seconds=7)


@pytest.mark.parametrize("is_within", [False, True])
async def test_a_view_that_is_switched_before_its_rows_are_read_is_read_as_of_the_new_build(
    store: PostgreSQLEventStore,
    monkeypatch: pytest.MonkeyPatch,
    quick_beats: None,
    quick_rebuilds: None,
    is_within: bool,
) -> None:
    async def get() -> Page | None:
        if not is_within:
            return await Longer.get(store, "a")
        async with store.transaction() as tx:  # it goes on after a statement that fails for the switch
            return await Longer.get(store, "a", tx=tx)

    operations = ProjectionOperations(store)
    switches: list[Callable[[], Awaitable[Any]]] = []
    shown = rows._ViewReader._shown

    async def then_switch(self: Any, connection: Any) -> Any:
        found = await shown(self, connection)
        if switches:
            await switches.pop()()
        return found

    async def switch_to_longer() -> None:
        async with ProjectionService(store, [Longer()]):
            await until_shown(store, BuildId("pages", 2, 1))

    saved = await store.append_to_stream("x-1", ANY, [Visited(page="a", visitor="x")])
    async with ProjectionService(store, [Shorter()]) as service:
        await service.wait_for("pages", saved)
        monkeypatch.setattr(rows._ViewReader, "_shown", then_switch)
        assert await get() == Page("a", 1, seconds=0), "version 1 has no such column"

        switches.append(switch_to_longer)
        assert await get() == Page("a", 1, seconds=7), "never the columns of one build, the rows of another"
        switches.append(lambda: operations.rollback("pages"))
        assert await get() == Page("a", 1, seconds=0)


async def test_reads_never_fail_nor_mix_builds_while_they_are_switched_back_and_forth(
    store: PostgreSQLEventStore, quick_beats: None, quick_rebuilds: None
) -> None:
    saved = await store.append_to_stream("x-1", ANY, [Visited(page=f"p{n % 9}", visitor="x") for n in range(50)])
    operations = ProjectionOperations(store)
    async with ProjectionService(store, [Older()]) as service:
        await service.wait_for("pages", saved)
        await operations.rebuild("pages")
        await until_shown(store, BuildId("pages", 1, 2))
        expected = sorted(fold(Older(), await store.read_all_events()).values(), key=lambda row: row.page)
        is_done = asyncio.Event()

        async def read() -> int:
            count = 0
            while not is_done.is_set():
                assert await all_pages(lambda **query: Older.find(store, **query), 4) == expected
                count += 1
            return count

        readers = [asyncio.create_task(read()) for _ in range(3)]
        for _ in range(6):
            await operations.rollback("pages")
        is_done.set()
        assert all(await asyncio.gather(*readers))


@pytest.mark.parametrize("name", ["{places}", "{indexed}", "{view}", 'a"b', "x'; drop view y; --"])
async def test_a_name_that_looks_like_sql_or_a_placeholder_is_a_name(store: PostgreSQLEventStore, name: str) -> None:
    class Hostile(Older, table=name, key="page", indexes=["visits"], unique=["seconds"]):
        pass

    async with ProjectionService(store, [Hostile()]) as service:
        saved = await store.append_to_stream("x-1", ANY, [Visited(page="a", visitor="x")])
        await service.wait_for(name, saved)
    assert await Hostile.get(store, "a") == Page("a", 1)
    assert [row.page for row in await Hostile.find(store, visits=1)] == ["a"]
