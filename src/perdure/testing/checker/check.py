"""The check: reads the history and the log, and reports every broken promise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from perdure.projection import TableProjection
from perdure.projections.engines.table.definition import TableDefinition
from perdure.store import EventStore
from perdure.stores.postgres.sql_files import Statements, quote_identifier, quoted_schema
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.checker.evidence import Evidence, LogEntry, entries_of
from perdure.testing.checker.history import Doubted, Refused
from perdure.testing.checker.judgement import (
    Rows,
    append_violations,
    follower_violations,
    log_violations,
    row_violations,
)
from perdure.testing.checker.report import Report, Violation
from perdure.testing.projections import fold_tables

EVENT_TYPE = "perdure.checker.checked"


async def check(
    store: EventStore,
    folder: Path | str,
    *,
    read_models: Sequence[tuple[TableProjection[Any], Rows]] = (),
) -> Report:
    """Compare what a workload was told and saw with what is in the log. Call it when the workload is over.

    A store may be checked again after another workload, whose history is kept in the same folder or in another one.

    Args:
        store: the store that the workload ran against, or what came of it: a restored one, or the new primary.
        folder: where the history is.
        read_models: projections, each with the rows that it has now, as `read_rows` gives them.
    """
    log = await store.read_all_events()
    entries = entries_of(log, EVENT_TYPE)
    evidence = Evidence(folder)
    violations: list[Violation] = [*log_violations(evidence, entries), *append_violations(evidence, entries)]
    for follower in evidence.followers:
        violations += follower_violations(follower, entries)
    for projection, rows in read_models:
        violations += row_violations(rows, fold_tables(projection, log))
    return _report(evidence, entries, violations)


async def read_rows(store: PostgreSQLEventStore, projection: TableProjection[Any], schema: str = "public") -> Rows:
    """The rows of a projection as people query them, all tables of it.

    Args:
        store: the store in whose database they are.
        projection: the projection.
        schema: where its tables are, as the `ProjectionService` was told.
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


def _report(evidence: Evidence, entries: Sequence[LogEntry], violations: Sequence[Violation]) -> Report:
    others = sum([evidence.is_of_another(entry) for entry in entries])
    appends = evidence.appends.values()
    ends = [end for append in appends for end in append.ends]
    return Report(
        writers=len(evidence.writers),
        appends=len(appends),
        acknowledged=sum(len(list(append.events)) for append in appends if append.answers),
        refused=sum(isinstance(end, Refused) for end in ends),
        doubted=sum(end is None or isinstance(end, Doubted) for end in ends),
        resolved=sum(append.was_in_doubt and bool(append.answers or append.is_refused) for append in appends),
        repeats=sum(max(0, len(append.answers) - 1) for append in appends),
        events=sum([entry.text is not None for entry in entries]) - others,
        others=others,
        seen=sum(len(follower.seen) for follower in evidence.followers),
        seconds=evidence.seconds,
        write_gap=evidence.write_gap,
        violations=tuple(violations),
    )
