"""Whatever is written by whom, and wherever the log is set back to: cached states are what the events make.

Broken caches show that these tests would notice.
"""

import asyncio
from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from perdure import (
    DatabaseError,
    DomainError,
    EventIdReuseError,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
    Repository,
    RetryConfig,
)
from perdure.commit import Commit
from perdure.copies import own_copy
from perdure.repository.aggregate_cache import CachedState, LastEvent
from perdure.repository.cached_loader import CachedLoader
from tests.repository.accounts import Account, Opened
from tests.repository.restored import RestorableStore

IDS = ("1", "2")
FAULTS = (None, None, "refused", "lost before", "lost after")


class Step(NamedTuple):
    """What one caller does."""

    kind: str
    repository: int
    aggregate_id: str
    amount: int


STEPS = st.builds(
    Step,
    st.sampled_from(["execute", "execute", "raise", "nothing", "save", "spoil", "past", "cancel"]),
    st.integers(0, 2),
    st.sampled_from(IDS),
    st.integers(0, 3),
)


class Plan(NamedTuple):
    """Steps that are taken at once, and how much of the log a failover loses after them."""

    steps: list[Step]
    faults: list[str | None]
    lost: int


PLANS = st.lists(
    st.builds(
        Plan,
        st.lists(STEPS, min_size=1, max_size=5),
        st.lists(st.sampled_from(FAULTS), max_size=3),
        st.sampled_from([0, 0, 0, 1, 2, 3]),
    ),
    min_size=1,
    max_size=8,
)


class Setting(NamedTuple):
    size: int
    every: int | None
    queued: bool


SETTINGS = st.builds(Setting, st.integers(1, 2), st.sampled_from([None, 1, 3]), st.booleans())


@settings(max_examples=300, deadline=None)
@given(setting=SETTINGS, plans=PLANS)
def test_what_is_loaded_is_what_the_events_make(setting: Setting, plans: list[Plan]) -> None:
    asyncio.run(_follow(setting, plans))


async def _blind(_self: object, cached: CachedState[Account], _observed: object) -> Account:
    return own_copy(cached.aggregate)


BROKEN: dict[str, tuple[type, str, Callable[..., Any]]] = {
    "without the tail": (CachedLoader, "_continued", _blind),
    "without a look at the last event": (LastEvent, "is_same", lambda _self, _stored: True),
    "without copies": (CachedLoader, "_copy_of", lambda _self, aggregate: aggregate),
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_cache_is_found(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*BROKEN[how])

    @settings(max_examples=300, deadline=None, derandomize=True, phases=[Phase.generate], database=None)
    @given(setting=SETTINGS, plans=PLANS)
    def compare(setting: Setting, plans: list[Plan]) -> None:
        asyncio.run(_follow(setting, plans))

    # Shared states may also let the store refuse event ids that it has.
    with pytest.raises((AssertionError, ExceptionGroup, EventIdReuseError)):
        compare()


async def _follow(setting: Setting, plans: list[Plan]) -> None:
    store = RestorableStore()
    retry = RetryConfig(max_attempts=3, base_delay=0)
    uncached = Repository(Account, store, retry=retry, queue_commands=setting.queued)
    repositories = [uncached] + [
        Repository(
            Account,
            store,
            retry=retry,
            snapshot_every=setting.every,
            queue_commands=setting.queued,
            cache_size=setting.size,
        )
        for _ in range(2)
    ]
    for aggregate_id in IDS:
        await store.append_to_stream(f"account-{aggregate_id}", 0, [Opened(owner="ann")])
    for number, plan in enumerate(plans):
        store.before = [_fault(one) if one in ("refused", "lost before") else None for one in plan.faults]
        store.after = [_fault(one) if one == "lost after" else None for one in plan.faults]
        await asyncio.gather(
            *[_take(repositories[step.repository], step, f"{number}.{at}") for at, step in enumerate(plan.steps)]
        )
        store.before, store.after = [], []
        await _compare(store, repositories)
        if plan.lost:
            end = len(await store.read_all_events())
            store.restore(max(0, end - plan.lost))
            if plan.lost != 2:  # now and then, others write before anybody loads
                await _compare(store, repositories)


def _fault(name: str | None) -> Callable[[Commit], Any]:
    async def fail(commit: Commit) -> None:
        if name == "refused":
            raise DatabaseError("refused", "23514")
        raise OutcomeUnknownError([one.event_id for one in commit.events])

    return fail


async def _take(accounts: Repository[Account], step: Step, note: str) -> None:
    def act(account: Account) -> None:
        if step.kind != "nothing":
            account.deposit(step.amount, note=note)
        if step.kind == "raise":
            raise DomainError("refused")

    try:
        if step.kind in ("save", "spoil"):
            await _spoil(accounts, step, note)
        elif step.kind == "past":
            past = await accounts.load(step.aggregate_id, at_version=step.amount)
            if past is not None:
                past.notes.append("spoilt")
        elif step.kind == "cancel":
            task = asyncio.create_task(accounts.execute(step.aggregate_id, act))
            for _ in range(step.amount):
                await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])
        else:
            await accounts.execute(step.aggregate_id, act)
    except (DomainError, DatabaseError, OutcomeUnknownError, OptimisticConcurrencyError):
        return


async def _spoil(accounts: Repository[Account], step: Step, note: str) -> None:
    """Change what was loaded in every way, saved or not."""
    account = await accounts.load_or_new(step.aggregate_id)
    await asyncio.sleep(0)
    account.deposit(step.amount, note=note)
    if step.kind == "save":
        await accounts.save(account)
    account.notes.append("spoilt")
    account.owner = "me"


async def _compare(store: RestorableStore, repositories: list[Repository[Account]]) -> None:
    for aggregate_id in IDS:
        truth = Account(aggregate_id)
        for stored in await store.read_stream(f"account-{aggregate_id}"):
            truth.apply_stored_event(stored)
        for accounts in repositories:
            loaded = await accounts.load_or_new(aggregate_id)
            assert vars(loaded) == vars(truth)
            assert loaded.stream_version == truth.stream_version
            assert loaded.uncommitted_events == ()
