"""`Application`: a store, its aggregates, projections and reactions, with their settings, in one object."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Generic, TypeAlias, TypedDict, TypeVar, Unpack, cast, overload

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
from perdure.follower import Follower
from perdure.projection import AnyProjection, Projection, TableProjection
from perdure.projections.runtime.progress import Saved, wait_until_shown
from perdure.projections.service import ProjectionService
from perdure.reaction import Reaction
from perdure.relay import Relay
from perdure.repository import AggregateSettings, DeciderRepository, Repository, RetryConfig
from perdure.store import EventStore
from perdure.stores.connect import ConnectSettings, connect
from perdure.stores.postgres.connections.database import database_of
from perdure.stores.postgres.store import PostgreSQLEventStore

A = TypeVar("A", bound=AggregateRoot)
C = TypeVar("C")
F = TypeVar("F", bound=Follower)
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
Reactions: TypeAlias = Sequence[Reaction | Relay | Callable[["Application[Store_co]"], Reaction | Relay]]
"""Reactions and relays, and what makes one for the application: its class, or a function."""


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
    """A store, the aggregates in it, and the projections and reactions that follow it. Making one connects to nothing.

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
        reactions: what `projection_service` runs, too. They are given in the same ways.

    Raises:
        InvalidArgumentError: one of them is of another type, two aggregates have the same category, or two projections
            or reactions the same name.
        AggregateDefinitionError: an aggregate has no category.
        Whatever a function that makes a projection or reaction raises.

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
        reactions: Reactions[PostgreSQLEventStore] = (),
    ) -> None: ...
    @overload
    def __init__(
        self,
        store: Store_co,
        *,
        aggregates: Aggregates = (),
        projections: Projections[Store_co] = (),
        reactions: Reactions[Store_co] = (),
    ) -> None: ...
    def __init__(
        self,
        store: StoreSource = None,
        *,
        aggregates: Aggregates = (),
        projections: Projections[Any] = (),
        reactions: Reactions[Any] = (),
    ) -> None:
        self.store_source: StoreSource = _checked_source(store)
        """Where the events are, as it was given."""
        self._by_category = _by_category(aggregates)
        self.aggregates = tuple(one.aggregate for one in self._by_category.values())
        """Classes of aggregates, and deciders."""
        self._store: Store_co | None = None
        self._repositories: dict[str, Repository[Any] | DeciderRepository[Any, Any]] = {}
        self._is_taken = False
        self.projections: tuple[AnyProjection, ...] = ()  # empty to the functions that make them
        """What keeps read models up to date."""
        self.reactions: tuple[Reaction | Relay, ...] = ()
        """What is done outside once events are stored."""
        self._by_name: dict[str, Follower] = {}
        made: list[Any] = [_made("projections", one, self) for one in _listed("projections", projections)]
        reacting: list[Any] = [_made("reactions", one, self) for one in _listed("reactions", reactions)]
        self._by_name = _by_name(made, reacting)
        self.projections, self.reactions = tuple(made), tuple(reacting)

    def __repr__(self) -> str:
        names = ", ".join([*self._by_category, *self._by_name]) or "nothing"
        state = "not connected" if self._store is None else f"connected to {type(self._store).__name__}"
        return f"<Application of {names}, {state}>"

    @property
    def categories(self) -> Sequence[str]:
        """The categories of the aggregates' streams."""
        return list(self._by_category)

    @property
    def followers(self) -> tuple[Follower, ...]:
        """What `projection_service` runs: projections and reactions."""
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
        """A service that runs the projections and reactions on the open store, or only those of these names.

        Raises:
            UnknownProjectionError: there is no projection or reaction of such a name.
            WrongContextError: the application isn't connected.
            ProjectionDefinitionError, UnsupportedOperationError: as with `ProjectionService`.
        """
        chosen = self.followers if names is None else [_named(one, self.followers) for one in _listed("names", names)]
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
        return _named(name, self.projections)

    def reaction(self, name: str) -> Reaction | Relay:
        """The reaction or relay of that name. Raises UnknownProjectionError."""
        return _named(name, self.reactions)

    def _settings_of(self, wanted: AggregateSettings) -> AggregateSettings:
        found = self._by_category.get(wanted.category)
        if found is None or found.aggregate is not wanted.aggregate:
            raise UnknownAggregateError(_label(wanted), wanted.category, None if found is None else _label(found))
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
                f"holds two of category {settings.category!r}, {_label(found[settings.category])} and "
                f"{_label(settings)}: only one can own its streams",
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


def _label(settings: AggregateSettings) -> str:
    aggregate = settings.aggregate
    return f"the decider of {aggregate.category!r}" if isinstance(aggregate, Decider) else path_of(aggregate)


_CLASSES: Final[dict[str, tuple[str, tuple[type, ...]]]] = {
    "projections": ("projection", (TableProjection, Projection)),
    "reactions": ("reaction", (Reaction, Relay)),
}
"""For each argument what it holds, and of which classes that is."""


def _made(argument: str, given: object, app: Application[Any]) -> Follower:
    noun, classes = _CLASSES[argument]
    if isinstance(given, classes):
        return cast("Follower", given)
    if not callable(given) or (isinstance(given, type) and not issubclass(given, classes)):
        what = f"neither a {noun} nor a function that makes one from the application"
        raise InvalidArgumentError(argument, f"holds {shown(given)}, which is {what}")
    # A class that could do without the application might take it for something else.
    if not can_take(given, 1) or (isinstance(given, type) and can_take(given, 0)):
        fix = f"give an instance, {given.__name__}(...)" if isinstance(given, type) else "let it take the application"
        raise InvalidArgumentError(argument, f"holds {shown(given)}: {fix}")
    make: Callable[[Application[Any]], object] = given
    made = make(app)
    if not isinstance(made, classes):
        raise InvalidArgumentError(argument, f"holds {shown(given)}, which made {shown(made)}, not a {noun}")
    return cast("Follower", made)


def _by_name(projections: Sequence[Follower], reactions: Sequence[Follower]) -> dict[str, Follower]:
    found: dict[str, Follower] = {}
    for argument, followers in (("projections", projections), ("reactions", reactions)):
        for one in followers:
            if one.name in found:
                raise InvalidArgumentError(argument, f"holds two of the name {one.name!r}")
            found[one.name] = one
    return found


def _named(name: str, followers: Sequence[F]) -> F:
    found = next((one for one in followers if one.name == name), None)
    if found is None:
        raise UnknownProjectionError(name, [one.name for one in followers])
    return found
