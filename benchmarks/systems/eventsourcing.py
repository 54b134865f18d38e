"""eventsourcing, by an Application on PostgreSQL: its own events, mapper, repository and projection runner."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import NAMESPACE_OID, UUID, uuid5

from eventsourcing.application import AggregateNotFoundError, Application
from eventsourcing.domain import Aggregate
from eventsourcing.persistence import IntegrityError, Tracking
from eventsourcing.postgres import PostgresTrackingRecorder
from eventsourcing.projection import ApplicationSubscription, Projection, ProjectionRunner
from psycopg import sql

from benchmarks.facts import Append, Stored, Totals
from benchmarks.systems.contents import SQL, rows_in
from benchmarks.systems.system import Handle, Place, System, each_in_a_thread
from examples.streaming.events import ContentWatched
from perdure.stores.postgres.sql_files import Statements

_PAGE = 500
_CONNECTIONS = 16
_PATIENCE = 600.0


class Title(Aggregate):
    class Watched(Aggregate.Event):
        content_id: str
        user_id: str
        watch_duration_seconds: int
        completion_percentage: float
        genre: str | None


class Titles(Application):
    name = "titles"


class Peer(System):
    name = "eventsourcing"
    title = "eventsourcing, an Application on PostgreSQL"
    workloads = frozenset({"W1", "W2", "W3", "W4", "W5", "W6", "W7"})
    log_limit = 2_000

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._app: Any = None
        self._streams: dict[UUID, str] = {}

    @classmethod
    def version(cls) -> str:
        return version("eventsourcing")

    @property
    def _environment(self) -> dict[str, str]:
        parts = urlsplit(self.place.url)
        query = parse_qs(parts.query)
        return {
            "PERSISTENCE_MODULE": "eventsourcing.postgres",
            "POSTGRES_DBNAME": parts.path.removeprefix("/"),
            "POSTGRES_HOST": parts.hostname or query["host"][0],
            "POSTGRES_PORT": str(parts.port or query["port"][0]),
            "POSTGRES_USER": parts.username or "",
            "POSTGRES_PASSWORD": parts.password or "none is asked for",
            "POSTGRES_POOL_SIZE": str(_CONNECTIONS),
            "POSTGRES_POOL_TIMEOUT": "60",
            "POSTGRES_MAX_OVERFLOW": "0",
        }

    async def open(self) -> None:
        self._app = Titles(env=self._environment)

    async def close(self) -> None:
        self._app.close()

    async def append(self, callers: Sequence[Iterator[Append]]) -> None:
        await asyncio.to_thread(each_in_a_thread, callers, self._append)

    def _append(self, wanted: Append) -> None:
        originator_id = self._id_of(wanted.stream_id)
        self._app.events.put(
            [
                Title.Watched(
                    originator_id=originator_id,
                    originator_version=wanted.expected_version + number,
                    timestamp=datetime.now(UTC),
                    content_id=event.content_id,
                    user_id=event.user_id,
                    watch_duration_seconds=event.watch_duration_seconds,
                    completion_percentage=event.completion_percentage,
                    genre=event.genre,
                )
                for number, event in enumerate(wanted.events, 1)
            ]
        )

    def _id_of(self, stream_id: str) -> UUID:
        found = uuid5(NAMESPACE_OID, stream_id)
        self._streams[found] = stream_id
        return found

    async def contents(self) -> Iterable[Stored]:
        stored = [
            Stored(self._streams[event.originator_id], event.originator_version, _theirs(event))
            for event in self._log()
        ]
        return sorted(stored, key=lambda one: (one.stream_id, one.stream_version))

    def _log(self, after: int = 0) -> Iterator[Any]:
        start = after + 1
        while page := self._app.recorder.select_notifications(start=start, limit=_PAGE):
            yield from map(self._app.mapper.to_domain_event, page)
            start = page[-1].id + 1

    async def load(self, stream_id: str, *, snapshot: bool = False) -> Totals:  # noqa: ARG002 - it isn't asked for one
        return (await asyncio.to_thread(self._load, stream_id))[0]

    def _load(self, stream_id: str) -> tuple[Totals, int]:
        found: tuple[Totals, int] = self._app.repository.get(self._id_of(stream_id), projector_func=_fold)
        return found

    async def catch_up(self, count: int, after: int = 0) -> Totals:
        return await asyncio.to_thread(self._catch_up, count, after)

    def _catch_up(self, count: int, after: int) -> Totals:
        views = seconds = 0
        for event in self._log(after):
            views += 1
            seconds += event.watch_duration_seconds
            if views == count:
                break
        return Totals(views, seconds)

    async def project(self, name: str, count: int) -> None:
        await asyncio.to_thread(self._project, name, count)

    def _project(self, name: str, count: int) -> None:  # noqa: ARG002 - all there is: that many
        last = self._app.recorder.max_notification_id()
        with ProjectionRunner(
            application_class=Titles,
            projection_class=type(name, (Views,), {"name": name}),
            view_class=type(name, (ViewsTable,), {"table": name}),
            env=self._environment,
        ) as runner:
            runner.wait(last, timeout=_PATIENCE)

    async def rows(self, name: str) -> dict[str, Totals]:
        return await rows_in(self.place.url, name)

    @asynccontextmanager
    async def follow(self, handle: Handle) -> AsyncGenerator[None]:
        with ApplicationSubscription(self._app, gt=self._app.recorder.max_notification_id()) as subscription:
            thread = threading.Thread(target=_follow, args=(subscription, handle))
            thread.start()
            try:
                yield
            finally:
                subscription.stop()
                await asyncio.to_thread(thread.join)

    async def change(self, callers: Sequence[Iterator[Append]]) -> None:
        await asyncio.to_thread(each_in_a_thread, callers, self._change)

    def _change(self, wanted: Append) -> None:
        while True:
            try:
                _, stream_version = self._load(wanted.stream_id)
            except AggregateNotFoundError:
                stream_version = 0
            try:
                self._append(wanted._replace(expected_version=stream_version))
            except IntegrityError:
                continue
            return


class ViewsTable(PostgresTrackingRecorder):
    """The rows, and up to where they are."""

    table = ""

    def __init__(self, datastore: Any, **options: Any) -> None:
        super().__init__(datastore, **options)
        self._sql = Statements(SQL / "tutorial", table=self.table)
        self.sql_create_statements.append(sql.SQL(self._sql["create_rows"]))

    def add(self, event: Any, tracking: Tracking) -> None:
        """Count a view, once."""
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            statement = self._sql["add_view"].replace("$1", "%s").replace("$2", "%s")
            cursor.execute(statement, (event.content_id, event.watch_duration_seconds), prepare=True)


class Views(Projection[ViewsTable]):
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        self.view.add(domain_event, tracking)


def _fold(_: object, events: Iterable[Any]) -> tuple[Totals, int] | None:
    views = seconds = stream_version = 0
    for event in events:
        views += 1
        seconds += event.watch_duration_seconds
        stream_version = event.originator_version
    return (Totals(views, seconds), stream_version) if views else None


def _follow(subscription: Iterable[tuple[Any, Any]], handle: Handle) -> None:
    for event, _ in subscription:
        handle(_theirs(event))


def _theirs(event: Any) -> ContentWatched:
    return ContentWatched(
        content_id=event.content_id,
        user_id=event.user_id,
        watch_duration_seconds=event.watch_duration_seconds,
        completion_percentage=event.completion_percentage,
        genre=event.genre,
    )
