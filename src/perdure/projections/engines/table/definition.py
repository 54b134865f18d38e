"""The definition of a `TableProjection`: its tables, and the handler of each event type. Pure."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterable, Sequence
from copy import copy
from operator import attrgetter
from typing import Any, Final, ForwardRef, NamedTuple, TypeVar, cast, get_args, get_origin

import msgspec

from perdure.checks import can_take
from perdure.children import ChildTable
from perdure.declaration import OnFailure
from perdure.errors import InvalidArgumentError, PerdureError, ProjectionDefinitionError, ProjectionRowError
from perdure.errors.formats import shown
from perdure.events import Handler, StoredEvent, handlers_of, keys_of, registry
from perdure.projection import Projection, SQLProjection, TableProjection
from perdure.projections.engines.table.table import Table
from perdure.projections.state.identity import BuildId, Key, is_divisible
from perdure.projections.state.options import Kind, Mode, Start
from perdure.retry import RetryConfig

_AT: Final = "at"


class HandlerSpec(NamedTuple):
    """The handler of an event type, and what it takes."""

    handler: Handler
    takes_at: bool
    children: tuple[str, ...]
    """The child tables that the handler takes."""
    keys: Callable[[Any], Iterable[Any]] | None = None
    """What the handler says about the keys of its events; None if `TableProjection.keys` says it."""


class TableDefinition:
    """A projection whose handlers fold events into rows, and what follows from its class.

    Raises:
        ProjectionDefinitionError: the class can't work as it is written.
    """

    kind: Kind = "projection"
    retry: RetryConfig | None = None
    mode: Mode = "async"
    start: Start = 0

    def __init__(self, projection: TableProjection[Any], build: int = 1) -> None:
        if not isinstance(projection, TableProjection):
            raise _no_table_projection(projection)
        self.projection = projection
        self.name = projection.name or type(projection).__qualname__
        self.version = projection.version
        self.on_failure: OnFailure = projection.on_failure
        self.build = BuildId(self.name, self.version, build)
        if not projection.name:
            raise self.refuse('it has no table: class MyProjection(TableProjection[Row], table="...", key="...")')
        cls = type(projection)
        self._overrides_keys = _overrides_keys(cls)
        if not can_take(projection.keys, 2):
            signature = inspect.signature(projection.keys)
            raise self.refuse(f"keys{signature} can't be called: it takes (self, event, at), and at is the StoredEvent")
        self.table = Table(
            projection.name,
            self.build,
            self._row_class(cls),
            projection.key,
            self.refuse,
            indexes=projection.indexes,
            unique=projection.unique,
        )
        is_plain = not self._overrides_keys and projection.by_stream is None
        self._key_of = attrgetter(*projection.key) if is_plain else None
        """A faster `TableProjection.keys`, if the class doesn't override it: it is called for each event."""
        if projection.by_stream is not None:
            self._check_stream_key()
        self._declared = _children_of(cls)
        self.children = {name: self._child(name, child) for name, child in self._declared.items()}
        self.tables = (self.table, *self.children.values())
        self.key_codec = self.table
        handlers = handlers_of(cls, self.refuse, may_have_keys=projection.by_stream is None)
        if not handlers:
            raise self.refuse("it handles no event: mark a method with @handles")
        self.handlings = {
            name: self._handling(event_class, handler)
            for event_class, handler in handlers.items()
            for name in registry.by_class(event_class).names
        }

    @property
    def is_divisible(self) -> bool:
        """Whether it can be divided into segments: not if rows of several segments could conflict."""
        return is_divisible([table.shape for table in self.tables])

    @property
    def shape(self) -> str:
        """What can't change without a new version, as JSON."""
        return msgspec.json.encode([table.shape for table in self.tables]).decode()

    def refuse(self, reason: str) -> PerdureError:
        """Return the error for a class that can't work."""
        return ProjectionDefinitionError(self.name, reason)

    def keys(self, event: Any, stored: StoredEvent, handling: HandlerSpec) -> Sequence[Key]:
        """Return the keys of the rows that an event changes. Raise ProjectionRowError, or what `keys()` raises."""
        if handling.keys is not None:
            given = handling.keys(event)
        elif self._key_of is not None:
            return (self.table.to_key(self._key_of(event)),)  # a tuple: the garbage collector would track a list
        else:
            # The user's keys() may change the event that it gets.
            given = self.projection.keys(event, copy(stored) if self._overrides_keys else stored)
        keys = [self.table.to_key(key) for key in _listed(self.table, given)]
        return keys if len(keys) < 2 else list(dict.fromkeys(keys))

    def child_name(self, child: object) -> str:
        """Return the name of a child table in the class. Raise InvalidArgumentError if the class doesn't have it."""
        for name, declared in self._declared.items():
            if declared is child:
                return name
        raise InvalidArgumentError(
            "child", f"isn't a child table of {self.name!r}: name one, such as MyProjection.viewers"
        )

    def child_keys(self, child: str, event: Any, parent: Key) -> list[Key]:
        """Return the keys of the child rows to load for an event, for the parent's row of that key."""
        table, declared = self.children[child], self._declared[child]
        fields = table.key[len(parent) :]
        if declared.keys is None:
            return [table.to_key((*parent, *[getattr(event, field) for field in fields]))]
        parts = _listed(table, declared.keys(event))
        return [table.to_key((*parent, *(part if isinstance(part, tuple) else (part,)))) for part in parts]

    def _check_stream_key(self) -> None:
        """With `by_stream`, the stream's id is the only key."""
        if self._overrides_keys:
            raise self.refuse("by_stream makes the stream's id the key: leave out keys(), or leave out by_stream")
        if self.table.key_types != ("text",):
            raise self.refuse("by_stream makes the stream's id the key: use one field of type str")

    def _row_class(self, cls: type) -> Any:
        for owner in cls.__mro__:
            for parent in vars(owner).get("__orig_bases__", ()):
                origin = get_origin(parent)
                if isinstance(origin, type) and issubclass(origin, TableProjection):
                    row = get_args(parent)[0]
                    if not isinstance(row, TypeVar):
                        return self._resolved(row, owner)
        raise self.refuse("its class doesn't name its row class: class MyProjection(TableProjection[Row], ...)")

    def _resolved(self, row: Any, owner: type) -> Any:
        if not isinstance(row, ForwardRef):
            return row
        try:
            return vars(sys.modules[owner.__module__])[row.__forward_arg__]
        except KeyError:
            raise self.refuse(f"{row.__forward_arg__!r}, its row class, isn't in {owner.__module__}") from None

    def _child(self, name: str, child: ChildTable[Any]) -> Table:
        if name == _AT:
            raise self.refuse("a child table can't be called 'at', which is the StoredEvent")
        count = len(self.table.key)
        if child.key[:count] != self.table.key or len(child.key) == count:
            raise self.refuse(
                f"the key of child table {name!r} must begin with {self.table.key} and add at least one field"
            )
        table = Table(
            child.table, self.build, child.row, child.key, self.refuse, indexes=child.indexes, unique=child.unique
        )
        if table.key_types[:count] != self.table.key_types:
            raise self.refuse(
                f"the key of child table {name!r} must begin with fields of the types of {self.table.key}"
            )
        return table

    def _handling(self, event_class: type, handler: Handler) -> HandlerSpec:
        takes = self._parameters(handler)
        children = tuple(name for name in takes if name != _AT)
        keys = keys_of(handler)
        if self.projection.by_stream is None and not self._overrides_keys and keys is None:
            self._check_fields(event_class, self.table.key, "give @handles(keys=lambda event: [...])")
        for name in children:
            if self._declared[name].keys is None:
                rest = self.children[name].key[len(self.table.key) :]
                self._check_fields(event_class, rest, f"give child_table {name!r} keys=lambda event: [...]")
        return HandlerSpec(handler, _AT in takes, children, keys)

    def _parameters(self, handler: Handler) -> list[str]:
        """Return the names of the parameters after the event and the row."""
        name = handler.__name__
        if inspect.iscoroutinefunction(handler) or inspect.isgeneratorfunction(handler):
            raise self.refuse(f"{name}() must be a plain function: handlers do no I/O")
        signature = inspect.signature(handler)
        if signature.return_annotation in (None, "None"):
            raise self.refuse(f"{name}() returns None, which deletes the row: return the row, '-> Row | None'")
        parameters = list(signature.parameters.values())
        known = [_AT, *self.children]
        rest = [each for each in parameters[3:] if each.default is each.empty or each.name in known]
        unknown = [
            str(each) for each in rest if each.name not in known or each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
        ]
        if (
            len(parameters) < 3
            or any(each.kind is not each.POSITIONAL_OR_KEYWORD for each in parameters[:3])
            or parameters[2].name in known
            or unknown
        ):
            raise self.refuse(
                f"{name}{signature} can't be called: a handler takes (self, event, row), and optionally, by name, "
                f"{', '.join(known)}"
            )
        return [each.name for each in rest]

    def _check_fields(self, event_class: type, names: Iterable[str], fix: str) -> None:
        known = {name for cls in event_class.__mro__ for name in (*vars(cls), *vars(cls).get("__annotations__", ()))}
        for name in names:
            if name not in known:
                raise self.refuse(f"{event_class.__qualname__} has no {name!r}, which is in the key: {fix}")


def _no_table_projection(given: object) -> ProjectionDefinitionError:
    if isinstance(given, Projection):
        kind = "SQLProjection" if isinstance(given, SQLProjection) else "Projection"
        return ProjectionDefinitionError(
            given.name or type(given).__qualname__,
            f"a {kind} writes with its own code, so run it in a ProjectionService; only a TableProjection fits here",
        )
    if inspect.isclass(given):
        return ProjectionDefinitionError(given.__qualname__, f"it is a class: give an instance, {given.__name__}()")
    return ProjectionDefinitionError(shown(given), "it isn't a projection: give an instance, MyProjection()")


def _overrides_keys(cls: type) -> bool:
    """Return whether a class overrides keys()."""
    return any("keys" in vars(owner) for owner in cls.__mro__[: cls.__mro__.index(TableProjection)])


def _children_of(cls: type) -> dict[str, ChildTable[Any]]:
    names = dict.fromkeys(name for owner in reversed(cls.__mro__) for name in vars(owner))
    return {name: getattr(cls, name) for name in names if isinstance(getattr(cls, name, None), ChildTable)}


def _listed(table: Table, keys: Any) -> Iterable[Any]:
    if type(keys) not in (tuple, list) and (isinstance(keys, str | bytes) or not isinstance(keys, Iterable)):
        raise ProjectionRowError(table.view, f"{keys!r} was given as the keys of an event: return a list of keys")
    return cast("Iterable[object]", keys)
