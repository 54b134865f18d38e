"""The check: compares the history with the log, and reports every violation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perdure.projection import TableProjection
from perdure.projections.engines.table.definition import TableDefinition
from perdure.store import EventStore
from perdure.stores.postgres.sql_files import Statements, quote_identifier, quoted_schema
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.checker.history import Refused, Unknown
from perdure.testing.checker.invariants import (
    Rows,
    append_violations,
    follower_violations,
    log_violations,
    row_violations,
)
from perdure.testing.checker.operations import History, LogEntry, entries_of
from perdure.testing.checker.report import Report, Violation
from perdure.testing.projections import fold_tables

EVENT_TYPE = "perdure.checker.checked"


async def check(
    store: EventStore,
    folder: Path | str,
    *,
    read_models: Sequence[tuple[TableProjection[Any], Rows]] = (),
) -> Report:
    """Compare the history of a workload with the log. Call it after the workload.

    A store may be checked again after another workload, with its history in the same folder or in another one.

    Args:
        store: the store of the workload, or its successor: a restored store, or the new primary.
        folder: the folder of the history.
        read_models: projections and their current rows, as `read_rows` returns them.
    """
    log = await store.read_all_events()
    entries = entries_of(log, EVENT_TYPE)
    history = History(folder)
    violations: list[Violation] = [*log_violations(history, entries), *append_violations(history, entries)]
    for follower in history.followers:
        violations += follower_violations(follower, entries)
    for projection, rows in read_models:
        violations += row_violations(rows, fold_tables(projection, log))
    return _report(history, entries, violations)


async def read_rows(store: PostgreSQLEventStore, projection: TableProjection[Any], schema: str = "public") -> Rows:
    """Return the rows of all tables of a projection, read through its views.

    Args:
        store: the store with the database of the tables.
        projection: the projection.
        schema: the schema of its tables, as in the `ProjectionService`.
    """
    rows: dict[str, dict[Any, Any]] = {}
    for table in TableDefinition(projection).tables:
        names = {"schema": quoted_schema(schema), "view": quote_identifier(table.view)}
        sql = Statements(Path(__file__).parent / "sql", **names)
        rows[table.view] = {}
        for record in await store.database.fetch(sql["rows"]):
            key = tuple(record[name] for name in table.key)
            rows[table.view][key[0] if len(key) == 1 else key] = table.row(**dict(record))
    return rows


def _report(history: History, entries: Sequence[LogEntry], violations: Sequence[Violation]) -> Report:
    others = sum([history.is_from_another_workload(entry) for entry in entries])
    appends = history.appends.values()
    ends = [end for append in appends for end in append.ends]
    return Report(
        writers=len(history.writers),
        appends=len(appends),
        acknowledged=sum(len(list(append.events)) for append in appends if append.answers),
        refused=sum(isinstance(end, Refused) for end in ends),
        unknown=sum(end is None or isinstance(end, Unknown) for end in ends),
        resolved=sum(append.was_unknown and bool(append.answers or append.is_refused) for append in appends),
        repeats=sum(max(0, len(append.answers) - 1) for append in appends),
        events=sum([entry.text is not None for entry in entries]) - others,
        others=others,
        seen=sum(len(follower.seen) for follower in history.followers),
        seconds=history.seconds,
        write_gap=history.write_gap,
        violations=tuple(violations),
    )
