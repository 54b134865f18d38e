"""Snapshots: taken now and then, used when they fit, and never to be noticed otherwise."""

import asyncio
import logging
import os
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import attrs
import msgspec
import pytest

from perdure import (
    AggregateDefinitionError,
    AggregateRoot,
    DomainError,
    EventEncodingError,
    EventStore,
    InMemoryEventStore,
    InvalidArgumentError,
    PostgreSQLEventStore,
    Repository,
    RetryConfig,
    event,
    field,
    handles,
)
from perdure.repository import snapshotter as snapshot_writing
from perdure.repository.state_codec import StateCodec
from perdure.snapshot import Snapshot
from tests.repository.accounts import AT_ONCE, Account, Audited, Deposited, FaultyStore, Opened
from tests.repository.test_transactions import CountingTransaction

Accounts = Repository[Account]


@pytest.fixture
def accounts(store: FaultyStore) -> Accounts:
    return Repository(Account, store, retry=AT_ONCE, snapshot_every=3)


async def deposit(accounts: Accounts, count: int = 1, aggregate_id: str = "1") -> None:
    for _ in range(count):
        await accounts.execute(aggregate_id, lambda account: account.deposit(1, "x"))


async def version_of(store: EventStore, stream_id: str = "account-1") -> int | None:
    """The version of the stream's snapshot."""
    snapshot = await store.read_snapshot(stream_id)
    return None if snapshot is None else snapshot.stream_version


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The versions of the stored events that accounts apply."""
    versions: list[int] = []
    apply = Account.apply_stored_event

    def watched(self: Account, stored: Any) -> None:
        versions.append(stored.stream_version)
        apply(self, stored)

    monkeypatch.setattr(Account, "apply_stored_event", watched)
    return versions


# --- When -------------------------------------------------------------------------------------------------------------


async def test_a_snapshot_is_taken_each_time_that_so_many_events_came(store: FaultyStore, accounts: Accounts) -> None:
    versions = []
    for _ in range(8):
        await deposit(accounts)
        versions.append(await version_of(store))

    assert versions == [None, None, 3, 3, 3, 6, 6, 6]


async def test_a_commit_that_jumps_over_the_mark_takes_one(store: FaultyStore, accounts: Accounts) -> None:
    account = Account("1")
    for _ in range(10):
        account.deposit(1)
    await accounts.save(account)
    account.deposit(1)
    await accounts.save(account)

    assert await version_of(store) == 10
    assert account.snapshot_version == 10


async def test_loading_replays_what_came_after_it(accounts: Accounts, replayed: list[int]) -> None:
    await deposit(accounts, 5)
    replayed.clear()

    account = await accounts.get("1")

    assert replayed == [4, 5]
    assert (account.stream_version, account.committed_version, account.snapshot_version) == (5, 5, 3)
    assert (account.balance, account.notes) == (5, ["x"] * 5)


async def test_without_the_setting_there_are_none(store: FaultyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    async def unexpected(*arguments: object) -> Any:
        raise AssertionError("snapshots are off")

    monkeypatch.setattr(store, "read_snapshot", unexpected)
    monkeypatch.setattr(store, "write_snapshot", unexpected)

    await deposit(Repository(Account, store), 20)


async def test_where_they_are_switched_on_late_the_next_commit_takes_one(store: FaultyStore) -> None:
    await deposit(Repository(Account, store), 10)
    accounts = Repository(Account, store, snapshot_every=3)
    await accounts.get("1")
    assert await version_of(store) is None  # loading writes nothing

    await deposit(accounts)

    assert await version_of(store) == 11


async def test_saving_with_retry_takes_one_of_what_was_saved(store: FaultyStore, accounts: Accounts) -> None:
    account = Account("1")
    account.deposit(1)
    account.deposit(2)
    await store.intrude(Deposited(amount=10))

    await accounts.save_with_retry(account)

    assert (await version_of(store), account.snapshot_version) == (3, 3)
    assert (await accounts.get("1")).balance == 13


async def test_saving_nothing_takes_none(store: FaultyStore, accounts: Accounts) -> None:
    await store.intrude(*[Audited()] * 5)

    await accounts.execute("1", lambda account: None)

    assert await version_of(store) is None


async def test_in_a_callers_transaction_none_is_taken_but_by_the_next_commit(
    store: FaultyStore, accounts: Accounts
) -> None:
    account = Account("1")
    for _ in range(3):
        account.deposit(1)
    tx = CountingTransaction()
    await accounts.save(account, tx=tx)
    tx.commit()
    assert await version_of(store) is None

    await deposit(accounts)

    assert await version_of(store) == 4


async def test_a_decision_on_a_snapshot_meets_conflicts_as_ever(store: FaultyStore, accounts: Accounts) -> None:
    await deposit(accounts, 3)

    async def intrude(commit: object) -> None:
        await store.intrude(Deposited(amount=90))

    store.before.append(intrude)
    with pytest.raises(DomainError, match="too much"):
        await accounts.execute("1", lambda account: account.deposit(10))

    assert accounts.conflicts_retried == 1


async def test_one_that_somebody_else_took_meanwhile_is_not_taken_again(store: FaultyStore, accounts: Accounts) -> None:
    written: list[Snapshot] = []
    write_snapshot = store.write_snapshot

    async def watched(snapshot: Snapshot) -> None:
        written.append(snapshot)
        await write_snapshot(snapshot)

    async def somebody_else(commit: object) -> None:
        last = (await store.read_stream("account-1"))[-1]
        codec = StateCodec(Account)
        state = codec.encode(await Repository(Account, store).get("1"))
        await write_snapshot(Snapshot("account-1", 3, last.event_id, codec.version, codec.shape, state))

    await deposit(accounts, 2)
    store.after.append(somebody_else)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(store, "write_snapshot", watched)
        await deposit(accounts)

    assert written == []
    assert (await accounts.get("1")).snapshot_version == 3


# --- What a snapshot tells is what the events tell --------------------------------------------------------------------


async def test_what_was_raised_while_saving_is_not_in_it(store: FaultyStore, accounts: Accounts) -> None:
    account = Account("1")

    async def meanwhile(commit: object) -> None:
        account.deposit(50, "later")

    for _ in range(3):
        account.deposit(1)
    store.before.append(meanwhile)
    await accounts.save(account)

    assert await version_of(store) == 3
    assert (await accounts.get("1")).balance == 3


@event("account.weighed")
class Weighed:
    grams: float


class Scales(AggregateRoot, category="scales"):
    last: Any = None

    @handles
    def _weighed(self, event: Weighed) -> None:
        self.last = event.grams


async def test_what_a_handler_took_before_it_was_stored_is_not_in_it(store: FaultyStore) -> None:
    scales = Repository(Scales, store, snapshot_every=1)

    await scales.execute("1", lambda one: one.raise_event(Weighed(grams=5)))  # a whole number, stored as a float

    assert await version_of(store, "scales-1") == 1
    assert repr((await scales.get("1")).last) == "5.0"


async def test_what_would_come_back_as_something_else_is_not_taken(
    store: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    class Counting(AggregateRoot, category="account"):
        by_owner: dict[str, int] = field(default_factory=lambda: defaultdict(int))

        @handles
        def _opened(self, event: Opened) -> None:
            self.by_owner[event.owner] += 1

    countings = Repository(Counting, store, snapshot_every=1)
    for _ in range(2):
        await countings.execute("1", lambda one: one.raise_event(Opened(owner="ann")))

    assert (await countings.get("1")).by_owner["ann"] == 2
    assert await version_of(store) is None
    assert "'by_owner' would come back as" in caplog.text


async def test_state_that_isnt_annotated_is_not_forgotten_in_silence(
    store: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    class Sloppy(AggregateRoot, category="account"):
        @handles
        def _opened(self, event: Opened) -> None:
            self.owner = event.owner

    sloppy = Repository(Sloppy, store, snapshot_every=1)
    await sloppy.execute("1", lambda one: one.raise_event(Opened(owner="ann")))

    assert (await sloppy.get("1")).owner == "ann"
    assert "the state isn't what is annotated: owner" in caplog.text


class Color(Enum):
    RED = "red"


class Part(msgspec.Struct):
    weight: float
    within: "list[Part]" = []


@dataclass(eq=False)
class Label:
    text: str


@attrs.define(eq=False)
class Shade:
    level: int


class Rich(AggregateRoot, category="rich"):
    when: datetime | None = None
    by: UUID | None = None
    price: Decimal = Decimal(0)
    color: Color = Color.RED
    numbers: set[int] = field(default_factory=set)
    pair: tuple[int, str] = (0, "")
    by_id: dict[UUID, list[Label]] = field(default_factory=dict)
    root: Part | None = None
    ratio: float = 0
    data: bytes = b""
    shade: Shade | None = None
    anything: Any = None


async def test_all_kinds_of_values_come_back(store: FaultyStore) -> None:
    codec = StateCodec(Rich)
    rich, other = Rich("1"), Rich("1")
    rich.by, rich.price, rich.numbers, rich.pair = uuid4(), Decimal("1.10"), {1, 2}, (7, "x")
    rich.when = datetime.fromisoformat("2030-01-01T12:00:00.000001+05:00")
    rich.by_id = {uuid4(): [Label("a"), Label("b")]}
    rich.root, rich.ratio, rich.data = Part(1.5, [Part(2.5)]), 0.5, b"\x00\xff"
    rich.shade, rich.anything = Shade(7), {"deep": [None, True, 1.5]}

    codec.restore(other, codec.encode(rich))

    apart: dict[str, Any] = {"by_id": None, "shade": None}
    assert {**vars(other), **apart} == {**vars(rich), **apart}
    assert other.shade is not None
    assert other.shade.level == 7
    assert [label.text for label in next(iter(other.by_id.values()))] == ["a", "b"]


def test_a_whole_number_may_stand_for_a_float() -> None:
    rich, other = Rich("1"), Rich("1")
    rich.ratio = 2

    StateCodec(Rich).restore(other, StateCodec(Rich).encode(rich))

    assert other.ratio == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pair", [7, "x"]),
        ("numbers", [1, 2]),
        ("anything", datetime(2030, 1, 1)),  # noqa: DTZ001 - any value will do
        ("anything", (1, 2)),
        ("anything", {1: "a"}),
        ("root", Part(1, [Part("heavy")])),  # type: ignore[arg-type]  # the point
        ("ratio", float("nan")),
        ("ratio", Decimal(1)),
        ("by", "text"),
        ("price", True),
    ],
)
def test_values_that_wouldnt_come_back_are_refused(name: str, value: object) -> None:
    rich = Rich("1")
    setattr(rich, name, value)

    with pytest.raises((ValueError, EventEncodingError)):
        StateCodec(Rich).encode(rich)


# --- Classes that can't have snapshots --------------------------------------------------------------------------------


class Opaque:
    pass


class WithOpaque(AggregateRoot, category="opaque"):
    thing: Opaque | None = None


class WithAmbiguous(AggregateRoot, category="ambiguous"):
    thing: "Label | Opaque2 | None" = None


@dataclass
class Opaque2:
    number: int


class WithUnresolved(AggregateRoot, category="unresolved"):
    thing: "Nowhere | None" = None  # type: ignore[name-defined]  # noqa: F821 - the point: it isn't there


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (WithOpaque, "WithOpaque: field 'thing' has type Opaque, which can't be stored"),
        (WithAmbiguous, "WithAmbiguous: field 'thing' can't be stored: .*more than one dataclass"),
        (WithUnresolved, "WithUnresolved: an annotation can't be resolved: name 'Nowhere' is not defined"),
    ],
)
def test_a_state_that_cant_be_stored_is_told_when_the_repository_is_made(
    store: FaultyStore, cls: type[AggregateRoot], reason: str
) -> None:
    Repository(cls, store)
    with pytest.raises(InvalidArgumentError, match=f"snapshot_every can't be used with {reason}"):
        Repository(cls, store, snapshot_every=500)


# --- Best effort ------------------------------------------------------------------------------------------------------


async def fail(snapshot: Snapshot) -> None:
    raise ZeroDivisionError


async def hang(snapshot: Snapshot) -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize("fault", [fail, hang])
async def test_a_failure_is_logged_and_not_tried_again_at_once(
    store: FaultyStore,
    accounts: Accounts,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    fault: Callable[[Snapshot], Any],
) -> None:
    calls: list[int] = []

    async def watched(snapshot: Snapshot) -> None:
        calls.append(snapshot.stream_version)
        await fault(snapshot)

    now = 1000.0
    monkeypatch.setattr(snapshot_writing, "monotonic", lambda: now)
    monkeypatch.setattr(snapshot_writing, "PATIENCE", 0.01)
    with monkeypatch.context() as patch:
        patch.setattr(store, "write_snapshot", watched)
        await deposit(accounts, 6)
        assert calls == [3]
        [record] = caplog.records
        assert (record.name, record.levelno) == ("perdure.repository", logging.WARNING)
        assert "no snapshot of 'account-1' was taken, and none is for 30 s" in record.getMessage()

        now += 31
        await deposit(accounts)
        assert calls == [3, 7]
    now += 31
    await deposit(accounts)

    assert await version_of(store) == 8
    assert (await accounts.get("1")).balance == 8


async def test_cancelled_while_a_snapshot_is_taken_the_events_are_saved(
    store: FaultyStore, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = asyncio.Event()

    async def hang(snapshot: Snapshot) -> None:
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(store, "write_snapshot", hang)
    account = Account("1")
    for _ in range(3):
        account.deposit(1)
    task = asyncio.create_task(accounts.save_with_retry(account))
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert not account.uncommitted_events
    assert await accounts.save(account) is None
    assert await store.stream_version("account-1") == 3


async def test_no_task_is_left_behind(accounts: Accounts) -> None:
    await deposit(accounts, 7)
    await accounts.load("1", at_version=2)

    assert asyncio.all_tasks() == {asyncio.current_task()}


# --- Stale ones -------------------------------------------------------------------------------------------------------


def account_class(body: str, **settings: Any) -> type[AggregateRoot]:
    """An aggregate as the next release has it: the same class in the same place, with other fields."""
    namespace: dict[str, Any] = {"AggregateRoot": AggregateRoot, "handles": handles, "Any": Any}
    namespace |= {"Opened": Opened, "Deposited": Deposited, "settings": settings, "__name__": "next_release"}
    exec(f"class Account(AggregateRoot, category='account', **settings):\n{body}", namespace)
    cls: type[AggregateRoot] = namespace["Account"]
    return cls


OWNER = """
    owner: str | None = None
    @handles
    def _opened(self, event: Opened) -> None:
        self.owner = event.owner
"""
OWNERS = """
    owner: list[str] = ()
    @handles
    def _opened(self, event: Opened) -> None:
        self.owner = [*self.owner, event.owner]
"""
RENAMED = """
    holder: str | None = None
    @handles
    def _opened(self, event: Opened) -> None:
        self.holder = event.owner
"""
WITH_TOTAL = (
    OWNER
    + """
    total: int = 0
    @handles
    def _deposited(self, event: Deposited) -> None:
        self.total += event.amount
"""
)
OTHER_RULE = """
    owner: str | None = None
    @handles
    def _opened(self, event: Opened) -> None:
        self.owner = event.owner.upper()
"""


@pytest.fixture(params=["memory", "postgresql"])
async def any_store(request: pytest.FixtureRequest, database_url: str) -> Any:
    store = InMemoryEventStore() if request.param == "memory" else PostgreSQLEventStore(database_url)
    async with store:
        yield store


@pytest.mark.parametrize(
    ("before", "after", "state"),
    [
        (OWNER, WITH_TOTAL, {"owner": "ann", "total": 6}),
        (WITH_TOTAL, OWNER, {"owner": "ann"}),
        (OWNER, RENAMED, {"holder": "ann"}),
        (OWNER, OWNERS, {"owner": ["ann"]}),
        (OWNERS, OWNER, {"owner": "ann"}),
    ],
    ids=["added", "removed", "renamed", "retyped", "retyped back"],
)
async def test_regression_26_a_snapshot_from_before_a_field_changed_does_no_harm(
    any_store: EventStore, before: str, after: str, state: dict[str, object]
) -> None:
    """protean #1518, AxonFramework #566: the aggregate couldn't be loaded any more, or was wrong."""
    old = Repository(account_class(before), any_store, snapshot_every=1)
    await old.execute("1", lambda one: one.raise_event(Opened(owner="ann")))
    for one in (Deposited(amount=1), Deposited(amount=2), Deposited(amount=3), Audited()):
        await old.execute("1", partial(AggregateRoot.raise_event, event=one))
    assert await version_of(any_store) == 5

    new = Repository(account_class(after), any_store, snapshot_every=3)
    loaded = await new.get("1")
    assert vars(loaded) == state
    assert (loaded.stream_version, loaded.snapshot_version) == (5, 0)  # replayed

    await new.execute("1", lambda one: one.raise_event(Deposited(amount=0)))
    reloaded = await new.get("1")
    assert vars(reloaded) == state
    assert (reloaded.stream_version, reloaded.snapshot_version) == (6, 6)  # rewritten


async def test_regression_26_a_snapshot_from_before_a_rule_changed_is_told_by_the_state_version(
    any_store: EventStore,
) -> None:
    old = Repository(account_class(OWNER), any_store, snapshot_every=1)
    await old.execute("1", lambda one: one.raise_event(Opened(owner="ann")))

    unsaid = Repository(account_class(OTHER_RULE), any_store, snapshot_every=1)
    assert vars(await unsaid.get("1")) == {"owner": "ann"}  # invisible to the hash, as documented
    said = Repository(account_class(OTHER_RULE, state_version=2), any_store, snapshot_every=1)
    assert vars(await said.get("1")) == {"owner": "ANN"}


def test_a_state_has_the_same_shape_in_each_process() -> None:
    """Else snapshots would be of no use after a restart."""
    script = "from tests.repository.test_snapshotter import *; print(StateCodec(Rich).shape)"
    shapes = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(shapes) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("x: list[int] = ()", "x: set[int] = ()"),
        ("x: int = 0", "x: int | None = 0"),
        ("x: dict[str, int] = None", "x: dict[str, float] = None"),
        ("x: int = 0", "y: int = 0"),
    ],
)
def test_shapes_differ_where_types_do(one: str, other: str) -> None:
    assert StateCodec(account_class(f"    {one}")).shape != StateCodec(account_class(f"    {other}")).shape


def test_a_default_is_no_part_of_the_shape() -> None:
    assert StateCodec(account_class("    x: int = 0")).shape == StateCodec(account_class("    x: int = 1")).shape


def test_classes_that_share_a_category_dont_share_snapshots() -> None:
    class Other(Account): ...

    assert StateCodec(Account).shape != StateCodec(Other).shape


@pytest.mark.parametrize("version", [0, -1, True, "2", 1.0, 2**31])
def test_a_state_version_that_cant_be_one_is_refused(version: Any) -> None:
    with pytest.raises(AggregateDefinitionError, match="isn't a state_version: use 1, 2, 3"):
        account_class("    pass", state_version=version)


def test_a_state_version_is_inherited() -> None:
    class Second(Account, state_version=2): ...

    class Child(Second): ...

    assert (Account.state_version, Second.state_version, Child.state_version) == (1, 2, 2)


@pytest.mark.parametrize("state", ["{}", "null", "[1,2]", '"text"', '{"owner":5,"balance":0,"notes":[]}', "[" * 900])
async def test_garbage_is_ignored_and_told(
    store: FaultyStore, accounts: Accounts, state: str, caplog: pytest.LogCaptureFixture
) -> None:
    await deposit(accounts, 3)
    snapshot = await store.read_snapshot("account-1")
    assert snapshot is not None
    await store.write_snapshot(msgspec.structs.replace(snapshot, state=state))

    account = await accounts.get("1")

    assert (account.balance, account.snapshot_version) == (3, 0)
    assert "the snapshot of 'account-1' can't be read" in caplog.text
    await deposit(accounts)
    assert (await accounts.get("1")).snapshot_version == 4


async def test_those_who_race_over_snapshots_all_take_effect(database_url: str) -> None:
    async with PostgreSQLEventStore(database_url) as one, PostgreSQLEventStore(database_url) as two:
        retry = RetryConfig(max_attempts=100, base_delay=0.001)
        both = [Repository(Account, store, retry=retry, snapshot_every=2) for store in (one, two)]

        await asyncio.gather(*[deposit(both[n % 2], 4) for n in range(8)])

        account = await both[0].get("1")
        assert (account.balance, account.stream_version) == (32, 32)
        assert account.snapshot_version > 25
