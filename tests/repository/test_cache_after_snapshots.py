"""Cached states that came from snapshots."""

from datetime import timedelta

from perdure import NewEvent, Repository
from tests.repository.accounts import AT_ONCE, Account, Deposited, Opened
from tests.repository.restored import RestorableStore
from tests.repository.snapshotted import version_of


async def test_a_state_from_a_snapshot_is_verified_like_others_after_the_first_load() -> None:
    """A snapshot names its event by the id alone. An event that was lost and appended again has the same id."""
    store = RestorableStore()
    await store.open()
    event = NewEvent(Deposited(amount=1))
    await store.append_to_stream("account-1", 0, [Opened(owner="ann"), Deposited(amount=1)])
    accounts = Repository(Account, store, retry=AT_ONCE, snapshot_every=3, cache_size=1)
    await accounts.get("1")
    account = await accounts.get("1")
    account.deposit(1)
    account.uncommitted.events[:] = [event]
    await accounts.save(account)
    assert await version_of(store) == 3
    again = Repository(Account, store, retry=AT_ONCE, snapshot_every=3, cache_size=1)
    await again.get("1")
    await again.get("1")

    store.restore(0)
    store._snapshots.clear()  # a failover sets them back, too
    await store.append_to_stream("account-1", 0, [Opened(owner="eve"), Deposited(amount=50)])
    await store.append_to_stream("account-1", 2, [event])
    store._log[-1].recorded_at += timedelta(microseconds=1)  # in case that no time has passed

    account = await again.get("1")
    assert (account.stream_version, account.owner, account.balance) == (3, "eve", 51)
