"""Functions for ``async with``, which say so if they are awaited or used in a plain ``with``."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import wraps
from types import TracebackType
from typing import TYPE_CHECKING, Generic, NoReturn, ParamSpec, TypeVar

from perdure.errors import WrongContextError

P = ParamSpec("P")
T = TypeVar("T")


def async_block(
    example: str,
) -> Callable[[Callable[P, AsyncGenerator[T]]], Callable[P, AbstractAsyncContextManager[T, None]]]:
    """Make an asynchronous generator a function for ``async with``.

    Args:
        example: how it is used, for the error if it is used in another way.
    """

    def decorate(function: Callable[P, AsyncGenerator[T]]) -> Callable[P, AbstractAsyncContextManager[T, None]]:
        block = asynccontextmanager(function)

        @wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> AsyncBlock[T]:
            return AsyncBlock(block(*args, **kwargs), example)

        return call

    return decorate


class AsyncBlock(AbstractAsyncContextManager[T, None], Generic[T]):
    """An ``async with`` block. Raises WrongContextError if it is awaited, or used in a plain ``with``."""

    def __init__(self, block: AbstractAsyncContextManager[T, bool | None], example: str) -> None:
        self._block = block
        self._example = example

    async def __aenter__(self) -> T:
        return await self._block.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._block.__aexit__(kind, error, traceback)

    if not TYPE_CHECKING:  # type checkers go on refusing such uses

        def __enter__(self) -> NoReturn:
            raise WrongContextError(f"a plain 'with' can't open it: write '{self._example}'")

        def __exit__(self, *_: object) -> None: ...

        def __await__(self) -> NoReturn:
            raise WrongContextError(f"it can't be awaited: write '{self._example}'")
