"""Failover: what was acknowledged is there, what isn't known is told so, and a log that holds less is noticed."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from perdure.commit import ANY, NO_STREAM, StreamAppend
from perdure.errors import LogDivergedError, OutcomeUnknownError, StoreOverloadedError, StoreUnavailableError
from perdure.events import NewEvent
from perdure.projections.service import ProjectionService
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.checker import Fault, Tally, Workload, check, read_rows
from perdure.testing.checker.samples import Checked
from perdure.testing.projections import fold_tables
from tests.cluster import Server, Servers, servers, url_of
from tests.stores.postgres.races import Noted, notes, texts, until

pytestmark = pytest.mark.server  # the tests start servers of their own

Append = Callable[[PostgreSQLEventStore, str, NewEvent], Awaitable[object]]


async def alone(store: PostgreSQLEventStore, stream_id: str, event: NewEvent) -> object:
    return await store.append_to_stream(stream_id, NO_STREAM, [event])


async def in_a_group(store: PostgreSQLEventStore, stream_id: str, event: NewEvent) -> object:
    return await store.append_to_streams([StreamAppend(stream_id, NO_STREAM, [event])])


async def in_a_transaction(store: PostgreSQLEventStore, stream_id: str, event: NewEvent) -> object:
    async with store.transaction() as tx:
        return await store.append_to_stream(stream_id, NO_STREAM, [event], tx=tx)


WAYS: list[Append] = [alone, in_a_group, in_a_transaction]


async def with_a_store(cluster: Servers) -> Server:
    """A primary that holds an empty store."""
    primary = await cluster.primary()
    async with PostgreSQLEventStore(primary.url()):
        pass
    return primary


@asynccontextmanager
async def waiting_for_a_standby() -> AsyncGenerator[tuple[Server, Server]]:
    """A primary whose commits wait for a standby."""
    async with servers() as cluster:
        primary = await with_a_store(cluster)
        yield primary, await cluster.standby_of(primary, synchronous=True)


def hurry(store: PostgreSQLEventStore, seconds: float) -> None:
    """Give statements so many seconds, on each connection that is opened from now on."""
    store.database._hosts._command_timeout = seconds


async def sent(primary: Server, way: Append, store: PostgreSQLEventStore, stream_id: str, event: NewEvent) -> object:
    """Append, and again where a busy server was too slow for an earlier statement of a store in a hurry."""
    is_sent = "exists (select from pg_stat_activity where wait_event = 'SyncRep')"
    while True:
        try:
            return await way(store, stream_id, event)
        except StoreUnavailableError:
            assert not await primary.value(f"select {is_sent} or {has(event)}")


def has(event: NewEvent) -> str:
    return f"exists (select from perdure.events where event_id = '{event.metadata.event_id}')"


async def visible(primary: Server, event: NewEvent) -> None:
    """Wait until whoever reads it back finds it, as if it had been acknowledged."""
    await primary.until_true(has(event))


async def test_regression_30_a_time_out_while_waiting_for_a_standby_is_an_unknown_outcome() -> None:
    async with (
        waiting_for_a_standby() as (primary, standby),
        PostgreSQLEventStore(primary.url()) as store,
        PostgreSQLEventStore(primary.url(), append_timeout=0.6) as hurried,
    ):
        hurry(hurried, 0.3)
        for number, way in enumerate(WAYS):
            event = NewEvent(Noted(text="a"))
            standby.freeze()
            with pytest.raises(OutcomeUnknownError) as unknown:
                await sent(primary, way, hurried, f"note-{number}", event)
            assert unknown.value.event_ids == (event.metadata.event_id,)
            # The session that waits for the standby still holds the stream.
            with pytest.raises((OutcomeUnknownError, StoreOverloadedError)):
                await sent(primary, way, hurried, f"note-{number}", event)
            standby.thaw()
            await way(store, f"note-{number}", event)
            assert await standby.value("select count(*) from perdure.events") == number + 1


async def test_regression_30_a_wait_that_is_cut_short_is_an_unknown_outcome() -> None:
    async with waiting_for_a_standby() as (primary, standby):
        standby.freeze()
        # What the driver makes of it: a success.
        plain = asyncio.ensure_future(primary.execute("create table plain ()"))
        await asyncio.gather(plain, cut_short(primary, plain))
        async with (
            PostgreSQLEventStore(primary.url()) as store,
            PostgreSQLEventStore(primary.url(), append_timeout=1) as hurried,
        ):
            hurry(hurried, 1)
            for number, way in enumerate(WAYS):
                event = NewEvent(Noted(text="a"))
                appending = asyncio.ensure_future(sent(primary, way, hurried, f"note-{number}", event))
                with pytest.raises(OutcomeUnknownError):
                    await asyncio.gather(appending, cut_short(primary, appending))
                await visible(primary, event)
                # Found again, it is as unknown as before: a failover may still take it back.
                with pytest.raises((OutcomeUnknownError, StoreOverloadedError)):
                    await sent(primary, way, hurried, f"note-{number}", event)
                standby.thaw()
                await way(store, f"note-{number}", event)
                standby.freeze()


async def cut_short(primary: Server, waiting: asyncio.Future[Any]) -> None:
    """Cancel the sessions that wait for the standby, as an administrator may, unless their time-out was faster."""
    cancel = "select pg_cancel_backend(pid) from pg_stat_activity where wait_event = 'SyncRep'"
    while not (waiting.done() or await primary.value(cancel)):  # noqa: ASYNC110 - the server has no event for it
        await asyncio.sleep(0.005)


async def test_what_only_a_killed_primary_had_is_no_answer_until_the_standby_has_it() -> None:
    async with waiting_for_a_standby() as (primary, standby):
        standby.freeze()
        event = NewEvent(Noted(text="a"))
        async with (
            PostgreSQLEventStore(primary.url()) as store,
            PostgreSQLEventStore(primary.url(), append_timeout=1) as hurried,
        ):
            appending = asyncio.ensure_future(alone(hurried, "note-1", event))
            await primary.until_true("exists (select from pg_stat_activity where wait_event = 'SyncRep')")
            hurry(hurried, 1)  # to be answered that it is there, but not yet on the standby, takes for ever
            await primary.kill()
            await primary.start()
            await visible(primary, event)
            with pytest.raises(OutcomeUnknownError):
                await appending
            standby.thaw()
            await alone(store, "note-1", event)
        assert await standby.value("select count(*) from perdure.events") == 1


async def test_a_standby_that_had_less_is_noticed_between_two_pages_without_any_error() -> None:
    async with servers() as cluster:
        primary = await with_a_store(cluster)
        standby = await cluster.standby_of(primary)
        async with PostgreSQLEventStore(url_of(primary, standby)) as store:
            await store.append_to_stream("note-1", ANY, notes("a", "b"))
            followers = [store.subscribe(), store.subscribe(category="note")]
            waiting = store.subscribe(category="other")
            await standby.caught_up(primary)
            await standby.cut_off()
            await store.append_to_stream("note-1", ANY, notes("lost"))
            for follower in followers:
                assert texts([await anext(follower) for _ in range(3)]) == ["a", "b", "lost"]
            # What it passed over is what it has read, too.
            assert (await waiting.next_page()).position == 3
            await primary.kill()
            await standby.promote()
            await store.append_to_stream("note-1", ANY, notes("c"))
            for follower in (*followers, waiting):
                with pytest.raises(LogDivergedError) as diverged:
                    await anext(follower)
                assert (diverged.value.global_position, diverged.value.found) == (3, None)


async def test_a_failover_under_load_loses_nothing_and_all_go_on(tmp_path: Path) -> None:
    async with servers() as cluster:
        primary = await with_a_store(cluster)
        standby = await cluster.standby_of(primary, synchronous=True)
        url = url_of(primary, standby)
        async with (
            PostgreSQLEventStore(url) as store,
            ProjectionService(store, [Tally()], stop_timeout=1) as service,
        ):
            async with Workload(store, tmp_path) as workload:
                await until(lambda: workload.acknowledged >= 200)
                await primary.kill()
                await standby.promote()
                before = workload.acknowledged
                await until(lambda: workload.acknowledged >= before + 200)
            [last] = await store.read_all_events_backwards(max_count=1)
            await service.wait_for("perdure_checker_tally", last.global_position, timeout=30)
            report = await check(store, tmp_path, read_models=[(Tally(), await read_rows(store, Tally()))])
            await until(lambda: store.is_listening is True)
    assert report.violations == (), str(report)
    assert report.writers == 16


async def test_a_standby_that_lags_is_found_to_have_lost_what_was_acknowledged(tmp_path: Path) -> None:
    async with servers() as cluster:
        primary = await with_a_store(cluster)
        standby = await cluster.standby_of(primary)
        async with PostgreSQLEventStore(url_of(primary, standby)) as store:
            async with Workload(store, tmp_path, patience=1) as workload:
                await until(lambda: workload.acknowledged >= 100)
                await standby.cut_off()
                before = workload.acknowledged
                await until(lambda: workload.acknowledged >= before + 100)
                await primary.kill()
                await standby.promote()
                before = workload.acknowledged
                await until(lambda: workload.acknowledged >= before + 100)
            report = await check(store, tmp_path)
    assert report.counts[Fault.LOST] > 0
    assert report.counts[Fault.PHANTOM] > 0


async def test_a_projection_goes_back_with_the_log_and_on_from_there() -> None:
    async with servers() as cluster:
        primary = await with_a_store(cluster)
        standby = await cluster.standby_of(primary)
        async with (
            PostgreSQLEventStore(url_of(primary, standby)) as store,
            ProjectionService(store, [Tally()], stop_timeout=1) as service,
        ):
            kept = await store.append_to_stream("checked-1", ANY, [Checked(text="a")])
            await service.wait_for("perdure_checker_tally", kept.global_position)
            await standby.caught_up(primary)
            await standby.cut_off()
            lost = await store.append_to_stream("checked-1", ANY, [Checked(text="lost")])
            await service.wait_for("perdure_checker_tally", lost.global_position)
            await primary.kill()
            await standby.promote()
            saved = await store.append_to_stream("checked-1", ANY, [Checked(text="b")])
            await service.wait_for("perdure_checker_tally", saved.global_position, timeout=30)
            rows = await read_rows(store, Tally())
            log = await store.read_all_events()
    assert [stored.event.text for stored in log] == ["a", "b"]
    assert rows["perdure_checker_tally"] == fold_tables(Tally(), log)["perdure_checker_tally"]
