"""What type checkers see of aggregates, repositories and scenarios. `make types` checks this file; nothing runs it."""

from datetime import datetime
from typing import assert_type
from uuid import UUID

from perdure import (
    AggregateRoot,
    AppendResult,
    DomainError,
    InMemoryEventStore,
    NewEvent,
    Repository,
    RetryConfig,
    StoredEvent,
    StreamAppend,
    command,
    event,
    execute_all,
    field,
    handles,
    save_all,
)
from perdure.testing import FixedClock, Outcome, Scenario, controlled, given


@event("typing.registered")
class Registered:
    email: str
    preferences: list[str]


@event("typing.renamed")
class Renamed:
    name: str


class User(AggregateRoot, category="user"):
    email: str | None = None
    preferences: list[str] = field(default_factory=list)
    by_name: dict[str, list[int]] = field(default_factory=dict)
    seen: set[UUID] = field(default_factory=set)
    moment: datetime = field(default_factory=datetime.now)
    wrong: list[str] = field(default_factory=dict)  # type: ignore[assignment] # pyright: ignore[reportAssignmentType] - the point

    @command
    def register(self, email: str, preferences: list[str], *, notify: bool = False) -> int:
        if self.email is not None:
            raise DomainError("user is already registered")
        self.raise_event(Registered(email=email, preferences=preferences))
        return len(preferences)

    @handles
    def _registered(self, event: Registered) -> None:
        self.email = event.email
        self.preferences = event.preferences

    @handles(Renamed)
    def _renamed(self, event: Renamed) -> None: ...


class Admin(User): ...


class OtherKind(AggregateRoot, category="other"): ...


def an_aggregate_has_typed_state(user: User) -> None:
    assert_type(user.email, str | None)
    assert_type(user.preferences, list[str])
    assert_type(user.stream_version, int)
    assert_type(user.uncommitted_events, tuple[NewEvent, ...])
    User(UUID(int=1))
    User(1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - the point: an id is text or a UUID


def a_command_keeps_its_signature(user: User, admin: Admin) -> None:
    assert_type(user.register("a", ["b"]), int)
    assert_type(admin.register(email="a", preferences=[], notify=True), int)
    user.register("a")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue] - the point: an argument is missing
    user.register(1, [])  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - the point: it is no str
    user.register("a", [], True)  # type: ignore[call-arg] # pyright: ignore[reportCallIssue] - the point: it is a keyword


def a_handler_keeps_its_signature(user: User, renamed: Renamed) -> None:
    user._registered(renamed)  # type: ignore[arg-type] # pyright: ignore - the point: it takes another event


class NoAggregate:
    @command  # type: ignore[type-var] # pyright: ignore[reportArgumentType] - the point: only aggregates have commands
    def run(self) -> None: ...


async def a_repository_knows_its_class(admin: Admin, now: datetime) -> None:
    users = Repository(User, InMemoryEventStore(), retry=RetryConfig(max_attempts=2))
    assert_type(users, Repository[User])
    assert_type(await users.load("1"), User | None)
    assert_type(await users.load("1", at_version=3, at_time=now), User | None)
    assert_type([one async for one in users.history("1")], list[tuple[StoredEvent, User]])
    assert_type(await users.get(UUID(int=1)), User)
    assert_type(await users.save(User("1")), AppendResult | None)
    assert_type(await users.save_with_retry(User("1")), AppendResult | None)
    assert_type(await users.execute("1", lambda user: user.register("a", [])), AppendResult | None)
    assert_type(users.conflicts_retried, int)
    await Repository(Admin, InMemoryEventStore()).save(User("1"))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - the point
    await users.execute("1", lambda user: user.unknown())  # type: ignore[attr-defined] # pyright: ignore - the point


async def aggregates_of_several_classes_are_saved_at_once(user: User, other: OtherKind) -> None:
    store = InMemoryEventStore()

    async def decide() -> list[User]:
        return [user]

    assert_type(await save_all(store, [user, other], conditions={"limit-1": 1}), list[AppendResult | None])
    assert_type(await execute_all(store, decide), list[AppendResult])
    await execute_all(store, decide, command_id=UUID(int=1), fingerprint=b"body")
    await execute_all(store, decide, fingerprint=1)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType] - the point
    await save_all(store, [user, "user-1"])  # type: ignore[list-item] # pyright: ignore[reportArgumentType] - the point
    await execute_all(store, lambda: [user])  # type: ignore[arg-type, return-value] # pyright: ignore - the point: it is asynchronous
    appends = [StreamAppend("user-1", 0, [Renamed(name="a")]), ("user-2", 0, [Renamed(name="b")])]
    assert_type(await store.append_to_streams(appends), list[AppendResult])


def a_scenario_knows_its_class() -> None:
    scenario = given(User("1"), Registered(email="a", preferences=[]))
    assert_type(scenario, Scenario[User])
    outcome = scenario.when(lambda user: user.register("a", []))
    assert_type(outcome, Outcome[User])
    assert_type(outcome.then_raises(DomainError, match="already"), Outcome[User])
    assert_type(outcome.aggregate.email, str | None)
    with controlled() as clock:
        assert_type(clock, FixedClock)
