"""The checker reports what an asynchronous standby has lost that lags behind when it is promoted."""

from pathlib import Path

import pytest

from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.checker import Fault, Workload, check
from tests.cluster import servers
from tests.stores.postgres.races import until

pytestmark = pytest.mark.server  # the tests start servers of their own


async def test_what_a_lagging_standby_has_lost_is_reported_when_it_is_promoted(tmp_path: Path) -> None:
    async with servers() as cluster:
        primary = await cluster.primary()
        async with PostgreSQLEventStore(primary.url()) as store:
            standby = await cluster.standby_of(primary)
            async with Workload(store, tmp_path, writers=8) as workload:
                await until(lambda: workload.acknowledged >= 50)
                await standby.cut_off()
                replicated = workload.acknowledged
                await until(lambda: workload.acknowledged >= replicated + 50)
            whole = await check(store, tmp_path)
        await primary.kill()
        await standby.promote()
        async with PostgreSQLEventStore(standby.url()) as promoted:
            report = await check(promoted, tmp_path)

    assert whole.violations == ()
    assert report.counts[Fault.LOST] == whole.events - report.events > 0
    assert report.counts[Fault.PHANTOM] == 2 * report.counts[Fault.LOST], "two followers saw what is gone"
