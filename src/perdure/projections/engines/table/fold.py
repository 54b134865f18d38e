"""Folds events into rows: which rows a batch needs, and what the handlers make of them.

Pure: services, appends, live projections, checks and tests all fold with these functions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from copy import copy
from itertools import chain
from typing import Any, NamedTuple, cast

import msgspec

from perdure.children import ChildRows
from perdure.errors import ProjectionRowError
from perdure.events import StoredEvent
from perdure.projections.engines.table.definition import HandlerSpec, TableDefinition
from perdure.projections.engines.table.table import Table
from perdure.projections.state.failures import Failure, failed
from perdure.projections.state.identity import Key
from perdure.projections.state.scope import EVERYTHING, DivertedEvent, Scope

Rows = dict[str, dict[Key, bytes]]
"""Rows as JSON, by table and key. A key without an entry has no stored row."""


Needed = Mapping[str, Mapping[Key, None]]
"""Keys by table, each once."""


_ChildChange = tuple[Table, Key, bytes | None]
_Handled = tuple[Key, bytes | None, Sequence[_ChildChange]]
"""A key, the row that its handler returned, and the child rows that the handler changed.

It is a plain tuple because every event has one, and a named tuple takes 0.2 us longer to create.
"""


class Step(msgspec.Struct, gc=False):
    """An event to handle, with the keys of the rows that its handler needs.

    The garbage collector doesn't track it: a batch has one for each event.
    """

    stored: StoredEvent
    event: Any
    handling: HandlerSpec
    keys: Sequence[Key]
    children: Sequence[Mapping[str, list[Key]]] = ()
    """For each key, the keys of the child rows by child table; empty if the handler takes no child tables."""


class BatchPlan(NamedTuple):
    """The steps of a batch of events."""

    steps: list[Step]
    diverted: list[DivertedEvent]
    failure: Failure | None
    """The event after the steps, if it can't be decoded or its keys are unusable."""


class RowChanges:
    """The changes that a fold makes to rows.

    Args:
        rows: the rows before the fold. They are changed in place.
    """

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.written: defaultdict[str, dict[Key, bytes]] = defaultdict(dict)
        self.deleted: defaultdict[str, dict[Key, None]] = defaultdict(dict)
        self.orphaned: defaultdict[str, dict[Key, None]] = defaultdict(dict)
        """The keys of deleted parents, by child table. Their child rows must be deleted before any row is written."""

    def put(self, table: Table, key: Key, row: bytes) -> None:
        """Insert or replace a row."""
        name = table.name
        rows = self.rows.setdefault(name, {})
        if rows.get(key) != row:
            rows[key] = row
            self.written[name][key] = row
            if self.deleted:
                self.deleted[name].pop(key, None)

    def delete(self, table: Table, key: Key) -> bool:
        """Delete a row. Return whether there was one."""
        if self.rows.get(table.name, {}).pop(key, None) is None:
            return False
        self.written[table.name].pop(key, None)
        self.deleted[table.name][key] = None
        return True

    def orphan(self, child: Table, parent: Key) -> None:
        """Delete all child rows of a parent, including those that weren't loaded."""
        for by_key in (self.rows.get(child.name, {}), self.written[child.name]):
            for key in [key for key in by_key if key[: len(parent)] == parent]:
                del by_key[key]
        self.orphaned[child.name][parent] = None


class Folded(NamedTuple):
    """The outcome of a fold."""

    changes: RowChanges
    failure: Failure | None
    """The event at which it stopped, with the error; None if it handled all events."""


def plan(definition: TableDefinition, events: Sequence[StoredEvent], scope: Scope = EVERYTHING) -> BatchPlan:
    """Find the events that have a handler and the rows that they need, up to the first event that fails."""
    steps: list[Step] = []
    diverted: list[DivertedEvent] = []
    blocked = set(scope.blocked)
    # Most batches concern all rows and have nothing parked: don't ask the scope for each event.
    is_whole, may_divert = scope.is_whole, scope.may_divert
    for stored in events:
        handling = definition.handlings.get(stored.event_type)
        if handling is None or (may_divert and (stored.global_position, None) in scope.skipped):
            continue  # without decoding it: its type may have no class here
        try:
            event = stored.decode()
            keys = definition.keys(event, stored, handling)
            if not is_whole:
                keys = [key for key in keys if scope.holds(definition.table, key)]
        except BaseException as error:  # noqa: BLE001 - the user's code, which may raise anything
            return BatchPlan(steps, diverted, Failure(stored, failed(error)))
        if may_divert:
            keys, aside = _divided(stored, keys, scope, blocked)
            diverted += aside
            blocked.update([each.key for each in aside])
        step = Step(stored, event, handling, keys)
        if handling.children and (failure := _add_children(definition, step)):
            return BatchPlan(steps, diverted, failure)
        if keys:
            steps.append(step)
    return BatchPlan(steps, diverted, None)


def _divided(
    stored: StoredEvent, keys: Sequence[Key], scope: Scope, blocked: AbstractSet[Key]
) -> tuple[list[Key], list[DivertedEvent]]:
    """Return the keys whose rows the event reaches, and the keys for which it is parked. The others skip it."""
    position, reached, aside = stored.global_position, list[Key](), list[DivertedEvent]()
    for key in keys:
        if (position, key) in scope.skipped:
            continue
        failure = scope.parked.get((position, key))
        if failure is not None or key in blocked:
            aside.append(DivertedEvent(stored, key, failure))
        else:
            reached.append(key)
    return reached, aside


def _add_children(definition: TableDefinition, step: Step) -> Failure | None:
    children: list[Mapping[str, list[Key]]] = []
    for key in step.keys:
        try:
            found = {child: definition.child_keys(child, step.event, key) for child in step.handling.children}
        except BaseException as error:  # noqa: BLE001 - the user's code, which may raise anything
            return Failure(step.stored, failed(error), (key,))
        children.append(found)
    step.children = children
    return None


def needed(definition: TableDefinition, steps: Sequence[Step]) -> Needed:
    """Return the keys of all rows that the steps need."""
    keys: dict[str, dict[Key, None]] = {table.name: {} for table in definition.tables}
    keys[definition.table.name] = dict.fromkeys([key for step in steps for key in step.keys])
    for step in steps:
        for children in step.children:
            for child, child_keys in children.items():
                keys[definition.children[child].name].update(dict.fromkeys(child_keys))
    return keys


def fold(definition: TableDefinition, batch: BatchPlan, rows: Rows) -> Folded:
    """Handle the events of a batch in order, up to the first that fails. This changes `rows`."""
    changes = RowChanges(rows)
    for step in batch.steps:
        handled: list[_Handled] = []
        for number, key in enumerate(step.keys):
            try:
                handled.append(_handle(definition, step, number, rows))
            except BaseException as error:  # noqa: BLE001 - the user's code, which may raise anything
                return Folded(changes, Failure(step.stored, failed(error), (key,)))
        for each in handled:  # only now, when no key has failed
            _apply(definition, each, changes)
    return Folded(changes, batch.failure)


def _apply(definition: TableDefinition, handled: _Handled, changes: RowChanges) -> None:
    parent, row, children = handled
    # Child rows first: if the handler deletes their parent, they are deleted with it.
    for table, key, child_row in children:
        if child_row is None:
            changes.delete(table, key)
        else:
            changes.put(table, key, child_row)
    if row is not None:
        changes.put(definition.table, parent, row)
    elif changes.delete(definition.table, parent):
        for child in definition.children.values():
            changes.orphan(child, parent)


def _handle(definition: TableDefinition, step: Step, number: int, rows: Rows) -> _Handled:
    """Call the handler for one of the step's keys."""
    table, handling, key = definition.table, step.handling, step.keys[number]
    # A handler may change the event that it gets, or put parts of it into a row: each key gets its own copy.
    event = step.stored.decode() if number else step.event
    stored_row = rows[table.name].get(key) if table.name in rows else None
    row = None if stored_row is None else table.codec.decode(stored_row)
    if not handling.takes_at and not step.children:
        result = handling.handler(definition.projection, event, row)
        return key, None if result is None else _encoded(table, key, result), ()
    given: dict[str, Any] = {"at": copy(step.stored)} if handling.takes_at else {}
    views: dict[str, ChildRows[Any]] = {}
    for child, keys in step.children[number].items() if step.children else ():
        given[child] = views[child] = _view(child, definition.children[child], key, keys, rows)
    result = handling.handler(definition.projection, event, row, **given)
    encoded = None if result is None else _encoded(table, key, result)
    children = [_child_changes(definition.children[name], key, view) for name, view in views.items()]
    return key, encoded, list(chain.from_iterable(children))


def _view(name: str, table: Table, parent: Key, keys: list[Key], rows: Rows) -> ChildRows[Any]:
    stored = rows.get(table.name, {})

    def part_of(row: Any) -> Any:
        key = table.key_of(row)
        if key[: len(parent)] != parent:
            raise ProjectionRowError(table.view, f"its key {key} doesn't begin with that of the parent's row, {parent}")
        return _part(key, parent)

    return ChildRows(name, {_part(key, parent): stored.get(key) for key in keys}, table.codec.decode, part_of)


def _part(key: Key, parent: Key) -> Any:
    """Return what follows the parent's key, as handlers write it: a value, or a tuple of several."""
    return key[-1] if len(key) == len(parent) + 1 else key[len(parent) :]


def _child_changes(table: Table, parent: Key, view: ChildRows[Any]) -> Iterator[_ChildChange]:
    for part, row in view.changes.items():
        key = parent + (cast("tuple[object, ...]", part) if isinstance(part, tuple) else (part,))
        yield table, key, None if row is None else _encoded(table, key, row)


def _encoded(table: Table, key: Key, row: Any) -> bytes:
    data, row_key = table.codec.encode(row), table.key_of(row)
    if row_key != key:
        raise ProjectionRowError(
            table.view, f"its key is {row_key}, that of the event {key}: a row never changes its key"
        )
    return data
