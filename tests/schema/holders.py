"""Who stands in the way of a migration, as its error says it."""

from collections.abc import Awaitable, Callable

import pytest

from perdure.errors import SchemaLockedError
from tests.patience import growing


async def refused(attempt: Callable[[float], Awaitable[object]], limit: float) -> SchemaLockedError:
    """The error of an attempt that has so many seconds; more, if they ended before the holders could be looked up."""
    for seconds in growing(limit):
        with pytest.raises(SchemaLockedError) as locked:
            await attempt(seconds)
        if locked.value.holders:
            return locked.value
    raise AssertionError("it never says who holds the locks")
