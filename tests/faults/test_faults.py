"""Whatever happens under load, nothing acknowledged is lost, skipped or doubled. `make faults` tries longer."""

import pytest

from tests.faults.catalogue import FAULTS, Fault, struck
from tests.faults.stage import WRITERS, NotRun

pytestmark = pytest.mark.server  # the tests start servers of their own


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.__name__)
async def test_nothing_acknowledged_is_lost_skipped_or_doubled_by(fault: Fault) -> None:
    try:
        report = await struck(fault, seconds=2, on_disk=False)
    except NotRun as reason:
        pytest.skip(str(reason))

    assert report.violations == (), str(report)
    assert report.writers >= WRITERS
    assert report.acknowledged > 100, str(report)
    assert report.seen >= report.acknowledged, str(report)
