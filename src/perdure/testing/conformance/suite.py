"""All parts of the suite in one class."""

from __future__ import annotations

import pytest

from perdure.testing.conformance.appending import Appending
from perdure.testing.conformance.bad_input import BadInput
from perdure.testing.conformance.browsing import Browsing
from perdure.testing.conformance.evolving import Evolving
from perdure.testing.conformance.following import Following
from perdure.testing.conformance.groups import Groups
from perdure.testing.conformance.including import Including
from perdure.testing.conformance.modelled import Modelled
from perdure.testing.conformance.racing import Racing
from perdure.testing.conformance.reading import Reading
from perdure.testing.conformance.repeating import Repeating
from perdure.testing.conformance.snapshots import Snapshots


@pytest.mark.asyncio
class EventStoreConformance(
    Appending,
    Repeating,
    Groups,
    BadInput,
    Reading,
    Browsing,
    Including,
    Following,
    Racing,
    Snapshots,
    Evolving,
    Modelled,
):
    """What every event store must do. Subclass it, and provide the fixture ``store``: an open store with no events."""
