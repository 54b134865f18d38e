"""`Application`: a store, its aggregates and its projections, with their settings, in one object."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypedDict, TypeGuard, TypeVar, Unpack, cast, overload

from perdure.aggregate import AggregateRoot
from perdure.async_block import async_block
from perdure.checks import can_take
from perdure.decider import Decider
from perdure.errors import (
    InvalidArgumentError,
    UnknownAggregateError,
    UnknownProjectionError,
    WrongContextError,
)
from perdure.errors.formats import path_of, shown
from perdure.events import check_stream_id
from perdure.projection import AnyProjection, Projection, TableProjection
from perdure.projections.runtime.progress import Saved, wait_until_shown
from perdure.projections.service import ProjectionService
from perdure.repository import AggregateSettings, DeciderRepository, Repository, RetryConfig
from perdure.store import EventStore
from perdure.stores.connect import ConnectSettings, connect
from perdure.stores.postgres.connections.database import database_of
from perdure.stores.postgres.store import PostgreSQLEventStore

A = TypeVar("A", bound=AggregateRoot)
C = TypeVar("C")
S = TypeVar("S")
T = TypeVar("T")
Other = TypeVar("Other", bound=EventStore)
if TYPE_CHECKING:  # Python 3.11 knows no defaults of type variables, but type checkers do
    from typing_extensions import TypeVar as DefaultingTypeVar

    Store_co = DefaultingTypeVar("Store_co", bound=EventStore, default=PostgreSQLEventStore, covariant=True)
else:
    Store_co = TypeVar("Store_co", bound=EventStore, covariant=True)

StoreSource: TypeAlias = EventStore | str | ConnectSettings | None
"""A store, a URL, the arguments of `perdure.connect`, or None for what that finds without any."""
Aggregates: TypeAlias = Sequence[type[AggregateRoot] | Decider[Any, Any, Any] | AggregateSettings]
"""Classes of aggregates, deciders, and settings of either."""
Projections: TypeAlias = Sequence[AnyProjection | Callable[["Application[Store_co]"], AnyProjection]]
"""Projections, and what makes one for the application: its class, or a function."""


class ServiceSettings(TypedDict, total=False):
    """The settings of a `ProjectionService`."""

    schema: str
    batch_size: int
    retry: RetryConfig | None
    segments: int
    lease: float
    max_parked: int
    handler_timeout: float
    stop_timeout: float


class Application(Generic[Store_co]):
    """A store, the aggregates in it and the projections of it. Making one connects to nothing.

    Keep it in a variable of a module: the command line finds it there, ``perdure --app shop.main:app run``.

    To type checkers, `Application` is one on PostgreSQL: `store` is a `PostgreSQLEventStore`, with its `database`. If
    you pass another store, it is an ``Application[InMemoryEventStore]``, for example.

    Args:
        store: a URL, the arguments of `perdure.connect` as a dict, or an `EventStore`; unless given, what `connect`
            finds by itself. A store that isn't open is opened and closed by `connect`; an open one stays open.
        aggregates: classes of aggregates and deciders, or `AggregateSettings` of them.
        projections: what `projection_service` runs. One that needs the application, to execute commands, is given as
            its class, or as a function that makes it. It is called with the application once, now. So it only keeps the
            application, and uses it in its handlers.

    Raises:
        InvalidArgumentError: one of them is of another type, two aggregates have the same category, or two projections
            the same name.
        AggregateDefinitionError: an aggregate has no category.
        Whatever a function that makes a projection raises.

    Example:
        app = Application(
            aggregates=[User, AggregateSettings(Stock, snapshot_every=100)],
            projections=[UserProfiles()],
        )

        async with app.connect() as store, app.projection_service():
            saved = await app.repository(User).execute("123", lambda user: user.subscribe_to_plan("premium"))
            await app.wait_for("user_profiles", saved, timeout=2)
            rows = await store.database.fetch("select * from user_profiles")
    """

    @overload
    def __init__(
        self: Application[PostgreSQLEventStore],
        store: str | ConnectSettings | None = None,
        *,
        aggregates: Aggregates = (),
        projections: Projections[PostgreSQLEventStore] = (),
    ) -> None: ...
    @overload
    def __init__(
        self, store: Store_co, *, aggregates: Aggregates = (), projections: Projections[Store_co] = ()
    ) -> None: ...
    def __init__(
        self,
        store: StoreSource = None,
        *,
        aggregates: Aggregates = (),
        projections: Projections[Any] = (),
    ) -> None:
        self.store_source: StoreSource = _checked_source(store)
        """Where the events are, as it was given."""
        self._by_category = _by_category(aggregates)
        self.aggregates = tuple(one.aggregate for one in self._by_category.values())
        """Classes of aggregates, and deciders."""
        self._store: Store_co | None = None
        self._repositories: dict[str, Repository[Any] | DeciderRepository[Any, Any]] = {}
        self._is_taken = False
        self._by_name: dict[str, AnyProjection] = {}  # empty to the functions that make projections
        self._by_name = _by_name([_projection(one, self) for one in _listed("projections", projections)])

    @property
    def categories(self) -> Sequence[str]:
        """The categories of the aggregates' streams."""
        return list(self._by_category)

    @property
    def projections(self) -> tuple[AnyProjection, ...]:
        """What `projection_service` runs."""
        return tuple(self._by_name.values())

    @property
    def store(self) -> Store_co:
        """The open store. Raises WrongContextError outside `connect`."""
        if self._store is None:
            raise WrongContextError("the application isn't connected: use it inside 'async with app.connect()'")
        return self._store

    @overload
    def connect(self, store: None = None) -> AbstractAsyncContextManager[Store_co, None]: ...
    @overload
    def connect(self, store: str | ConnectSettings) -> AbstractAsyncContextManager[PostgreSQLEventStore, None]: ...
    @overload
    def connect(self, store: Other) -> AbstractAsyncContextManager[Other, None]: ...
    @async_block("async with app.connect() as store:")
    async def connect(self, store: StoreSource = None) -> AsyncGenerator[Any]:
        """Open the store for the length of an ``async with`` block.

        Args:
            store: a store, a URL or settings to be used instead of the application's own: in tests, an
                `InMemoryEventStore`. What needs a database isn't there then.

        Raises:
            WrongContextError: it is connected already.
            ConfigurationError, StoreUnavailableError, and the others of `perdure.connect`.
        """
        if self._is_taken:
            raise WrongContextError("the application is connected already: share its store")
        self._is_taken = True
        try:
            async with _opened(self.store_source if store is None else _checked_source(store)) as opened:
                self._store = cast("Store_co", opened)
                yield opened
        finally:
            self._store, self._is_taken = None, False
            self._repositories.clear()

    @overload
    def repository(self, aggregate: type[A]) -> Repository[A]: ...
    @overload
    def repository(self, aggregate: Decider[C, Any, S]) -> DeciderRepository[C, S]: ...
    def repository(
        self, aggregate: type[AggregateRoot] | Decider[Any, Any, Any]
    ) -> Repository[Any] | DeciderRepository[Any, Any]:
        """The repository of one of the aggregates, in the open store: the same one until `connect` ends.

        Its settings are those of the `AggregateSettings` in the application, or else the defaults of `Repository`.

        Raises:
            UnknownAggregateError: it isn't one of the application's aggregates.
            InvalidArgumentError: it is neither a class of aggregates nor a decider.
            WrongContextError: the application isn't connected.
        """
        settings = self._settings_of(AggregateSettings(aggregate))
        store = self.store
        if settings.category not in self._repositories:
            self._repositories[settings.category] = _repository(settings, store)
        return self._repositories[settings.category]

    def aggregate_of(self, stream_id: str) -> type[AggregateRoot] | None:
        """Return the aggregate class of a stream; for a decider, the class made from it; None if there is none."""
        check_stream_id(stream_id)
        found = self._by_category.get(stream_id.partition("-")[0])
        if found is None:
            return None
        return found.aggregate.aggregate_class if isinstance(found.aggregate, Decider) else found.aggregate

    def projection_service(
        self, names: Sequence[str] | None = None, **settings: Unpack[ServiceSettings]
    ) -> ProjectionService:
        """A service that runs the projections on the open store, or only those of these names.

        Raises:
            UnknownProjectionError: there is no projection of such a name.
            WrongContextError: the application isn't connected.
            ProjectionDefinitionError, UnsupportedOperationError: as with `ProjectionService`.
        """
        chosen = self.projections if names is None else [self.projection(name) for name in _listed("names", names)]
        return ProjectionService(self.store, chosen, **settings)

    async def wait_for(self, name: str, saved: Saved, timeout: float = 10.0) -> None:
        """Wait until a projection shows what was saved, whichever process runs it. See `ProjectionService.wait_for`.

        A projection of the application that no process has set up yet is waited for, too.

        Raises:
            WrongContextError: the application isn't connected.
            UnsupportedOperationError: the store has no database for projections.
            EventParkedError, ProjectionTimeoutError, and the others of `ProjectionService.wait_for`.
        """
        await wait_until_shown(database_of(self.store), name, saved, timeout, self._by_name)

    def projection(self, name: str) -> AnyProjection:
        """The projection of that name. Raises UnknownProjectionError."""
        found = self._by_name.get(name) if isinstance(name, str) else None
        if found is None:
            raise UnknownProjectionError(name, list(self._by_name))
        return found

    def _settings_of(self, wanted: AggregateSettings) -> AggregateSettings:
        found = self._by_category.get(wanted.category)
        if found is None or found.aggregate is not wanted.aggregate:
            raise UnknownAggregateError(_named(wanted), wanted.category, None if found is None else _named(found))
        return found


@asynccontextmanager
async def _opened(source: StoreSource) -> AsyncGenerator[EventStore]:
    if isinstance(source, EventStore):
        if source.is_open:
            yield source
            return
        async with source:
            yield source
        return
    settings = ConnectSettings(url=source) if isinstance(source, str) else (source or ConnectSettings())
    async with connect(**settings) as store:
        yield store


def _checked_source(source: StoreSource) -> StoreSource:
    if source is None or isinstance(source, EventStore | str):
        return source
    if not isinstance(source, dict):
        raise InvalidArgumentError("store", f"must be a store, a URL or a dict of settings, not {shown(source)}")
    known = ConnectSettings.__optional_keys__
    if unknown := [name for name in source if name not in known]:
        raise InvalidArgumentError(
            "store", f"has unknown settings {shown(unknown)}: perdure.connect takes {', '.join(sorted(known))}"
        )
    return source.copy()


def _listed(argument: str, things: Sequence[T]) -> tuple[T, ...]:
    if isinstance(things, str | bytes) or not isinstance(things, Sequence):
        raise InvalidArgumentError(argument, f"must be a list, not {shown(things)}")
    return tuple(things)


def _by_category(aggregates: Aggregates) -> dict[str, AggregateSettings]:
    found: dict[str, AggregateSettings] = {}
    for one in _listed("aggregates", aggregates):
        if isinstance(one, AggregateSettings):
            settings = one
        elif isinstance(one, Decider) or (isinstance(one, type) and issubclass(one, AggregateRoot)):
            settings = AggregateSettings(one)
        else:
            raise InvalidArgumentError(
                "aggregates", f"holds {shown(one)}, which is neither an aggregate class nor a decider"
            )
        if settings.category in found:
            raise InvalidArgumentError(
                "aggregates",
                f"holds two of category {settings.category!r}, {_named(found[settings.category])} and "
                f"{_named(settings)}: only one can own its streams",
            )
        found[settings.category] = settings
    return found


def _repository(settings: AggregateSettings, store: EventStore) -> Repository[Any] | DeciderRepository[Any, Any]:
    retry, every, queued, cached = (
        settings.retry,
        settings.snapshot_every,
        settings.queue_commands,
        settings.cache_size,
    )
    if isinstance(settings.aggregate, Decider):
        return DeciderRepository(
            settings.aggregate, store, retry=retry, snapshot_every=every, queue_commands=queued, cache_size=cached
        )
    return Repository(
        settings.aggregate, store, retry=retry, snapshot_every=every, queue_commands=queued, cache_size=cached
    )


def _named(settings: AggregateSettings) -> str:
    aggregate = settings.aggregate
    return f"the decider of {aggregate.category!r}" if isinstance(aggregate, Decider) else path_of(aggregate)


def _projection(given: object, app: Application[Any]) -> AnyProjection:
    if _is_projection(given):
        return given
    if not callable(given) or (isinstance(given, type) and not _is_projection_class(given)):
        what = "neither a projection nor a function that makes one from the application"
        raise InvalidArgumentError("projections", f"holds {shown(given)}, which is {what}")
    # A class that could do without the application might take it for something else.
    if not can_take(given, 1) or (isinstance(given, type) and can_take(given, 0)):
        fix = f"give an instance, {given.__name__}(...)" if isinstance(given, type) else "let it take the application"
        raise InvalidArgumentError("projections", f"holds {shown(given)}: {fix}")
    made: object = given(app)
    if not _is_projection(made):
        raise InvalidArgumentError("projections", f"holds {shown(given)}, which made {shown(made)}, not a projection")
    return made


def _is_projection(thing: object) -> TypeGuard[AnyProjection]:
    return isinstance(thing, TableProjection | Projection)


def _is_projection_class(thing: type) -> bool:
    return issubclass(thing, TableProjection | Projection)


def _by_name(projections: Sequence[AnyProjection]) -> dict[str, AnyProjection]:
    found: dict[str, AnyProjection] = {}
    for one in projections:
        if one.name in found:
            raise InvalidArgumentError("projections", f"holds two of the name {one.name!r}")
        found[one.name] = one
    return found
