"""`connect` is for ``async with``: other uses are refused with what to write, before anything is opened."""

from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest

import perdure
from perdure import Application, InMemoryEventStore, WrongContextError
from perdure.async_block import async_block

BLOCKS: list[tuple[Callable[[], Any], str]] = [
    (perdure.connect, "async with perdure.connect() as store:"),
    (Application().connect, "async with app.connect() as store:"),
]


@pytest.mark.parametrize(("block", "example"), BLOCKS)
async def test_await_is_refused(block: Callable[[], Any], example: str) -> None:
    with pytest.raises(WrongContextError) as caught:
        await block()
    assert str(caught.value) == f"it can't be awaited: write '{example}'"


@pytest.mark.parametrize(("block", "example"), BLOCKS)
def test_a_plain_with_is_refused(block: Callable[[], Any], example: str) -> None:
    with pytest.raises(WrongContextError) as caught, block():
        pass
    assert str(caught.value) == f"a plain 'with' can't open it: write '{example}'"


async def test_an_application_that_was_refused_can_still_be_connected() -> None:
    app = Application(InMemoryEventStore())
    with pytest.raises(WrongContextError):
        await app.connect()  # type: ignore[misc] # the point; type checkers find it, too

    async with app.connect() as store:
        assert store is app.store


async def test_an_error_in_the_block_reaches_the_caller_and_the_block() -> None:
    seen: list[str] = []

    @async_block("async with opened(...) as value:")
    async def opened(value: int, *, step: int = 1) -> AsyncGenerator[int]:
        """Kept."""
        try:
            yield value + step
        except KeyError:
            seen.append("error")
            raise
        finally:
            seen.append("end")

    async with opened(1, step=2) as value:
        assert value == 3
    with pytest.raises(KeyError):
        async with opened(1):
            raise KeyError
    assert seen == ["end", "error", "end"]
    assert opened.__doc__ == "Kept."
