"""The conformance suite: what every event store must do, as tests that it inherits.

It needs pytest, pytest-asyncio and Hypothesis. A store passes if a class like the one below passes. A store names what
else it offers in `EventStore.capabilities`. Each of these is tested, and the test report shows which were.

Example:
    from perdure.testing.conformance import EventStoreConformance

    class TestMyEventStore(EventStoreConformance):
        @pytest.fixture
        async def store(self):
            async with MyEventStore() as store:
                yield store
"""

import pytest

_PARTS = (
    *("appends", "bad_input", "capabilities", "concurrency", "evolution", "history", "model", "model_check"),
    *("multi_stream", "own_writes", "reads", "repeats", "samples", "snapshots", "subscriptions", "suite"),
)
pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in _PARTS))

from perdure.testing.conformance.suite import EventStoreConformance as EventStoreConformance  # noqa: E402 - once registered
