"""Refuses to write inside the function of `execute_all`: it may be called several times, and each call would write."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from perdure.errors import WrongContextError


class _Decision:
    """One call of the function. A task that it has started, and that outlives it, may write after its end."""

    is_over = False


_current: ContextVar[_Decision | None] = ContextVar("perdure_deciding", default=None)


@contextmanager
def deciding() -> Generator[None]:
    """In the block, `check_not_deciding` refuses what its code and its tasks call."""
    decision = _Decision()
    token = _current.set(decision)
    try:
        yield
    finally:
        decision.is_over = True
        _current.reset(token)


def check_not_deciding(call: str) -> None:
    """Raise WrongContextError if this call, which writes, is made inside the function of `execute_all`."""
    decision = _current.get()
    if decision is not None and not decision.is_over:
        raise WrongContextError(
            f"{call} was called inside the function of execute_all, which may be called several times: return "
            f"what it changes, which is saved with the others, or call {call} before or after execute_all"
        )
