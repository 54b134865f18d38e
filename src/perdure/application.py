"""`Application`: a store, its aggregates and its projections, named in one place for the command line."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeAlias, TypedDict, TypeVar, Unpack, overload

from perdure.aggregate import AggregateRoot
from perdure.async_block import async_block
from perdure.decider import Decider
from perdure.errors import InvalidArgumentError, UnknownProjectionError, WrongContextError
from perdure.errors.formats import shown
from perdure.events import check_stream_id
from perdure.projection import AnyProjection, Projection, TableProjection
from perdure.projections.runtime.progress import Saved, wait_until_shown
from perdure.projections.service import ProjectionService
from perdure.repository import DeciderRepository, Repository, RetryConfig
from perdure.store import EventStore
from perdure.stores.connect import ConnectSettings, connect
from perdure.stores.postgres.connections.database import database_of

A = TypeVar("A", bound=AggregateRoot)
C = TypeVar("C")
S = TypeVar("S")
T = TypeVar("T")

StoreSource: TypeAlias = EventStore | str | ConnectSettings | None
"""A store, a URL, the arguments of `perdure.connect`, or None for what that finds without any."""


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


class Application:
    """A store, the aggregates in it and the projections of it. Making one connects to nothing.

    Keep it in a variable of a module: the command line finds it there, ``perdure --app shop.main:app run``.

    Args:
        store: a URL, the arguments of `perdure.connect` as a dict, or an `EventStore`; unless given, what `connect`
            finds by itself. A store that isn't open is opened and closed by `connect`; an open one stays open.
        aggregates: classes of aggregates, and deciders.
        projections: what `projection_service` runs.

    Raises:
        InvalidArgumentError: one of them is of another type, two aggregates have the same category, or two projections
            the same name.
        AggregateDefinitionError: an aggregate has no category.

    Example:
        app = Application(aggregates=[User], projections=[UserProfiles()])

        async with app.connect(), app.projection_service():
            saved = await app.repository(User).execute("123", lambda user: user.subscribe_to_plan("premium"))
            await app.wait_for("user_profiles", saved, timeout=2)
    """

    def __init__(
        self,
        store: StoreSource = None,
        *,
        aggregates: Sequence[type[AggregateRoot] | Decider[Any, Any, Any]] = (),
        projections: Sequence[AnyProjection] = (),
    ) -> None:
        self.store_source: StoreSource = _checked_source(store)
        """Where the events are, as it was given."""
        self.aggregates = _listed("aggregates", aggregates)
        """Classes of aggregates, and deciders."""
        self.projections = _listed("projections", projections)
        """What `projection_service` runs."""
        self._by_category = _by_category(self.aggregates)
        self._by_name = _by_name(self.projections)
        self._store: EventStore | None = None
        self._is_taken = False

    @property
    def categories(self) -> Sequence[str]:
        """The categories of the aggregates' streams."""
        return list(self._by_category)

    @property
    def store(self) -> EventStore:
        """The open store. Raises WrongContextError outside `connect`."""
        if self._store is None:
            raise WrongContextError("the application isn't connected: use it inside 'async with app.connect()'")
        return self._store

    @async_block("async with app.connect() as store:")
    async def connect(self, store: StoreSource = None) -> AsyncGenerator[EventStore]:
        """Open the store for the length of an ``async with`` block.

        Args:
            store: a store, a URL or settings to be used instead of the application's own.

        Raises:
            WrongContextError: it is connected already.
            ConfigurationError, StoreUnavailableError, and the others of `perdure.connect`.
        """
        if self._is_taken:
            raise WrongContextError("the application is connected already: share its store")
        self._is_taken = True
        try:
            async with _opened(self.store_source if store is None else _checked_source(store)) as opened:
                self._store = opened
                yield opened
        finally:
            self._store, self._is_taken = None, False

    @overload
    def repository(
        self, aggregate: type[A], *, retry: RetryConfig | None = None, snapshot_every: int | None = None
    ) -> Repository[A]: ...
    @overload
    def repository(
        self, aggregate: Decider[C, Any, S], *, retry: RetryConfig | None = None, snapshot_every: int | None = None
    ) -> DeciderRepository[C, S]: ...
    def repository(
        self,
        aggregate: type[AggregateRoot] | Decider[Any, Any, Any],
        *,
        retry: RetryConfig | None = None,
        snapshot_every: int | None = None,
    ) -> Repository[Any] | DeciderRepository[Any, Any]:
        """A repository of one of the aggregates, in the open store. The settings are those of `Repository`.

        Raises:
            InvalidArgumentError: it isn't one of the application's aggregates.
            WrongContextError: the application isn't connected.
        """
        if aggregate not in self.aggregates:
            raise InvalidArgumentError("aggregate", f"is {shown(aggregate)}, which isn't in the application: add it")
        if isinstance(aggregate, Decider):
            return DeciderRepository(aggregate, self.store, retry=retry, snapshot_every=snapshot_every)
        return Repository(aggregate, self.store, retry=retry, snapshot_every=snapshot_every)

    def aggregate_of(self, stream_id: str) -> type[AggregateRoot] | None:
        """Return the aggregate class of a stream; for a decider, the class made from it; None if there is none."""
        check_stream_id(stream_id)
        found = self._by_category.get(stream_id.partition("-")[0])
        return found.aggregate_class if isinstance(found, Decider) else found

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


def _by_category(
    aggregates: Sequence[type[AggregateRoot] | Decider[Any, Any, Any]],
) -> dict[str, type[AggregateRoot] | Decider[Any, Any, Any]]:
    found: dict[str, type[AggregateRoot] | Decider[Any, Any, Any]] = {}
    for one in aggregates:
        if isinstance(one, Decider):
            category = one.category
        elif isinstance(one, type) and issubclass(one, AggregateRoot):
            category = one.stream_category()
        else:
            raise InvalidArgumentError(
                "aggregates", f"holds {shown(one)}, which is neither an aggregate class nor a decider"
            )
        if category in found:
            raise InvalidArgumentError("aggregates", f"holds two of category {category!r}: one owns its streams")
        found[category] = one
    return found


def _by_name(projections: Sequence[AnyProjection]) -> dict[str, AnyProjection]:
    found: dict[str, AnyProjection] = {}
    for one in projections:
        if not isinstance(one, TableProjection | Projection):
            raise InvalidArgumentError("projections", f"holds {shown(one)}: give instances, as in [MyProjection()]")
        if one.name in found:
            raise InvalidArgumentError("projections", f"holds two of the name {one.name!r}")
        found[one.name] = one
    return found
