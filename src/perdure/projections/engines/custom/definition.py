"""The definition of a `Projection` or `SQLProjection`: its class, checked as a whole. Pure."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import copy
from typing import Any, Final, NamedTuple, cast

import msgspec

from perdure.checks import can_take
from perdure.declaration import OnFailure
from perdure.errors import PerdureError, ProjectionDefinitionError
from perdure.events import Handler, StoredEvent, handlers_of, registry
from perdure.log import make_filter
from perdure.projection import Projection, ProjectionTransaction, SQLProjection
from perdure.projections.engine import UNDIVIDED, Refuse, check_name
from perdure.projections.engines.custom.transaction_commands import transaction_command
from perdure.projections.state.identity import BuildId, TableShape, table_name
from perdure.projections.state.options import Kind, Mode, Start
from perdure.retry import RetryConfig

_AT: Final = "at"
_EVENTS: Final = {"handle": "event", "handle_batch": "events"}


class CustomTable(NamedTuple):
    """A table that the user's SQL creates."""

    view: str
    name: str
    sql: str

    @property
    def shape(self) -> TableShape:
        """What can't change without a new version."""
        return TableShape(self.name, self.view, (), {"its SQL": " ".join(self.sql.split())})


class CustomDefinition:
    """A projection whose handlers write themselves, and what follows from its class.

    Raises:
        ProjectionDefinitionError: the class can't work as it is written.
    """

    kind: Kind = "projection"
    retry: RetryConfig | None = None
    mode: Mode = "async"
    is_divisible = False

    def __init__(self, projection: Projection, build: int = 1) -> None:
        self.projection = projection
        self.name = projection.name or type(projection).__qualname__
        self.version = projection.version
        self.on_failure: OnFailure = projection.on_failure
        self.start: Start = projection.start
        self.build = BuildId(self.name, self.version, build)
        self.key_codec = UNDIVIDED
        if not projection.name:
            raise self.refuse('it has no name: class MyProjection(Projection, name="...")')
        if isinstance(projection, SQLProjection):
            dispatch = _Dispatch(projection, self.refuse)
            self.event_types: frozenset[str] | None = frozenset(dispatch.handlings)
            self._handle: Callable[[StoredEvent, ProjectionTransaction], Awaitable[None]] = dispatch.handle
        else:
            self.event_types = self._event_types(projection.event_types)
            self._handle = projection.handle
        self.takes_batches = self._takes_batches()
        self.tables = self._tables(projection.tables)
        if isinstance(projection, SQLProjection) and not self.tables:
            raise self.refuse('it has no tables: tables = {"views": "create table {views} (...)"}')
        if self.tables and self.start != 0:
            raise self.refuse("its tables need the whole log, so leave start out; or create them outside of it")

    @property
    def shape(self) -> str:
        """What can't change without a new version, as JSON."""
        return msgspec.json.encode([table.shape for table in self.tables]).decode()

    def refuse(self, reason: str) -> PerdureError:
        """Return the error for a class that can't work."""
        return ProjectionDefinitionError(self.name, reason)

    def wants(self, stored: StoredEvent) -> bool:
        """Return whether the projection handles an event."""
        return self.event_types is None or stored.event_type in self.event_types

    async def handle(self, events: Sequence[StoredEvent], tx: ProjectionTransaction) -> None:
        """Call the handlers with copies of events: the user's code may change them."""
        if self.takes_batches:
            await self.projection.handle_batch([copy(stored) for stored in events], tx)
            return
        for stored in events:
            await self._handle(copy(stored), tx)

    def _takes_batches(self) -> bool:
        """Return whether the class overrides `handle_batch`. Refuse overrides that can't work."""
        cls = type(self.projection)
        overrides = {name: getattr(cls, name) is not getattr(Projection, name) for name in ("handle", "handle_batch")}
        if isinstance(self.projection, SQLProjection):
            for name in (name for name, is_own in overrides.items() if is_own):
                raise self.refuse(f"{name}() would never be called: mark methods with @handles, or subclass Projection")
            return False
        if not any(overrides.values()):
            raise self.refuse("it handles no event: override handle()")
        for name in overrides:
            if not inspect.iscoroutinefunction(getattr(cls, name)):
                raise self.refuse(f"{name}() must be 'async def'")
            method = getattr(self.projection, name)
            if not can_take(method, 2):
                signature = inspect.signature(method)
                raise self.refuse(f"{name}{signature} can't be called: it takes (self, {_EVENTS[name]}, tx)")
        return overrides["handle_batch"]

    def _event_types(self, given: object) -> frozenset[str] | None:
        if given is None:
            return None
        try:
            where = make_filter(event_types=cast("Sequence[str | type]", given))
        except PerdureError as error:
            raise self.refuse(f"its event_types can't be used: {error}") from error
        return frozenset(where.event_types or ())

    def _tables(self, given: object) -> tuple[CustomTable, ...]:
        if not isinstance(given, Mapping):
            raise self.refuse(f'its tables are {given!r:.80}: say tables = {{"views": "create table {{views}} (...)"}}')
        tables: list[CustomTable] = []
        for view, sql in cast("Mapping[object, object]", given).items():
            if not isinstance(view, str) or not isinstance(sql, str) or f"{{{view}}}" not in sql:
                raise self.refuse(f"the SQL of table {view!r} doesn't name it: write 'create table {{{view}}} (...)'")
            if not view.isidentifier():
                raise self.refuse(f"{view!r} can't be a placeholder in braces: use letters, digits and underscores")
            if (command := transaction_command(sql)) is not None:
                raise self.refuse(
                    f"the SQL of table {view!r} has {command}: leave it out, all tables are created in one transaction"
                )
            tables.append(CustomTable(view, table_name(view, self.build), sql))
            check_name(tables[-1].name, self.refuse, "table")
        return tuple(tables)


class _EventHandler(NamedTuple):
    """The handler of an event type."""

    handler: Handler
    takes_at: bool


class _Dispatch:
    """Calls the handler of each event."""

    def __init__(self, projection: SQLProjection, refuse: Refuse) -> None:
        self._projection = projection
        handlers = handlers_of(type(projection), refuse)
        if not handlers:
            raise refuse("it handles no event: mark a method with @handles")
        self.handlings = {
            name: _EventHandler(handler, _takes_at(handler, refuse))
            for event_class, handler in handlers.items()
            for name in registry.by_class(event_class).names
        }

    async def handle(self, stored: StoredEvent, tx: ProjectionTransaction) -> None:
        handling = self.handlings[stored.event_type]
        keywords: dict[str, Any] = {_AT: stored} if handling.takes_at else {}
        result = handling.handler(self._projection, stored.decode(), tx, **keywords)
        if inspect.isawaitable(result):
            await result


def _takes_at(handler: Handler, refuse: Refuse) -> bool:
    """Return whether the handler takes the `StoredEvent`. Refuse a handler that can't be called."""
    name = handler.__name__
    if inspect.isgeneratorfunction(handler) or inspect.isasyncgenfunction(handler):
        raise refuse(f"{name}() must be a function, not a generator")
    signature = inspect.signature(handler)
    parameters = list(signature.parameters.values())
    rest = [one for one in parameters[3:] if one.default is one.empty or one.name == _AT]
    plain = [one.kind is one.POSITIONAL_OR_KEYWORD for one in parameters[:3]]
    unknown = [one for one in rest if one.name != _AT or one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD)]
    if len(plain) < 3 or not all(plain) or parameters[2].name == _AT or unknown:
        raise refuse(
            f"{name}{signature} can't be called: a handler takes (self, event, tx), and optionally, by name, {_AT}"
        )
    return bool(rest)
