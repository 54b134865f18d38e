"""The invariants: what the log, the followers and the read models must be, given the history."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from perdure.testing.checker.history import Acknowledged, Refused, StreamPart, Unknown
from perdure.testing.checker.operations import CONFLICTS, AppendOperation, History, LogEntry, ObservedFollower
from perdure.testing.checker.report import Fault, Violation

Rows = Mapping[str, Mapping[Any, Any]]
"""The rows of a read model: by table, then by key."""
ById = Mapping[UUID, LogEntry]


def log_violations(history: History, log: Sequence[LogEntry]) -> Iterator[Violation]:
    """Check the log itself: order, versions, duplicates, and events without an append."""
    known = {event.event_id for append in history.appends.values() for _, event in append.events}
    ids, texts = set[UUID](), set[str]()
    versions: dict[str, int] = defaultdict(int)
    position = 0
    for entry in log:
        if entry.global_position <= position:
            yield Violation(Fault.GAP, f"{entry} comes after position {position}")
        position = entry.global_position
        if entry.text is None:
            continue
        if entry.event_id in ids or entry.text in texts:
            yield Violation(Fault.DOUBLED, str(entry))
        elif entry.event_id not in known and not history.is_from_another_workload(entry):
            yield Violation(Fault.UNEXPECTED, f"{entry}, which no writer appended")
        ids.add(entry.event_id)
        texts.add(entry.text)
        versions[entry.stream_id] += 1
        if entry.stream_version != versions[entry.stream_id]:
            yield Violation(Fault.GAP, f"{entry} should have version {versions[entry.stream_id]}")
            versions[entry.stream_id] = entry.stream_version


def append_violations(history: History, log: Sequence[LogEntry]) -> Iterator[Violation]:
    """Check each append against what the store said about it."""
    by_id: dict[UUID, LogEntry] = {}
    for entry in log:
        by_id.setdefault(entry.event_id, entry)  # log_violations reports a second copy
    for append in history.appends.values():
        yield from _errors_of(append)
        yield from _contents_of(append, by_id)
        if answers := append.answers:
            yield from _answers_of(append, answers)
            yield from _places_of(append, answers[0], by_id)
        else:
            yield from _unanswered(append, by_id)
    yield from _races(history.appends.values(), by_id)


def _errors_of(append: AppendOperation) -> Iterator[Violation]:
    for end in append.ends:
        if isinstance(end, Unknown) and not end.is_typed:
            yield Violation(Fault.UNTYPED, f"{append}: {end.error}: {end.reason}")


def _contents_of(append: AppendOperation, by_id: ById) -> Iterator[Violation]:
    for part, event in append.events:
        entry = by_id.get(event.event_id)
        if entry is not None and (entry.stream_id, entry.text) != (part.stream_id, event.text):
            yield Violation(Fault.CHANGED, f"{entry}: {entry.text!r}, not {event.text!r} of {part.stream_id!r}")


def _answers_of(append: AppendOperation, answers: Sequence[Acknowledged]) -> Iterator[Violation]:
    if any(answer.results != answers[0].results for answer in answers):
        yield Violation(Fault.REPEAT, f"{append}: {[answer.results for answer in answers]}")
    for end in append.ends:
        if isinstance(end, Refused) and end.error in CONFLICTS:
            yield Violation(Fault.REPEAT, f"{append}: {end.error}, though it is acknowledged")


def _places_of(append: AppendOperation, answer: Acknowledged, by_id: ById) -> Iterator[Violation]:
    for part, place in zip(append.parts, answer.results, strict=True):
        first = place.stream_version - len(part.events) + 1
        for version, (event, position) in enumerate(zip(part.events, place.global_positions, strict=True), first):
            entry = by_id.get(event.event_id)
            if entry is None:
                yield Violation(Fault.LOST, f"{event.event_id} at {position} (version {version} of {part.stream_id!r})")
            elif (entry.stream_version, entry.global_position) != (version, position):
                yield Violation(Fault.MOVED, f"{entry}, acknowledged as version {version} at {position}")
            elif position <= append.acknowledged_before:
                yield Violation(Fault.ORDER, f"{entry} was begun after {append.acknowledged_before} was known")


def _unanswered(append: AppendOperation, by_id: ById) -> Iterator[Violation]:
    found = [by_id.get(event.event_id) for _, event in append.events]
    there = [entry for entry in found if entry is not None]
    if there and append.is_refused:
        yield Violation(Fault.UNEXPECTED, f"{there[0]}: {append} was refused")
    elif there and len(there) < len(found):
        yield Violation(Fault.HALVED, f"{append}: {len(there)} of {len(found)} events")
    elif there:
        yield from _torn(append, there)


def _torn(append: AppendOperation, there: Sequence[LogEntry]) -> Iterator[Violation]:
    # The positions are unknown, but the events must be in the order given, and each part in one piece.
    positions = [entry.global_position for entry in there]
    left = iter(there)
    versions = [[next(left).stream_version for _ in part.events] for part in append.parts]
    in_pieces = any(one != list(range(one[0], one[0] + len(one))) for one in versions)
    if in_pieces or positions != sorted(positions):
        yield Violation(Fault.HALVED, f"{append}: its events are at {positions}")


def _races(appends: Iterable[AppendOperation], by_id: ById) -> Iterator[Violation]:
    winners: dict[tuple[str, int], list[AppendOperation]] = defaultdict(list)
    for append in appends:
        for part in append.parts:
            entry = by_id.get(part.events[0].event_id)
            if part.expected_version is None or (entry is None and not append.answers):
                continue
            winners[part.stream_id, part.expected_version].append(append)
            version = _version_of(part, append, entry)
            if version != part.expected_version + 1:
                yield Violation(Fault.RACE, f"{append} is version {version} of {part.stream_id!r}")
    for (stream_id, expected), several in winners.items():
        if len(several) > 1:
            yield Violation(Fault.RACE, f"{len(several)} appends to {stream_id!r} at {expected}: {several[0]} ...")


def _version_of(part: StreamPart, append: AppendOperation, entry: LogEntry | None) -> int:
    if entry is not None:
        return entry.stream_version
    place = append.answers[0].results[append.parts.index(part)]
    return place.stream_version - len(part.events) + 1


def follower_violations(follower: ObservedFollower, log: Sequence[LogEntry]) -> Iterator[Violation]:
    """Check the events that a follower saw."""
    due = {
        entry.global_position: entry
        for entry in log
        if entry.global_position > follower.from_position
        and follower.category in (None, entry.stream_id.partition("-")[0])
    }
    seen = set[tuple[int, UUID]]()
    highest = follower.from_position
    for one in follower.seen:
        entry = due.get(one.global_position)
        shown = f"{follower.name}: {one.event_id} at {one.global_position}"
        if entry is None or entry.event_id != one.event_id:
            yield Violation(Fault.PHANTOM, shown)
        elif (one.global_position, one.event_id) in seen:
            yield Violation(Fault.SEEN_TWICE, shown)
        elif one.global_position < highest:
            yield Violation(Fault.DISORDER, f"{shown}, after {highest}")
        seen.add((one.global_position, one.event_id))
        highest = max(highest, one.global_position)
    for position, entry in due.items():
        if position < highest and (position, entry.event_id) not in seen:
            yield Violation(Fault.SKIPPED, f"{follower.name}: {entry}")
    ended = f", ended by {follower.stopped.error}: {follower.stopped.reason}" if follower.stopped else ""
    if follower.stopped and not follower.stopped.is_typed:
        yield Violation(Fault.UNTYPED, f"{follower.name} at {highest}{ended}")
    last = max(due, default=0)
    end = last if follower.end is None else min(last, follower.end)
    if end > highest:
        yield Violation(Fault.BEHIND, f"{follower.name}: at {highest}, the log ends at {end}{ended}")


def row_violations(found: Rows, expected: Rows) -> Iterator[Violation]:
    """Compare the rows of a read model with a fresh fold of the log."""
    for table, rows in expected.items():
        there = found.get(table, {})
        for key in {**rows, **there}:
            if there.get(key) != rows.get(key):
                yield Violation(Fault.READ_MODEL, f"{table} {key!r}: {there.get(key)}, not {rows.get(key)}")
