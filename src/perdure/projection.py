"""The base classes of read models: `TableProjection`, whose handlers fold events into the rows of a table.

Its handlers do no I/O. If they must, a `SQLProjection` runs its own SQL, and a `Projection` writes to any system.
`perdure.projections` runs projections; `perdure.testing.fold` runs a `TableProjection` in memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar, cast

from perdure.checks import check_instance
from perdure.children import ChildTable
from perdure.declaration import (
    Columns,
    OnFailure,
    check_name,
    check_on_failure,
    check_start,
    check_table,
    check_version,
    checked_columns,
    checked_key,
    only_known_arguments,
)
from perdure.errors import InvalidArgumentError, ProjectionDefinitionError
from perdure.errors.formats import shown
from perdure.events import StoredEvent, check_category
from perdure.log import SubscriptionStart
from perdure.row_query import RowPage, RowQuery, row_reader
from perdure.store import EventStore
from perdure.transaction import Transaction

Row = TypeVar("Row")
Child = TypeVar("Child")


class TableProjection(Generic[Row]):
    """Keeps one row per key in a table that is created from the row class. Users query it under the name `table`.

    A handler takes the event and the row of its key, or None if there is no row. It returns the new row, or None to
    delete the row together with its child rows. It may change the row that it gets. It may also take ``at``, the
    `StoredEvent` with position and timestamp, and the class's child tables, each by its name. Events without a handler
    are ignored.

    The check for changed shapes can't see what handlers do. Give the class a new `version` whenever its handlers would
    make other rows of the same events. A new version is built from the beginning of the log, beside the old table.

    Args:
        table: the name under which users query the rows, and the projection's name. The rows themselves are in
            ``<table>__v<version>``.
        key: the field, or the fields, that identify a row.
        version: incremented with each change of the row class or of what handlers do.
        on_failure: what happens to an event that still fails after all attempts. ``"pause"``: everything after it
            waits until `resume`. ``"park"``: it is parked for the row that it failed for, and later events of that row
            wait behind it; all other rows are kept up to date. An event whose rows aren't known, for example because it
            can't be decoded, always pauses.
        by_stream: a category of streams, such as ``"user"``, each of which has one row. The key is the stream's id:
            ``123`` of ``user-123``. Events of other categories are ignored.
        indexes: the fields by which rows are found and ordered: ``["plan", ("country", "city")]``. Each becomes an
            index, in every build. `find` needs one for what it is asked.
        unique: the fields that no two rows may have in common: ``["email"]``. An event that would break this fails,
            and `on_failure` decides what follows. Rows with None never conflict. A projection with unique fields isn't
            divided among processes: one process at a time folds it, in the order of the log.

    Raises:
        ProjectionDefinitionError: the class can't work as it is written; raised here, or when a service is created.

    Example:
        >>> from dataclasses import dataclass
        >>> from perdure import event, handles
        >>> @event("counter.clicked")
        ... class Clicked:
        ...     page: str
        >>> @dataclass
        ... class Clicks:
        ...     page: str
        ...     total: int = 0
        >>> class ClicksPerPage(TableProjection[Clicks], table="clicks", key="page", version=1):
        ...     @handles
        ...     def clicked(self, event: Clicked, row: Clicks | None) -> Clicks:
        ...         row = row or Clicks(event.page)
        ...         row.total += 1
        ...         return row
    """

    name: ClassVar[str] = ""
    """The name of the projection, and of the view of its rows."""
    key: ClassVar[tuple[str, ...]] = ()
    """The fields that identify a row."""
    version: ClassVar[int] = 0
    """The version of the row class and of what handlers do."""
    on_failure: ClassVar[OnFailure] = "pause"
    """What happens to an event that can't be processed."""
    by_stream: ClassVar[str | None] = None
    """The category of streams, each of which has one row."""
    indexes: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """The fields of each index, apart from the index of the key."""
    unique: ClassVar[tuple[tuple[str, ...], ...]] = ()
    """The fields that no two rows may have in common."""

    def __init_subclass__(
        cls,
        *,
        table: str | None = None,
        key: str | tuple[str, ...] = (),
        version: int = 1,
        on_failure: OnFailure = "pause",
        by_stream: str | None = None,
        indexes: Columns = (),
        unique: Columns = (),
        **rest: Any,
    ) -> None:
        with only_known_arguments(TableProjection, cls):
            super().__init_subclass__(**rest)
        if table is None:
            return  # a base class of projections
        check_table(cls.__qualname__, table)
        cls.name = table
        cls.key = checked_key(table, key)
        cls.version = version
        cls.on_failure = on_failure
        cls.by_stream = by_stream
        cls.indexes = checked_columns(table, "indexes", indexes, cls.key)
        cls.unique = checked_columns(table, "unique", unique, cls.key)
        check_version(table, version)
        check_on_failure(table, on_failure)
        if by_stream is not None:
            try:
                check_category(by_stream)
            except InvalidArgumentError as error:
                raise ProjectionDefinitionError(table, f"by_stream isn't a category of streams: {error}") from error

    @classmethod
    async def get(
        cls,
        store: EventStore,
        key: object,
        /,
        *,
        at_position: int | None = None,
        at_time: datetime | None = None,
        tx: Transaction | None = None,
    ) -> Row | None:
        """Return the row of a key, or None: now, or as it was at a point of the past.

        Without a point, the row is read from the table, as the view shows it. With one, it is folded from the log, as
        `LiveProjection` does. A store without a database folds it in either case.

        Args:
            store: the store of the events, in whose database the rows are.
            key: the key; a tuple if it has several fields.
            at_position: as of this position of the log.
            at_time: as of the events recorded by then.
            tx: the caller's transaction, which sees its own changes: the rows of inline projections that its appends
                have written. It can't be combined with a point of the past.

        Raises:
            InvalidArgumentError: `tx` is given with a point of the past.
            TransactionError: `tx` isn't open, or is of another store.
            InvalidArgumentError: `key` can't be a key of a row.
            UnknownProjectionError: no service has run the projection on this store yet.
            BuildStateError: the view shows a version whose rows this class can't read.
            ProjectionTimeoutError: the log can't be read up to the position, because of appends that are under way.

        Example:
            profile = await Profiles.get(store, "123")
            before = await Profiles.get(store, "123", at_time=datetime(2026, 1, 1, tzinfo=UTC))
        """
        return cast(
            "Row | None", await row_reader().get(cls, store, key, at_position=at_position, at_time=at_time, tx=tx)
        )

    @classmethod
    async def find(
        cls,
        store: EventStore,
        /,
        *,
        order_by: str | Sequence[str] = (),
        limit: int = 100,
        after: str | None = None,
        at_position: int | None = None,
        at_time: datetime | None = None,
        tx: Transaction | None = None,
        **values: object,
    ) -> RowPage[Row]:
        """Return a page of the rows that have these values, in order. An index must serve the query.

        An index of ``("plan", "score")`` serves ``find(store, plan="free")``, with and without ``order_by="score"`` or
        ``"-score"``. The key, and each unique field, has an index, too. Pages neither repeat nor miss a row that stays
        as it is, whatever happens to other rows, and even if another build is shown meanwhile.

        Args:
            store: the store of the events, in whose database the rows are.
            order_by: the fields of the order, each with a ``-`` for descending. The rest of the index follows, and then
                the key. None comes last in ascending order, and first in descending order. Text is compared bytewise.
            limit: how many rows to return at most, up to 10,000.
            after: the `next` of the page before.
            at_position: as of this position of the log. This folds all rows in memory.
            at_time: as of the events recorded by then. This folds all rows in memory.
            tx: the caller's transaction, as for `get`.
            values: the values of fields that the rows must have, as ``plan="free"``.

        Raises:
            InvalidArgumentError: no index serves the query, a value isn't of its field's type, or `after` isn't the
                `next` of a page of the same query.
            TransactionError, UnknownProjectionError, BuildStateError, ProjectionTimeoutError: as for `get`.

        Example:
            page = await Profiles.find(store, plan="premium", order_by="-registered_at", limit=20)
            page = await Profiles.find(store, plan="premium", order_by="-registered_at", limit=20, after=page.next)
        """
        query = RowQuery(values, order_by, limit, after, at_position, at_time, tx)
        return cast("RowPage[Row]", await row_reader().find(cls, store, None, query))

    @classmethod
    async def find_children(
        cls,
        store: EventStore,
        child: ChildTable[Child],
        /,
        *,
        order_by: str | Sequence[str] = (),
        limit: int = 100,
        after: str | None = None,
        at_position: int | None = None,
        at_time: datetime | None = None,
        tx: Transaction | None = None,
        **values: object,
    ) -> RowPage[Child]:
        """Return a page of rows of a child table, whose indexes serve the query. See `find`.

        Example:
            seats = await Members.find_children(store, Members.seats, member="ann")
        """
        check_instance("child", child, ChildTable)
        query = RowQuery(values, order_by, limit, after, at_position, at_time, tx)
        return cast("RowPage[Child]", await row_reader().find(cls, store, child, query))

    def keys(self, event: Any, at: StoredEvent) -> Iterable[Any]:
        """Return the keys of the rows that an event changes. If there are none, the event is ignored.

        By default there is one key: the event's attributes with the names of the key fields, or with `by_stream` the id
        of the event's stream. A key of several fields is a tuple. A handler can say it for its own events:
        ``@handles(keys=lambda event: [event.source, event.target])``.
        """
        if self.by_stream is not None:
            category, _, stream_key = at.stream_id.partition("-")
            return (stream_key,) if category == self.by_stream else ()
        if len(self.key) == 1:
            return (getattr(event, self.key[0]),)
        return (tuple([getattr(event, name) for name in self.key]),)


class ProjectionTransaction(Protocol):
    """The transaction in which a `Projection` handles events. It also moves the checkpoint.

    In SQL, write the projection's tables as ``{views_per_day}``, and values as ``$1``, ``$2`` and so on.
    """

    def execute(self, sql: str, *arguments: object) -> None:
        """Queue a statement. It is sent together with others, before the next query and before the commit."""

    async def fetch(self, sql: str, *arguments: object) -> list[Any]:
        """Return the rows of a query. It sees every statement that was executed before."""
        ...

    async def fetchrow(self, sql: str, *arguments: object) -> Any:
        """Return the first row of a query, or None. Otherwise as `fetch`."""

    async def fetchval(self, sql: str, *arguments: object) -> Any:
        """Return the first column of the first row of a query, or None. Otherwise as `fetch`."""


class Projection:
    """Delivers events to any system: a search index, a file, another service.

    `handle` gets events one by one, in the order of the log. The transaction `tx` moves the checkpoint, so each event
    counts **exactly once** in what `tx` writes. Writes to other systems aren't part of it. After a crash or
    an error, events are delivered again, so such writes happen **at least once**. Make them idempotent: write under the
    event's id, or store its ``global_position`` and ignore an event whose position isn't higher.

    One process at a time runs it; others wait to take over. An event that fails is tried again, then the projection is
    paused.

    Args:
        name: the projection's name.
        version: incremented to run the projection again, from `start` on.
        on_failure: ``"pause"`` only: there are no keys by which events could be parked.
        start: the position after which each version begins. 0, the default, is the beginning of the log: each version
            gets the whole history. With `NOW`, the projection never gets history. Its first version begins after the
            last event that the log can be read up to when a service first sets it up. Each later version goes on where
            the versions before it are. A projection with another start than 0 has no `tables`, because they couldn't be
            built again.

    Attributes:
        tables: the SQL that creates each table, by the name under which users query it. ``{name}`` stands for the
            table, here and in all statements. The SQL may consist of several statements, for example for an index.
        event_types: only these types of events, by class or stored name; None means all.

    Example:
        class SearchIndex(Projection, name="search_index"):
            event_types = (TitleAdded, TitleRenamed)

            async def handle(self, event: StoredEvent, tx: ProjectionTransaction) -> None:
                await self.client.index(event.event.title_id, event.event.name, version=event.global_position)
    """

    name: ClassVar[str] = ""
    """The name of the projection."""
    version: ClassVar[int] = 0
    """The version of its tables and of what it does."""
    on_failure: ClassVar[OnFailure] = "pause"
    """What happens to an event that can't be processed."""
    tables: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """The SQL that creates each table, by name."""
    event_types: ClassVar[Sequence[str | type] | None] = None
    """The types of events that it handles."""
    start: ClassVar[int | SubscriptionStart] = 0
    """Where in the log it begins."""

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        version: int = 1,
        on_failure: Literal["pause"] = "pause",
        start: int | SubscriptionStart = 0,
        **rest: Any,
    ) -> None:
        with only_known_arguments(Projection, cls):
            super().__init_subclass__(**rest)
        if name is None:
            return  # a base class of projections
        check_name(cls.__qualname__, name)
        check_version(name, version)
        if on_failure != "pause":
            raise ProjectionDefinitionError(
                name,
                f"on_failure is {shown(on_failure)}, but it has no keys for which an event could be parked: "
                'say "pause"',
            )
        check_start(name, start)
        cls.name = name
        cls.version = version
        cls.start = start

    async def handle(self, event: StoredEvent, tx: ProjectionTransaction) -> None:
        """Handle an event. `event.event` is its payload."""
        raise NotImplementedError

    async def handle_batch(self, events: Sequence[StoredEvent], tx: ProjectionTransaction) -> None:
        """Handle several events at once, in order. By default it calls `handle` for each; override it to save time.

        If it fails, the events are delivered again one by one, to find the event that fails.
        """
        for event in events:
            await self.handle(event, tx)


class SQLProjection(Projection):
    """Keeps tables with its own SQL, for what one row per key can't express.

    Handlers are marked with ``@handles``. They take the event and the `ProjectionTransaction`, and optionally ``at``,
    the `StoredEvent`; they may be ``async``. Their statements are sent in batches and committed together with the
    checkpoint, so each event counts exactly once. A query sees every statement that was executed before.

    One process at a time runs the projection; others wait to take over. An event that fails is tried again, then the
    projection is paused. Handlers should read only the event and these tables: anything else may have changed when a
    new version is built from the same events.

    Args:
        name: the projection's name.
        version: incremented with each change of the tables or of what handlers do. A new version is built from the
            beginning of the log, beside the old tables.
        on_failure: ``"pause"`` only: there are no keys by which events could be parked.

    Attributes:
        tables: the SQL that creates each table, by the name under which users query it; see `Projection`.

    Example:
        COUNT = (
            "insert into {views_per_day} as d values ($1, 1) "
            "on conflict (day) do update set views = d.views + 1"
        )

        class ViewsPerDay(SQLProjection, name="views_per_day"):
            tables = {"views_per_day": "create table {views_per_day} (day date primary key, views bigint not null)"}

            @handles
            def watched(self, event: Watched, tx: ProjectionTransaction, at: StoredEvent) -> None:
                tx.execute(COUNT, at.timestamp.date())
    """


AnyProjection = TableProjection[Any] | Projection
"""A projection of any kind."""
