"""Snapshots that fit no more, or can't be read: they are ignored, and the events are replayed."""

import asyncio
from functools import partial
from typing import Any

import msgspec
import pytest

from perdure import (
    AggregateDefinitionError,
    AggregateRoot,
    EventStore,
    InMemoryEventStore,
    PostgreSQLEventStore,
    Repository,
    RetryConfig,
    handles,
)
from perdure.repository.state_codec import StateCodec
from tests.repository.accounts import Account, Audited, Deposited, FaultyStore, Opened
from tests.repository.snapshotted import Accounts, accounts, deposit, replayed, version_of

__all__ = ["accounts", "replayed"]  # fixtures, which are imported to be found


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
async def test_garbage_is_ignored_and_logged(
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
        retry = RetryConfig(max_attempts=100, max_seconds=600, base_delay=0.001)
        both = [Repository(Account, store, retry=retry, snapshot_every=2) for store in (one, two)]

        await asyncio.gather(*[deposit(both[n % 2], 4) for n in range(8)])

        account = await both[0].get("1")
        assert (account.balance, account.stream_version) == (32, 32)
        assert account.snapshot_version > 25
