"""All parts of the suite in one class."""

from __future__ import annotations

import pytest

from perdure.testing.conformance.appends import Appending
from perdure.testing.conformance.bad_input import BadInput
from perdure.testing.conformance.capabilities import Capabilities
from perdure.testing.conformance.concurrency import Racing
from perdure.testing.conformance.evolution import Evolving
from perdure.testing.conformance.history import Browsing
from perdure.testing.conformance.model_check import Modelled
from perdure.testing.conformance.multi_stream import MultiStreamAppends
from perdure.testing.conformance.own_writes import Including
from perdure.testing.conformance.reads import Reads
from perdure.testing.conformance.repeats import Repeating
from perdure.testing.conformance.snapshots import Snapshots
from perdure.testing.conformance.subscriptions import Following


@pytest.mark.asyncio
class EventStoreConformance(
    Appending,
    Repeating,
    MultiStreamAppends,
    BadInput,
    Reads,
    Browsing,
    Including,
    Following,
    Racing,
    Snapshots,
    Evolving,
    Capabilities,
    Modelled,
):
    """What every event store must do. Subclass it, and provide the fixture ``store``: an open store with no events.

    A store that claims ``notifications`` also overrides `another_store`.
    """
