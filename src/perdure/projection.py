"""What a user writes to keep a read model: a `TableProjection`, whose handlers fold events into the rows of a table.

Its handlers do no I/O. Where they must, a `SQLProjection` issues SQL of its own, and a `Projection` writes anywhere.
What runs a projection is in `perdure.projections`; `perdure.testing.fold` runs a `TableProjection` in memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Generic, Literal, Protocol, TypeVar, cast, get_args

from perdure.checks import check_text
from perdure.errors import ChildNotLoadedError, InvalidArgumentError, ProjectionDefinitionError, ProjectionRowError
from perdure.errors.formats import shown
from perdure.events import StoredEvent, check_category

Row = TypeVar("Row")
Child = TypeVar("Child")

OnFailure = Literal["pause", "park"]

MAX_VERSION = 32767
LONGEST_NAME = 200


class TableProjection(Generic[Row]):
    """Keeps one row per key in a table that is made from the row class. People query it under the name `table`.

    A handler takes the event and the row of its key, or None where there is none, and returns the row as it is now, or
    None to delete it together with its child rows. It may change the row it was given. It may also take ``at``, the
    `StoredEvent` with position and timestamp, and the class's child tables, each by its name. Events that no handler
    takes pass by.

    What handlers do is invisible to the check for changed shapes: give the class a new `version` whenever they would
    make other rows of the same events. A new version is built anew, beside the old table.

    Args:
        table: the name under which people query the rows, and the projection's name. The rows themselves are in
            ``<table>__v<version>``.
        key: the field, or the fields, that tell the rows apart.
        version: counted up with each change of the row class or of what handlers do.
        on_failure: what becomes of an event that can't be taken, after all attempts. ``"pause"``: everything that comes
            after it waits, until somebody resumes the projection. ``"park"``: it is put aside for the row that it can't
            reach, and later events of that row wait behind it; all other rows go on. An event whose rows can't be told,
            as when it can't be decoded, always pauses.
        by_stream: the category of streams, as ``"user"``, where there is a row for each: its key is the stream's id,
            ``123`` of ``user-123``. Events of other categories pass by.

    Raises:
        ProjectionDefinitionError: the class can't work as it is written; told here, or when a service is made.

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
    """The name of the projection, and of the view that shows its rows."""
    key: ClassVar[tuple[str, ...]] = ()
    """The fields that tell the rows apart."""
    version: ClassVar[int] = 0
    """The version of the row class and of what handlers do."""
    on_failure: ClassVar[OnFailure] = "pause"
    """What becomes of an event that can't be taken."""
    by_stream: ClassVar[str | None] = None
    """The category of streams for each of which there is a row."""

    def __init_subclass__(
        cls,
        *,
        table: str | None = None,
        key: str | tuple[str, ...] = (),
        version: int = 1,
        on_failure: OnFailure = "pause",
        by_stream: str | None = None,
        **rest: Any,
    ) -> None:
        super().__init_subclass__(**rest)
        if table is None:
            return  # a class that others inherit handlers from
        _check_table(cls.__qualname__, table)
        cls.name = table
        cls.key = _checked_key(table, key)
        cls.version = version
        cls.on_failure = on_failure
        cls.by_stream = by_stream
        _check_version(table, version)
        if not isinstance(on_failure, str) or on_failure not in get_args(OnFailure):
            raise ProjectionDefinitionError(table, f'on_failure is {shown(on_failure)}: say "pause" or "park"')
        if by_stream is not None:
            try:
                check_category(by_stream)
            except InvalidArgumentError as error:
                raise ProjectionDefinitionError(table, f"by_stream names no category of streams: {error}") from error

    def keys(self, event: Any, at: StoredEvent) -> Iterable[Any]:
        """The keys of the rows that an event changes: one, unless overridden; none lets the event pass by.

        Without override, it is the event's attributes of the names of the key, or with `by_stream`, the id of its
        stream. A key of several fields is a tuple.
        """
        if self.by_stream is not None:
            category, _, stream_key = at.stream_id.partition("-")
            return (stream_key,) if category == self.by_stream else ()
        if len(self.key) == 1:
            return (getattr(event, self.key[0]),)
        return (tuple([getattr(event, name) for name in self.key]),)


class ChildTable(Generic[Child]):
    """What `child_table` declares. A handler names it as a parameter, and gets `ChildRows` of it."""

    def __init__(
        self, row: type[Child], table: str, key: tuple[str, ...], keys: Callable[[Any], Iterable[Any]] | None
    ) -> None:
        self.row = row
        self.table = table
        self.key = key
        self.keys = keys


def child_table(
    row: type[Child], *, table: str, key: tuple[str, ...], keys: Callable[[Any], Iterable[Any]] | None = None
) -> ChildTable[Child]:
    """Give a projection a second table, with many rows for one row of its own: exact membership at constant cost.

    Before a handler runs, the rows are loaded that it may look at: one for each of `keys`. They are deleted together
    with the parent's row.

    Args:
        row: the class of the rows, a dataclass or a msgspec Struct.
        table: the name under which people query them.
        key: the fields that tell them apart: first those of the parent's key, then at least one more.
        keys: from an event to the keys it concerns, without the part that is the parent's; several fields make a tuple.
            Unless given, it is the event's attributes of the names of the key.

    Example:
        class Popularity(TableProjection[Title], table="popularity", key="title_id", version=1):
            viewers = child_table(Viewer, table="popularity_viewers", key=("title_id", "user_id"))

            @handles
            def watched(self, event: Watched, row: Title | None, viewers: ChildRows[Viewer]) -> Title:
                row = row or Title(event.title_id)
                if event.user_id not in viewers:
                    viewers.put(Viewer(event.title_id, event.user_id))
                    row.unique_viewers += 1
                return row
    """
    _check_table("child_table", table)
    if keys is not None and not callable(keys):
        raise ProjectionDefinitionError(table, f"its keys are {shown(keys)}: give a function of the event")
    return ChildTable(row, table, _checked_key(table, key), keys)


class ChildRows(Generic[Child]):
    """Rows of a child table, as a handler sees them: those loaded for its event, of its row's key.

    Rows are asked for by the part of their key that follows the parent's: a value, or a tuple where it has several
    fields. See `child_table`.

    Args:
        name: the name of the child table in its projection.
        loaded: the stored rows by that part of their key; None where there is none.
        decode: makes a row of what is stored.
        part_of: that part of a row's key.
    """

    def __init__(
        self,
        name: str,
        loaded: Mapping[Any, Any],
        decode: Callable[[Any], Child],
        part_of: Callable[[Child], Any],
    ) -> None:
        self._name = name
        self._loaded = loaded
        self._decode = decode
        self._part_of = part_of
        self.changes: dict[Any, Child | None] = {}
        """What the handler put, and None for what it deleted."""

    def __contains__(self, key: object) -> bool:
        """Whether there is a row of this key. Raises ChildNotLoadedError as `get` does."""
        stored = self._stored(key)
        return self.changes[key] is not None if key in self.changes else stored is not None

    def get(self, key: object) -> Child | None:
        """The row of this key, or None. If you change it, `put` it.

        Raises:
            ChildNotLoadedError: the row wasn't loaded; see the `keys` of `child_table`.
        """
        stored = self._stored(key)
        if key in self.changes:
            return self.changes[key]
        return None if stored is None else self._decode(stored)

    def put(self, row: Child) -> None:
        """Add a row, or replace the one of the same key.

        Raises:
            ChildNotLoadedError: as `get` does.
            ProjectionRowError: it is no row of this table.
        """
        try:
            key = self._part_of(row)
        except AttributeError as error:
            raise ProjectionRowError(self._name, f"{shown(row)} has no key: put a row of its class") from error
        self._stored(key)
        self.changes[key] = row

    def delete(self, key: object) -> None:
        """Delete the row of this key, if there is one. Raises ChildNotLoadedError as `get` does."""
        self._stored(key)
        self.changes[key] = None

    def _stored(self, key: object) -> Any:
        try:
            return self._loaded[key]
        except (KeyError, TypeError):
            raise ChildNotLoadedError(self._name, key) from None


class ProjectionTransaction(Protocol):
    """The transaction in which a `Projection` takes events: its checkpoint moves with what is written here.

    SQL names the projection's tables as ``{views_per_day}``, and its values as ``$1``, ``$2`` and so on.
    """

    def execute(self, sql: str, *arguments: object) -> None:
        """Have a statement run: later, together with others, but before anything is read and before the commit."""
        ...

    async def fetch(self, sql: str, *arguments: object) -> list[Any]:
        """The rows of a query, which sees everything that was executed before it."""
        ...

    async def fetchrow(self, sql: str, *arguments: object) -> Any:
        """The first row of a query, or None. Otherwise as `fetch`."""
        ...

    async def fetchval(self, sql: str, *arguments: object) -> Any:
        """The first column of the first row of a query, or None. Otherwise as `fetch`."""
        ...


class Projection:
    """Takes events to wherever you like: a search index, a file, another service.

    `handle` gets them one by one, in the order of the log. The checkpoint moves in the transaction `tx`, and with it
    what is written there: each event counts exactly once. What is written elsewhere isn't part of it: after a crash,
    and after an error, events come again, so **elsewhere it is at least once**. Write so that a repeat does nothing:
    under the event's id, or with its ``global_position`` beside it, ignoring what isn't above the one that is there.

    One process at a time runs it; others stand by. An event that fails is tried again, then the projection is paused.

    Args:
        name: the projection's name.
        version: counted up when it is to be built anew, from the beginning of the log.
        on_failure: ``"pause"``: no rows are known that could go on without the event.

    Attributes:
        tables: the SQL that makes tables of its own, if it has any, by the name under which people query them; in it,
            ``{name}`` stands for the table, here as in all its statements. It may hold several statements, as for an
            index.
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
    """What becomes of an event that can't be taken."""
    tables: ClassVar[Mapping[str, str]] = MappingProxyType({})
    """The SQL that makes each table, by name."""
    event_types: ClassVar[Sequence[str | type] | None] = None
    """Which events it takes."""

    def __init_subclass__(
        cls, *, name: str | None = None, version: int = 1, on_failure: Literal["pause"] = "pause", **rest: Any
    ) -> None:
        super().__init_subclass__(**rest)
        if name is None:
            return  # a class that others inherit from
        _check_name(cls.__qualname__, name)
        _check_version(name, version)
        if on_failure != "pause":
            raise ProjectionDefinitionError(
                name,
                f"on_failure is {shown(on_failure)}, but no key of its rows is known, to park an event for: "
                'say "pause"',
            )
        cls.name = name
        cls.version = version

    async def handle(self, event: StoredEvent, tx: ProjectionTransaction) -> None:
        """Take an event. `event.event` is its payload."""
        raise NotImplementedError

    async def handle_batch(self, events: Sequence[StoredEvent], tx: ProjectionTransaction) -> None:
        """Take several events at once, in order; override it where that is cheaper. Unless overridden, one by one.

        When it fails, the events are handed over again, each for itself, to find the one that can't be taken.
        """
        for event in events:
            await self.handle(event, tx)


class SQLProjection(Projection):
    """Keeps tables by SQL of its own, for what one row per key can't express.

    Handlers bear ``@handles``, take the event and the `ProjectionTransaction`, and if wanted ``at``, the `StoredEvent`;
    they may be ``async``. What they execute is sent in batches, and committed together with the checkpoint, so that
    each event counts exactly once. A query sees what was executed before it.

    One process at a time runs it; others stand by. An event that fails is tried again, then the projection is paused.
    Handlers get nothing but the event and these tables: what they read elsewhere may be another when a version is
    built anew.

    Args:
        name: the projection's name.
        version: counted up with each change of the tables or of what handlers do. A new version is built anew, beside
            the old tables.
        on_failure: ``"pause"``: no rows are known that could go on without the event.

    Attributes:
        tables: the SQL that makes each table, by the name under which people query it; see `Projection`.

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


def _check_name(cls: str, name: object) -> None:
    try:
        check_text("name", name)
    except InvalidArgumentError as error:
        raise ProjectionDefinitionError(cls, str(error)) from error
    if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_NAME:
        raise ProjectionDefinitionError(cls, f"its name {shown(name)} must have 1 to {LONGEST_NAME} characters")


def _check_version(name: str, version: object) -> None:
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= MAX_VERSION:
        raise ProjectionDefinitionError(name, f"{shown(version)} is no version: count 1, 2, 3 ...")


def _check_table(name: str, table: object) -> None:
    if not isinstance(table, str) or not table:
        raise ProjectionDefinitionError(name, f"its table is called {shown(table)}, which is no name")


def _checked_key(table: str, key: object) -> tuple[str, ...]:
    fields: tuple[object, ...] = (key,) if isinstance(key, str) else cast("tuple[object, ...]", key)
    if not isinstance(fields, tuple) or not fields or not all(isinstance(field, str) and field for field in fields):
        fix = 'name the field that tells rows apart, key="user_id", or several as a tuple'
        raise ProjectionDefinitionError(table, f"its key is {shown(key)}: {fix}")
    if len(set(fields)) < len(fields):
        raise ProjectionDefinitionError(table, f"its key names a field twice: {shown(key)}")
    return cast("tuple[str, ...]", fields)
