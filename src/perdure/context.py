"""What surrounds an event when it is raised: correlation, causation, user and headers, carried by the async context.

The clock and the source of event ids live here too, so that tests can control both.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID, SafeUUID

from uuid_utils import uuid7

from perdure.checks import check_instance, check_text, checked_id


class Context(NamedTuple):
    """What every event raised within it is given as metadata. Made by `context`, read by `current_context`."""

    correlation_id: str | None = None
    causation_id: str | None = None
    user_id: str | None = None
    headers: Mapping[str, str] = {}

    def with_headers(self, headers: Mapping[str, str]) -> Context:
        """The same with these headers beside its own, of which they replace those of the same name."""
        return self._replace(headers={**self.headers, **headers})


class Sources(NamedTuple):
    """Where event ids and timestamps come from."""

    new_id: Callable[[], UUID]
    now: Callable[[], datetime]


def _new_id() -> UUID:
    # As UUID(int=...), but for its checks: they would take longer than all the rest of an event's metadata.
    made = _make(UUID)
    _set(made, "int", uuid7().int)
    _set(made, "is_safe", _SAFETY)
    return made


def _now() -> datetime:
    return datetime.now(UTC)


_make, _set, _SAFETY = object.__new__, object.__setattr__, SafeUUID.unknown

_NO_CONTEXT = Context()
_REAL_SOURCES = Sources(_new_id, _now)
_context: ContextVar[Context] = ContextVar("perdure_context", default=_NO_CONTEXT)
_sources: ContextVar[Sources] = ContextVar("perdure_sources", default=_REAL_SOURCES)


@contextmanager
def context(
    *,
    correlation_id: UUID | str | None = None,
    causation_id: UUID | str | None = None,
    user_id: UUID | str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Generator[Context]:
    """Give every event that is raised within the block this metadata, in this task and in those it starts.

    Blocks nest: what is not given here is taken from the block around it, and headers are merged.

    Raises:
        InvalidArgumentError: a value is not a string (or UUID), or is empty.

    Example:
        >>> with context(correlation_id="req-1", user_id="ann") as outer:
        ...     with context(causation_id="evt-9", headers={"host": "a"}) as inner:
        ...         print(inner.correlation_id, inner.causation_id, inner.user_id, inner.headers)
        req-1 evt-9 ann {'host': 'a'}
    """
    around = _context.get()
    here = Context(
        _text("correlation_id", correlation_id) or around.correlation_id,
        _text("causation_id", causation_id) or around.causation_id,
        _text("user_id", user_id) or around.user_id,
        around.headers if headers is None else {**around.headers, **checked_headers(headers)},
    )
    token = _context.set(here)
    try:
        yield here
    finally:
        _context.reset(token)


def current_context() -> Context:
    """The context that an event raised now would be given."""
    return _context.get()


@contextmanager
def restored(context: Context) -> Generator[None]:
    """Put a context back in force that `current_context` gave earlier, whatever the context around the block is."""
    token = _context.set(context)
    try:
        yield
    finally:
        _context.reset(token)


@contextmanager
def sources(new_id: Callable[[], UUID] | None = None, now: Callable[[], datetime] | None = None) -> Generator[Sources]:
    """Take event ids and the time from elsewhere within the block: for tests and imports of old data."""
    around = _sources.get()
    here = Sources(new_id or around.new_id, now or around.now)
    token = _sources.set(here)
    try:
        yield here
    finally:
        _sources.reset(token)


def current_sources() -> Sources:
    """The sources of event ids and time that are in force."""
    return _sources.get()


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """A copy of the headers, once each name and value is seen to be text that can be stored."""
    check_instance("headers", headers, Mapping)
    for name, value in headers.items():
        check_text("headers", name)
        check_text("headers", value)
    return dict(headers)


def _text(argument: str, value: UUID | str | None) -> str | None:
    return None if value is None else checked_id(argument, value)
