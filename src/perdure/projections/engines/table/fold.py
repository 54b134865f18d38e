"""Folding: from events and the rows they meet to the rows as they are then.

Pure: whatever runs a projection, against a database or in memory, does it with these functions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from typing import Any, NamedTuple, cast

import msgspec

from perdure.errors import ProjectionRowError
from perdure.events import StoredEvent
from perdure.projection import ChildRows
from perdure.projections.engines.table.definition import Handling, TableDefinition
from perdure.projections.engines.table.table import Table
from perdure.projections.state.failures import Failure, failed
from perdure.projections.state.identity import Key
from perdure.projections.state.scope import EVERYTHING, Diverted, Scope

Rows = dict[str, dict[Key, bytes]]
"""Rows as JSON, by table and key. A row that isn't there isn't stored."""


Needed = Mapping[str, Mapping[Key, None]]
"""Keys by table, each once."""


class Step(msgspec.Struct, gc=False):
    """An event that is handled, with the keys of the rows that it needs.

    No object of the garbage collector: one for each event of a batch would have it look at them all the time.
    """

    stored: StoredEvent
    event: Any
    handling: Handling
    keys: Sequence[Key]
    children: Sequence[Mapping[str, list[Key]]] = ()
    """For each of those, the keys of the child rows by child table; empty where the handler takes none."""


class BatchPlan(NamedTuple):
    """What a batch of events will do."""

    steps: list[Step]
    diverted: list[Diverted]
    failure: Failure | None
    """The event after the steps, when it has no usable key or can't be decoded."""


class RowChanges:
    """What a fold changed, and the rows as they are then."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.written: defaultdict[str, dict[Key, bytes]] = defaultdict(dict)
        self.deleted: defaultdict[str, dict[Key, None]] = defaultdict(dict)
        self.orphaned: defaultdict[str, dict[Key, None]] = defaultdict(dict)
        """The keys of deleted parents, by child table: to be carried out before anything is written."""

    def put(self, table: Table, key: Key, row: bytes) -> None:
        """A row is as it is given now."""
        name = table.name
        rows = self.rows.setdefault(name, {})
        if rows.get(key) != row:
            rows[key] = row
            self.written[name][key] = row
            if self.deleted:
                self.deleted[name].pop(key, None)

    def delete(self, table: Table, key: Key) -> bool:
        """A row is there no more. Returns whether it was."""
        if self.rows.get(table.name, {}).pop(key, None) is None:
            return False
        self.written[table.name].pop(key, None)
        self.deleted[table.name][key] = None
        return True

    def orphan(self, child: Table, parent: Key) -> None:
        """The child rows of a parent are there no more, whether they were loaded or not."""
        for by_key in (self.rows.get(child.name, {}), self.written[child.name]):
            for key in [key for key in by_key if key[: len(parent)] == parent]:
                del by_key[key]
        self.orphaned[child.name][parent] = None


class Folded(NamedTuple):
    """What came out of a batch of events."""

    changes: RowChanges
    failure: Failure | None
    """The event before which it ended, and why."""


def plan(definition: TableDefinition, events: Sequence[StoredEvent], scope: Scope = EVERYTHING) -> BatchPlan:
    """Find the events that are handled and the rows that they need, up to the first that fails."""
    steps: list[Step] = []
    diverted: list[Diverted] = []
    blocked = set(scope.blocked)
    # Most batches concern all rows, and have nothing parked: what needn't be asked isn't asked for each event.
    is_whole, may_divert = scope.is_whole, scope.may_divert
    for stored in events:
        handling = definition.handlings.get(stored.event_type)
        if handling is None or (may_divert and (stored.global_position, None) in scope.skipped):
            continue  # never decoded: it may be of a type that has no class here
        try:
            event = stored.decode()
            keys = definition.keys(event, stored)
            if not is_whole:
                keys = [key for key in keys if scope.holds(definition.table, key)]
        except BaseException as error:  # noqa: BLE001 - the user's code, which may raise anything
            return BatchPlan(steps, diverted, Failure(stored, failed(error)))
        if may_divert:
            keys = _undiverted(stored, keys, scope, blocked, diverted)
        step = Step(stored, event, handling, keys)
        if handling.children and (failure := _add_children(definition, step)):
            return BatchPlan(steps, diverted, failure)
        if keys:
            steps.append(step)
    return BatchPlan(steps, diverted, None)


def _undiverted(
    stored: StoredEvent, keys: Sequence[Key], scope: Scope, blocked: set[Key], diverted: list[Diverted]
) -> list[Key]:
    """The keys whose rows an event reaches. Adds to `diverted` and `blocked` what doesn't."""
    position, reached = stored.global_position, list[Key]()
    for key in keys:
        if (position, key) in scope.skipped:
            continue
        failure = scope.parked.get((position, key))
        if failure is not None or key in blocked:
            diverted.append(Diverted(stored, key, failure))
            blocked.add(key)
            continue
        reached.append(key)
    return reached


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
    """The keys of all rows that the steps need."""
    keys: dict[str, dict[Key, None]] = {table.name: {} for table in definition.tables}
    keys[definition.table.name] = dict.fromkeys([key for step in steps for key in step.keys])
    for step in steps:
        for children in step.children:
            for child, child_keys in children.items():
                keys[definition.children[child].name].update(dict.fromkeys(child_keys))
    return keys


def fold(definition: TableDefinition, batch: BatchPlan, rows: Rows) -> Folded:
    """Handle the events of a batch, in order, up to the first that fails. RowChanges `rows`."""
    changes = RowChanges(rows)
    for step in batch.steps:
        outcomes: list[tuple[Key, bytes | None]] = []
        children: list[tuple[Table, Key, bytes | None]] = []
        for key in step.keys:
            try:
                outcomes.append((key, _handle(definition, step, len(outcomes), rows, children)))
            except BaseException as error:  # noqa: BLE001 - the user's code, which may raise anything
                return Folded(changes, Failure(step.stored, failed(error), (key,)))
        # Now that none has failed. A child row's parent is of the same event: which of them is first doesn't matter.
        for table, key, row in children:
            if row is None:
                changes.delete(table, key)
            else:
                changes.put(table, key, row)
        for key, row in outcomes:
            if row is not None:
                changes.put(definition.table, key, row)
            elif changes.delete(definition.table, key):
                for child in definition.children.values():
                    changes.orphan(child, key)
    return Folded(changes, batch.failure)


def _handle(
    definition: TableDefinition, step: Step, number: int, rows: Rows, changed: list[tuple[Table, Key, bytes | None]]
) -> bytes | None:
    """The row of one of a step's keys as a handler makes it. Adds to `changed` the child rows that it changed."""
    table, handling, key = definition.table, step.handling, step.keys[number]
    # A handler may change the event that it is given, or put parts of it into a row: none meets another's.
    event = step.stored.decode() if number else step.event
    stored_row = rows[table.name].get(key) if table.name in rows else None
    row = None if stored_row is None else table.codec.decode(stored_row)
    if not handling.takes_at and not step.children:
        result = handling.handler(definition.projection, event, row)
        return None if result is None else _encoded(table, key, result)
    given: dict[str, Any] = {"at": copy(step.stored)} if handling.takes_at else {}
    views: dict[str, ChildRows[Any]] = {}
    for child, keys in step.children[number].items() if step.children else ():
        given[child] = views[child] = _view(child, definition.children[child], key, keys, rows)
    result = handling.handler(definition.projection, event, row, **given)
    encoded = None if result is None else _encoded(table, key, result)
    for child, view in views.items():
        changed += _changes_of(definition.children[child], key, view)
    return encoded


def _view(name: str, table: Table, parent: Key, keys: list[Key], rows: Rows) -> ChildRows[Any]:
    stored = rows.get(table.name, {})

    def part_of(row: Any) -> Any:
        key = table.key_of(row)
        if key[: len(parent)] != parent:
            raise ProjectionRowError(table.view, f"its key {key} doesn't begin with that of the parent's row, {parent}")
        return _part(key, parent)

    return ChildRows(name, {_part(key, parent): stored.get(key) for key in keys}, table.codec.decode, part_of)


def _part(key: Key, parent: Key) -> Any:
    """What follows the parent's key, as handlers write it: a value, or a tuple."""
    return key[-1] if len(key) == len(parent) + 1 else key[len(parent) :]


def _changes_of(table: Table, parent: Key, view: ChildRows[Any]) -> Iterator[tuple[Table, Key, bytes | None]]:
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
