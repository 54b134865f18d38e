"""Folding: from events and the rows they meet to the rows as they are then.

Pure: whatever runs a projection, against a database or in memory, does it with these functions.
"""

from __future__ import annotations

from asyncio import CancelledError
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from copy import copy
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, Protocol, cast

from perdure.errors import ProjectionRowError
from perdure.events import StoredEvent
from perdure.projection import ChildRows
from perdure.projections.definition import Definition, Handling
from perdure.projections.failing import EventFailure, Failure
from perdure.projections.tables import Key, Table

_RAISED: Final = (Exception, CancelledError)
"""What the user's code raises: a handler awaits nothing, so that nobody but itself cancels it."""

Rows = dict[str, dict[Key, bytes]]
"""Rows as JSON, by table and key. A row that isn't there isn't stored."""


class Segmented(Protocol):
    """Something that holds rows by the hash of their keys."""

    def holds(self, key_hash: int) -> bool:
        """Whether the rows of that hash are in it."""
        ...


@dataclass(frozen=True)
class Scope:
    """Which rows a fold is about, and which events must not reach them."""

    segments: Sequence[Segmented] | None = None
    """Only the rows of these; None means all."""
    only: Key | None = None
    """Only the row of this key; None means all."""
    skipped: AbstractSet[tuple[int, Key | None]] = frozenset()
    """The events, by position, that pass by, each for a key; None means for all."""
    blocked: AbstractSet[Key] = frozenset()
    """The keys whose events wait behind one that is parked."""
    parked: Mapping[tuple[int, Key], EventFailure] = field(default_factory=dict[tuple[int, Key], EventFailure])
    """The events, by position, that are parked now, each for a key; the later ones of the key wait behind it."""

    def holds(self, table: Table, key: Key) -> bool:
        """Whether the fold is about the row of this key."""
        if self.only is not None:
            return key == self.only
        if self.segments is None:
            return True
        key_hash = table.hash_of(key)
        return any(segment.holds(key_hash) for segment in self.segments)


EVERYTHING: Final = Scope()


class Diverted(NamedTuple):
    """An event that doesn't reach the row of a key: it failed, or waits behind one that did."""

    stored: StoredEvent
    key: Key
    failure: EventFailure | None
    """Why it failed; None when it waits."""


class Step(NamedTuple):
    """An event that is handled, with the keys of the rows that it needs."""

    stored: StoredEvent
    event: Any
    handling: Handling
    keys: list[tuple[Key, dict[str, list[Key]]]]
    """Each key of a row, with the keys of the child rows, by child table."""


class Plan(NamedTuple):
    """What a batch of events will do."""

    steps: list[Step]
    diverted: list[Diverted]
    failure: Failure | None
    """The event after the steps, when it has no usable key or can't be decoded."""


class Changes:
    """What a fold changed, and the rows as they are then."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows
        self.written: dict[str, dict[Key, bytes]] = {}
        self.deleted: dict[str, dict[Key, None]] = {}
        self.orphaned: dict[str, dict[Key, None]] = {}
        """The keys of deleted parents, by child table: to be carried out before anything is written."""

    def put(self, table: Table, key: Key, row: bytes) -> None:
        """A row is as it is given now."""
        rows = self.rows.setdefault(table.name, {})
        if rows.get(key) != row:
            rows[key] = row
            self.written.setdefault(table.name, {})[key] = row
            self.deleted.get(table.name, {}).pop(key, None)

    def delete(self, table: Table, key: Key) -> bool:
        """A row is there no more. Returns whether it was."""
        if self.rows.get(table.name, {}).pop(key, None) is None:
            return False
        self.written.get(table.name, {}).pop(key, None)
        self.deleted.setdefault(table.name, {})[key] = None
        return True

    def orphan(self, child: Table, parent: Key) -> None:
        """The child rows of a parent are there no more, whether they were loaded or not."""
        for by_key in (self.rows.get(child.name, {}), self.written.get(child.name, {})):
            for key in [key for key in by_key if key[: len(parent)] == parent]:
                del by_key[key]
        self.orphaned.setdefault(child.name, {})[parent] = None


class Folded(NamedTuple):
    """What came out of a batch of events."""

    changes: Changes
    failure: Failure | None
    """The event before which it ended, and why."""


def plan(definition: Definition, events: Sequence[StoredEvent], scope: Scope = EVERYTHING) -> Plan:
    """Find the events that are handled and the rows that they need, up to the first that fails."""
    steps: list[Step] = []
    diverted: list[Diverted] = []
    blocked = set(scope.blocked)
    for stored in events:
        handling = definition.handlings.get(stored.event_type)
        position = stored.global_position
        if handling is None or (position, None) in scope.skipped:
            continue  # never decoded: it may be of a type that has no class here
        try:
            event = stored.decode()
            keys = [key for key in definition.keys(event, copy(stored)) if scope.holds(definition.table, key)]
        except _RAISED as error:
            return Plan(steps, diverted, Failure(stored, _told(error)))
        reached: list[tuple[Key, dict[str, list[Key]]]] = []
        for key in keys:
            if (position, key) in scope.skipped:
                continue
            failure = scope.parked.get((position, key))
            if failure is not None or key in blocked:
                diverted.append(Diverted(stored, key, failure))
                blocked.add(key)
                continue
            try:
                children = {child: definition.child_keys(child, event, key) for child in handling.children}
            except _RAISED as error:
                return Plan(steps, diverted, Failure(stored, _told(error), (key,)))
            reached.append((key, children))
        if reached:
            steps.append(Step(stored, event, handling, reached))
    return Plan(steps, diverted, None)


def needed(definition: Definition, steps: Sequence[Step]) -> dict[str, list[Key]]:
    """The keys of all rows that the steps need, by table, each once."""
    keys: dict[str, dict[Key, None]] = {table.name: {} for table in definition.tables}
    for step in steps:
        for key, children in step.keys:
            keys[definition.table.name][key] = None
            for child, child_keys in children.items():
                keys[definition.children[child].name].update(dict.fromkeys(child_keys))
    return {table: list(found) for table, found in keys.items() if found}


def fold(definition: Definition, batch: Plan, rows: Rows) -> Folded:
    """Handle the events of a batch, in order, up to the first that fails. Changes `rows`."""
    changes = Changes(rows)
    for step in batch.steps:
        outcomes: list[_Outcome] = []
        for number, (key, _) in enumerate(step.keys):
            try:
                outcomes.append(_handle(definition, step, number, rows))
            except _RAISED as error:
                return Folded(changes, Failure(step.stored, _told(error), (key,)))
        for outcome in outcomes:
            _apply(definition, outcome, changes)
    return Folded(changes, batch.failure)


def _told(error: Exception | CancelledError) -> Exception:
    """What failed. A CancelledError that goes further would end the task that runs the projection, without a word."""
    if isinstance(error, Exception):
        return error
    failed = RuntimeError("it raised CancelledError, though nobody cancelled it")
    failed.__cause__ = error
    return failed


class _Outcome(NamedTuple):
    """What a handler made of an event and a row."""

    key: Key
    row: bytes | None
    children: list[tuple[Table, Key, bytes | None]]


def _handle(definition: Definition, step: Step, number: int, rows: Rows) -> _Outcome:
    table, handling = definition.table, step.handling
    key, children = step.keys[number]
    # A handler may change the event that it is given, or put parts of it into a row: none meets another's.
    event = step.stored.decode() if number else step.event
    stored_row = rows.get(table.name, {}).get(key)
    row = None if stored_row is None else table.codec.decode(stored_row)
    taken: dict[str, Any] = {"at": copy(step.stored)} if handling.takes_at else {}
    views = {child: _view(child, definition.children[child], key, keys, rows) for child, keys in children.items()}
    result = handling.handler(definition.projection, event, row, **taken, **views)
    return _Outcome(
        key,
        None if result is None else _encoded(table, key, result),
        [change for child, view in views.items() for change in _changes_of(definition.children[child], key, view)],
    )


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
    data = table.codec.encode(row)
    if table.key_of(row) != key:
        raise ProjectionRowError(
            table.view, f"its key is {table.key_of(row)}, that of the event {key}: a row never changes its key"
        )
    return data


def _apply(definition: Definition, outcome: _Outcome, changes: Changes) -> None:
    for table, key, row in outcome.children:
        if row is None:
            changes.delete(table, key)
        else:
            changes.put(table, key, row)
    if outcome.row is not None:
        changes.put(definition.table, outcome.key, outcome.row)
    elif changes.delete(definition.table, outcome.key):
        for child in definition.children.values():
            changes.orphan(child, outcome.key)
