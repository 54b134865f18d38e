"""All parts of the suite in one class."""

from __future__ import annotations

import pytest

from perdure.testing.conformance.appends import StreamAppends
from perdure.testing.conformance.bad_input import BadInput
from perdure.testing.conformance.capabilities import Capabilities
from perdure.testing.conformance.concurrency import Concurrency
from perdure.testing.conformance.evolution import Evolution
from perdure.testing.conformance.history import LogHistory
from perdure.testing.conformance.model_check import ModelCheck
from perdure.testing.conformance.multi_stream import MultiStreamAppends
from perdure.testing.conformance.own_writes import OwnWrites
from perdure.testing.conformance.reads import Reads
from perdure.testing.conformance.repeats import Repeats
from perdure.testing.conformance.snapshots import Snapshots
from perdure.testing.conformance.subscriptions import Subscriptions


@pytest.mark.asyncio
class EventStoreConformance(
    StreamAppends,
    Repeats,
    MultiStreamAppends,
    BadInput,
    Reads,
    LogHistory,
    OwnWrites,
    Subscriptions,
    Concurrency,
    Snapshots,
    Evolution,
    Capabilities,
    ModelCheck,
):
    """What every event store must do. Subclass it, and provide the fixture ``store``: an open store with no events.

    A store that claims ``notifications`` also overrides `another_store`.
    """
