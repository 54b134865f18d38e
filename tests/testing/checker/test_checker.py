"""The checker finds nothing wrong with a sound store, and finds out each one that breaks a promise."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import asyncpg
import pytest

from perdure.commit import ANY
from perdure.errors import InvalidArgumentError
from perdure.events import NewEvent, StoredEvent
from perdure.projections.service import ProjectionService
from perdure.store import EventStore
from perdure.stores.memory import InMemoryEventStore
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.checker import Fault, LogFollower, Report, Tally, Workload, check, read_rows
from perdure.testing.checker.history import EventSeen, FollowerFailed, HistoryFile, records_in
from perdure.testing.checker.operations import History
from perdure.testing.checker.samples import CATEGORY, Checked, text_of
from tests.stores.postgres.races import until
from tests.testing.checker import unsound_stores as unsound


async def checked(store: EventStore, folder: Path, answers: int = 300, patience: float = 60) -> Report:
    """The report about a workload that went on until so many appends were answered."""
    async with Workload(store, folder, writers=8, streams=3, patience=patience) as workload:
        await until(lambda: workload.acknowledged >= answers)
    return await check(store, folder)


async def test_a_sound_store_is_found_sound(tmp_path: Path) -> None:
    async with InMemoryEventStore() as store:
        report = await checked(store, tmp_path)

    assert report.violations == ()
    assert report.writers == 8
    assert report.acknowledged == report.events >= 300
    assert report.seen == 2 * report.events
    assert report.repeats > 0
    assert "no violations" in str(report)


async def test_the_store_on_postgresql_and_a_projection_are_found_sound(
    store: PostgreSQLEventStore, tmp_path: Path
) -> None:
    async with ProjectionService(store, [Tally()]) as service:
        await checked(store, tmp_path)
        [last] = await store.read_all_events_backwards(max_count=1)
        await service.wait_for("perdure_checker_tally", last.global_position)
        report = await check(store, tmp_path, read_models=[(Tally(), await read_rows(store, Tally()))])

    assert report.violations == (), str(report)
    assert report.refused > 0


@pytest.mark.parametrize(
    ("store", "fault"),
    [
        (unsound.NoVersionCheck(), Fault.RACE),
        (unsound.Drops(), Fault.LOST),
        (unsound.Doubles(), Fault.DOUBLED),
        (unsound.Doubles(), Fault.REPEAT),
        (unsound.Reorders(), Fault.DISORDER),
        (unsound.Rewrites(), Fault.CHANGED),
        (unsound.ConflictsBeforeIds(), Fault.REPEAT),
        (unsound.WritesThoughItRefuses(), Fault.UNEXPECTED),
        (unsound.Late(), Fault.SKIPPED),
        (unsound.SeesTwice(), Fault.SEEN_TWICE),
        (unsound.Invents(), Fault.UNTYPED),
        (unsound.DrawsBackwards(), Fault.ORDER),
    ],
    ids=lambda one: one.name if isinstance(one, Fault) else type(one).__name__,
)
async def test_a_store_that_breaks_a_promise_is_found_out(
    store: InMemoryEventStore, fault: Fault, tmp_path: Path
) -> None:
    async with store:
        report = await checked(store, tmp_path, patience=0.5)

    assert report.counts[fault] > 0, str(report)
    assert fault.name in str(report)


async def test_half_an_append_is_found_out(tmp_path: Path) -> None:
    async with unsound.WritesHalf() as store:
        async with Workload(store, tmp_path, writers=8, patience=0):
            await until(lambda: store.halves >= 5)
        report = await check(store, tmp_path)

    assert report.counts[Fault.HALVED] > 0, str(report)
    assert report.unknown > 0


async def test_a_log_that_lost_its_end_is_found_out(tmp_path: Path) -> None:
    async with InMemoryEventStore() as store:
        await checked(store, tmp_path)
        del store._log[-5:]
        report = await check(store, tmp_path)

    assert report.counts[Fault.LOST] == 5
    assert report.counts[Fault.PHANTOM] == 10, "two followers have seen what is gone"


@pytest.mark.parametrize("folders", [("one", "one"), ("one", "another")], ids=["one history", "two histories"])
async def test_a_store_is_checked_after_each_of_two_workloads(folders: tuple[str, str], tmp_path: Path) -> None:
    async with InMemoryEventStore() as store:
        reports = [await checked(store, tmp_path / folder, answers=50) for folder in folders]

    first, second = reports
    assert [report.violations for report in reports] == [(), ()]
    assert first.others == 0
    if folders == ("one", "one"):
        assert (second.writers, second.others) == (16, 0)
    else:
        assert (second.writers, second.others) == (8, first.events)
        assert f"{first.events} events of workloads with another history" in str(second)


async def test_what_the_second_of_two_workloads_lost_or_never_appended_is_found_out(tmp_path: Path) -> None:
    async with InMemoryEventStore() as store:
        await checked(store, tmp_path / "first", answers=50)
        report = await checked(store, tmp_path / "second", answers=50)
        del store._log[-1:]
        writer = next(iter(History(tmp_path / "second").writers))
        for text in (text_of(writer, 10**6, 1), "nobody's"):
            await store.append_to_stream(f"{CATEGORY}-late", ANY, [Checked(text=text)])
        counts = (await check(store, tmp_path / "second")).counts

    assert report.violations == ()
    assert (counts[Fault.LOST], counts[Fault.UNEXPECTED]) == (1, 2)


async def test_a_follower_that_stopped_short_is_found_out(tmp_path: Path) -> None:
    async with unsound.StandsStill() as store:
        await checked(store, tmp_path, patience=0.1)
        store.stands_still = False
        report = await check(store, tmp_path)

    assert report.counts == {Fault.BEHIND: 2}


async def test_a_follower_of_ones_own_is_to_come_to_the_end_of_the_log(tmp_path: Path) -> None:
    async with InMemoryEventStore() as store:
        follower = LogFollower(store, tmp_path, "follower")
        follower.start()
        saved = await store.append_to_stream("other-1", ANY, [Checked(text="seen")])
        assert await follower.reach(saved.global_position, 10)
        await follower.stop()
        await store.append_to_stream("other-1", ANY, [Checked(text="nobody follows any more")])
        report = await check(store, tmp_path)

    assert report.counts[Fault.BEHIND] == 1


async def test_a_row_that_is_not_what_the_log_says_is_found_out(tmp_path: Path) -> None:
    async with InMemoryEventStore() as store:
        await store.append_to_stream(f"{CATEGORY}-1", ANY, [Checked(text="a")])
        report = await check(store, tmp_path, read_models=[(Tally(), {})])

    assert report.counts[Fault.READ_MODEL] == 1


# --- Followers --------------------------------------------------------------------------------------------------------


class NaiveFollower(LogFollower):
    """Asks for what stands after the last position that it saw, as everybody does at first."""

    def __init__(self, url: str, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]  # the arguments of any follower
        self._url = url

    async def events(self, from_position: int, from_event_id: UUID | None) -> AsyncIterator[StoredEvent]:
        connection = await asyncpg.connect(self._url)
        try:
            while True:
                for row in await connection.fetch(
                    "select * from perdure.events where global_position > $1 order by 1", from_position
                ):
                    event = await self._store.read_event(row["event_id"])
                    assert event is not None
                    yield event
                    from_position = event.global_position
                await asyncio.sleep(0.001)
        finally:
            connection.terminate()


@pytest.mark.one_session  # the naive reader is the driver alone
async def test_a_naive_reader_is_found_out_where_our_own_misses_nothing(
    store: PostgreSQLEventStore, database_url: str, tmp_path: Path
) -> None:
    naive = NaiveFollower(database_url, store, tmp_path, "naive")
    ours = LogFollower(store, tmp_path, "ours")
    naive.start()
    ours.start()
    async with store.transaction() as tx:  # its position is drawn, and it isn't committed yet
        early = await store.append_to_stream(f"{CATEGORY}-1", ANY, [Checked(text="early")], tx=tx)
        later = await store.append_to_stream(f"{CATEGORY}-2", ANY, [Checked(text="later")])
        assert await naive.reach(later.global_position, 10)
    assert await ours.reach(later.global_position, 10)
    await naive.stop()
    await ours.stop()
    report = await check(store, tmp_path)

    skipped = [violation for violation in report.violations if violation.fault is Fault.SKIPPED]
    assert early.global_position < later.global_position
    assert [violation.example.split(":")[0] for violation in skipped] == ["naive"]


async def test_a_follower_goes_on_after_its_checkpoint_in_its_next_life(tmp_path: Path) -> None:
    async with InMemoryEventStore() as store:
        for life in range(3):
            follower = LogFollower(store, tmp_path, "follower")
            follower.start()
            saved = await store.append_to_stream(f"{CATEGORY}-1", ANY, [Checked(text=str(life))])
            assert await follower.reach(saved.global_position, 10)
            await follower.stop()

    lives = records_in(tmp_path / "follower.jsonl")
    assert [one.global_position for one in lives if isinstance(one, EventSeen)] == [1, 2, 3]


async def test_a_follower_that_is_ended_by_an_error_is_told(tmp_path: Path) -> None:
    async with InMemoryEventStore() as store:
        await store.append_to_stream(f"{CATEGORY}-1", ANY, [Checked(text="a")])
        with HistoryFile(tmp_path, "follower") as history:
            history.write(EventSeen(1, NewEvent(Checked(text="another log's")).metadata.event_id))
        follower = LogFollower(store, tmp_path, "follower")
        follower.start()
        assert not await follower.reach(2, 10)
        await follower.stop()

    assert [one.error for one in records_in(tmp_path / "follower.jsonl") if isinstance(one, FollowerFailed)] == [
        "LogDivergedError"
    ]


def test_a_line_that_a_kill_has_cut_is_left_out_and_written_over(tmp_path: Path) -> None:
    seen = [EventSeen(number, NewEvent(Checked(text="a")).metadata.event_id) for number in range(3)]
    with HistoryFile(tmp_path, "one") as history:
        history.write(seen[0])
        history.write(seen[1])
    whole = history.path.read_bytes()
    history.path.write_bytes(whole[:-7])

    assert list(records_in(history.path)) == seen[:1]
    with HistoryFile(tmp_path, "one") as history:
        history.write(seen[2])
    assert list(records_in(history.path)) == [seen[0], seen[2]]


@pytest.mark.parametrize(
    "bad", [{"writers": -1}, {"followers": "2"}, {"streams": 0}, {"patience": "long"}, {"store": None}], ids=str
)
def test_what_can_not_be_a_workload_is_refused(bad: dict[str, object], tmp_path: Path) -> None:
    with pytest.raises(InvalidArgumentError, match=next(iter(bad))):
        Workload(**{"store": InMemoryEventStore(), "folder": tmp_path, **bad})  # type: ignore[arg-type]  # the point
