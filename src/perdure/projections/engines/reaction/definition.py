"""The definition of a `Reaction` whose handlers call what is outside: its class, checked as a whole."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Sequence
from copy import copy
from operator import attrgetter
from typing import Any, Final, NamedTuple
from uuid import UUID

from perdure.context import context
from perdure.errors import PerdureError, ReactionDefinitionError, ReactionKeyError
from perdure.events import Handler, StoredEvent, handlers_of, registry
from perdure.projections.engine import Refuse
from perdure.projections.engines.reaction.courier import CourierDefinition, Parcel
from perdure.projections.engines.reaction.text_key import TextKeyCodec
from perdure.projections.state.failures import failed
from perdure.projections.state.identity import Key, KeyCodec
from perdure.projections.state.options import Start
from perdure.reaction import Delivery, KeySource, Reaction
from perdure.retry import RetryConfig
from perdure.tasks import is_ended_from_outside

_PARAMETERS: Final = ("call", "at")
"""What a handler may take beside the event, by name."""


class ReactionHandler(NamedTuple):
    """The handler of an event type."""

    handler: Handler
    takes: frozenset[str]
    """Which of `call` and `at`."""


class ReactionDefinition(CourierDefinition):
    """A reaction, and what follows from its class: a courier that calls the handlers.

    Raises:
        ReactionDefinitionError: the class can't work as it is written.
    """

    most_at_once = 1

    def __init__(self, reaction: Reaction) -> None:
        super().__init__(reaction.name or type(reaction).__qualname__, "reaction")
        self.reaction = reaction
        self.start: Start = reaction.start
        self.retry: RetryConfig = reaction.retry
        self.concurrency = reaction.concurrency
        if not reaction.name:
            raise self.refuse('it has no name: class MyReaction(Reaction, name="...")')
        self.handlers = reaction_handlers(reaction, self.refuse)
        source = type(reaction).key
        self._source = source
        self.key_codec: KeyCodec = TextKeyCodec(_field_of(source))
        self._field = attrgetter(source) if isinstance(source, str) else None
        if isinstance(source, str):
            self._check_field(source)

    def refuse(self, reason: str) -> PerdureError:
        """Return the error for a class that can't work."""
        return ReactionDefinitionError(self.name, reason)

    def wants(self, stored: StoredEvent) -> bool:
        """Return whether an event has a handler."""
        return stored.event_type in self.handlers

    def key_of(self, stored: StoredEvent) -> Key:
        """Return the key of an event. Raise ReactionKeyError, or what the user's function raises."""
        if self._field is not None:
            return (self._text_of(self._field(stored.event)),)
        if self._source is None:
            return (stored.stream_id,)
        assert callable(self._source)  # noqa: S101 - the class was checked
        return (self._text_of(self._source(copy(stored))),)

    async def deliver(self, parcels: Sequence[Parcel], timeout: float) -> Sequence[Exception | None]:
        """Call the handler of an event. See `Courier.deliver`."""
        [parcel] = parcels
        return [await self._call(parcel, timeout)]

    async def _call(self, parcel: Parcel, timeout: float) -> Exception | None:
        stored = copy(parcel.stored)  # the user's code may change it
        limit, task = asyncio.timeout(timeout), asyncio.current_task()
        try:
            handler, takes = self.handlers[stored.event_type]
            arguments: dict[str, Any] = {}
            if "call" in takes:
                arguments["call"] = Delivery(self.name, stored.event_id, parcel.attempt, parcel.may_be_repeat)
            if "at" in takes:
                arguments["at"] = stored
            # What the handler appends or executes was caused by the event.
            cause = context(correlation_id=stored.metadata.correlation_id, causation_id=stored.event_id)
            async with limit:
                with cause:
                    await handler(self.reaction, stored.event, **arguments)
        except TimeoutError as error:
            if limit.expired():
                late = TimeoutError(f"it took longer than {timeout:g} s to be handled")
                late.__cause__ = error
                return late
            return error
        except BaseException as error:
            if is_ended_from_outside(task, error):
                raise
            return failed(error)
        return None

    def _text_of(self, key: object) -> str:
        if isinstance(key, UUID) or (isinstance(key, int) and not isinstance(key, bool)):
            return str(key)
        if not isinstance(key, str) or not key:
            raise ReactionKeyError(self.name, key)
        return key

    def _check_field(self, field: str) -> None:
        for event_class in handlers_of(type(self.reaction), self.refuse):
            known = {one for cls in event_class.__mro__ for one in (*vars(cls), *vars(cls).get("__annotations__", ()))}
            if field not in known:
                raise self.refuse(
                    f"{event_class.__qualname__} has no {field!r}, which is the key: give key=lambda stored: ..."
                )


def _field_of(source: KeySource | None) -> str:
    if source is None:
        return "stream"
    return source if isinstance(source, str) else "key"


def reaction_handlers(reaction: Reaction, refuse: Refuse) -> dict[str, ReactionHandler]:
    """Return the handler of each event type of a reaction. Refuse one that can't be called."""
    handlers = handlers_of(type(reaction), refuse)
    if not handlers:
        raise refuse("it handles no event: mark a method with @handles")
    return {
        name: ReactionHandler(handler, _taken(handler, refuse))
        for event_class, handler in handlers.items()
        for name in registry.by_class(event_class).names
    }


def _taken(handler: Handler, refuse: Refuse) -> frozenset[str]:
    """Return what a handler takes beside the event. Refuse a handler that can't be called."""
    name = handler.__name__
    if not inspect.iscoroutinefunction(handler):
        raise refuse(f"{name}() must be 'async def'")
    signature = inspect.signature(handler)
    parameters = list(signature.parameters.values())
    plain = [one.kind is one.POSITIONAL_OR_KEYWORD for one in parameters[:2]]
    rest = [one for one in parameters[2:] if one.default is one.empty or one.name in _PARAMETERS]
    unknown = [
        one
        for one in rest
        if one.name not in _PARAMETERS or one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD, one.POSITIONAL_ONLY)
    ]
    if len(plain) < 2 or not all(plain) or unknown or parameters[1].name in _PARAMETERS:
        raise refuse(
            f"{name}{signature} can't be called: a handler takes (self, event), and optionally, by name, "
            f"{', '.join(_PARAMETERS)}"
        )
    return frozenset(one.name for one in rest)
