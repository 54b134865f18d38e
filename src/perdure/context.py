"""The context of new events: correlation id, causation id, user and headers, carried by async context variables.

It also has the clock and the source of event ids, so that tests can control both.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, NamedTuple
from uuid import UUID, SafeUUID

from uuid_utils import uuid7

from perdure.checks import check_instance, check_text, checked_id


class Context(NamedTuple):
    """Metadata for the events raised in a block. Set by `context`, returned by `current_context`."""

    correlation_id: str | None = None
    causation_id: str | None = None
    user_id: str | None = None
    headers: Mapping[str, str] = {}

    def with_headers(self, headers: Mapping[str, str]) -> Context:
        """Return a copy with more headers. They replace headers of the same name."""
        correlation_id, causation_id, user_id, around = self  # _replace() takes three times as long
        return Context(correlation_id, causation_id, user_id, {**around, **headers})


class Sources(NamedTuple):
    """The sources of event ids and timestamps."""

    new_id: Callable[[], UUID]
    now: Callable[[], datetime]


def _new_id() -> UUID:
    # Skips the checks of UUID(int=...), which take longer than all other metadata of an event.
    made = _make(UUID)
    _set(made, "int", uuid7().int)
    _set(made, "is_safe", _SAFETY)
    return made


def _now() -> datetime:
    return datetime.now(UTC)


_type_of: Any = type
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
    """Give every event raised in the block this metadata, in this task and in tasks that it starts.

    Blocks can be nested: values that aren't given come from the outer block, and headers are merged.

    Raises:
        InvalidArgumentError: a value isn't a string or UUID, or is empty.

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
    """Return the context for events raised now."""
    return _context.get()


@contextmanager
def restored(context: Context) -> Generator[None]:
    """Use an earlier result of `current_context` in the block, instead of the surrounding context."""
    token = _context.set(context)
    try:
        yield
    finally:
        _context.reset(token)


@contextmanager
def sources(new_id: Callable[[], UUID] | None = None, now: Callable[[], datetime] | None = None) -> Generator[Sources]:
    """Use other sources of event ids and time in the block, for tests and imports of old data."""
    around = _sources.get()
    here = Sources(new_id or around.new_id, now or around.now)
    token = _sources.set(here)
    try:
        yield here
    finally:
        _sources.reset(token)


def current_sources() -> Sources:
    """Return the current sources of event ids and time."""
    return _sources.get()


def checked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Return a copy of the headers. Raise InvalidArgumentError unless all names and values are storable strings."""
    if _type_of(headers) is not dict:  # the check of an abstract class takes longer than all else here
        check_instance("headers", headers, Mapping)
    copy = dict(headers)
    if not _are_plain(copy):
        for name, value in copy.items():
            check_text("headers", name)
            check_text("headers", value)
    return copy


def _are_plain(headers: dict[str, str]) -> bool:
    """Return whether all names and values are ASCII text without NUL. A single check instead of one for each."""
    try:
        text = "".join([*headers, *headers.values()])
    except TypeError:
        return False
    return text.isascii() and "\0" not in text


def _text(argument: str, value: UUID | str | None) -> str | None:
    return None if value is None else checked_id(argument, value)
