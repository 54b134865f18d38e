"""Point-in-time recovery: what is in the database is of one moment, and what was read beyond it elsewhere is told."""

from collections.abc import AsyncIterator

import pytest

from perdure.commit import ANY
from perdure.errors import LogDivergedError
from perdure.projections.service import ProjectionService
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.backup.test_dump import visits
from tests.cluster import Server, Servers, servers
from tests.projections.checking import check_against_fold
from tests.projections.counting import Pages
from tests.stores.postgres.races import notes, texts

pytestmark = pytest.mark.server  # the tests start servers of their own

BEYOND = 40
"""More events than positions that the server draws in advance, so that after the recovery they are drawn again."""


@pytest.fixture
async def cluster() -> AsyncIterator[Servers]:
    async with servers() as cluster:
        yield cluster


async def archiving(cluster: Servers) -> tuple[Server, str]:
    """A server that archives its WAL, and where."""
    archive = str(cluster.place("archive"))
    return await cluster.primary(
        settings={"archive_mode": "on", "archive_command": f'cp "%p" "{archive}/%f"', "archive_timeout": "3600"}
    ), archive


async def recovered(cluster: Servers, primary: Server, backup: Server, archive: str, target: str) -> Server:
    """The backup, recovered from the archive alone up to a restore point."""
    segment = await primary.value("select pg_walfile_name(pg_switch_wal())")
    await primary.until_true(f"last_archived_wal >= '{segment}' from pg_stat_archiver")
    await primary.kill()
    backup.add_settings(
        {
            "restore_command": f'cp "{archive}/%f" "%p"',
            "recovery_target_name": target,
            "recovery_target_action": "promote",
            "archive_mode": "off",
        }
    )
    backup.mark("recovery.signal")
    await backup.start()
    await backup.until_true("not pg_is_in_recovery()")
    return backup


async def test_a_log_recovered_to_an_earlier_moment_is_that_of_the_moment(cluster: Servers) -> None:
    primary, archive = await archiving(cluster)
    async with (
        PostgreSQLEventStore(primary.url()) as store,
        ProjectionService(store, [Pages()], lease=1) as service,  # it is recovered, too, and must end
    ):
        await store.append_to_stream("page-a", ANY, visits("a", 3))
        backup = await cluster.copy_of(primary, "backup")
        moment = await store.append_to_stream("page-b", ANY, visits("b", 2))
        await service.wait_for("pages", moment, timeout=30)
        await primary.execute("select pg_create_restore_point('moment')")
        read = await store.append_to_stream("note-1", ANY, notes(*range(BEYOND)))
        await service.wait_for("pages", read, timeout=30)
        last = (await store.read_all_events())[-1]

    restored = await recovered(cluster, primary, backup, archive, "moment")

    async with PostgreSQLEventStore(restored.url()) as store:
        before = await store.read_all_events()
        assert [stored.global_position for stored in before] == [1, 2, 3, 4, 5]

        # Kept elsewhere, a checkpoint may lie beyond the log, also when the position is taken by another event.
        with pytest.raises(LogDivergedError, match="no event has that position") as beyond:
            await anext(store.subscribe(last.global_position, from_event_id=last.event_id))
        assert (beyond.value.expected, beyond.value.found) == (last.event_id, None)
        await store.append_to_stream("note-1", ANY, notes(*(f"new {n}" for n in range(BEYOND))))
        found = await store.read_all_events(last.global_position - 1, max_count=1)
        assert texts(found)[0].startswith("new")
        with pytest.raises(LogDivergedError, match="this isn't the log that was read") as taken:
            await anext(store.subscribe(last.global_position, from_event_id=last.event_id))
        assert (taken.value.expected, taken.value.found) == (last.event_id, found[0].event_id)

        # One that was read before the moment goes on.
        follower = store.subscribe(moment.global_position, from_event_id=before[-1].event_id)
        assert (await anext(follower)).event.text == "new 0"

        # In the same database, rows and checkpoint are of the same moment as the log.
        added = await store.append_to_stream("page-a", ANY, visits("a", 1))
        async with ProjectionService(store, [Pages()]) as service:
            await service.wait_for("pages", added, timeout=30)
        assert await check_against_fold(store, restored.url(), Pages()) == added.global_position
