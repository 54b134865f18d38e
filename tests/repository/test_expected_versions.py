"""Commands for the version that their caller has seen, as with HTTP's If-Match."""

import asyncio
from typing import Any

import pytest

from perdure import (
    ANY,
    NO_STREAM,
    STREAM_EXISTS,
    AppendResult,
    DeciderRepository,
    InvalidArgumentError,
    OutcomeUnknownError,
    Repository,
    StaleVersionError,
)
from perdure.commit import Commit
from tests.repository.accounts import (
    Account,
    Audited,
    FaultyStore,
    Gate,
    QueueingStore,
    amounts,
    connection_lost,
    deposit,
    outcomes,
    settle,
)
from tests.repository.carts import AddItem, cart_decider

Accounts = Repository[Account]


@pytest.fixture(params=[FaultyStore, QueueingStore], ids=["each for itself", "queued"])
def store(request: pytest.FixtureRequest) -> FaultyStore:
    made: FaultyStore = request.param()
    return made


async def test_a_command_for_another_version_is_refused_before_it_is_decided(
    store: FaultyStore, accounts: Accounts, pauses: list[float]
) -> None:
    await store.intrude(Audited(), Audited())
    calls: list[Account] = []

    with pytest.raises(StaleVersionError, match="'account-1' is at version 2, but the caller has seen 1: ") as caught:
        await accounts.execute("1", calls.append, expected_version=1)

    error = caught.value
    assert (error.stream_id, error.expected_version, error.actual_version) == ("account-1", 1, 2)
    assert (calls, store.attempts, pauses) == ([], [], [])


async def test_a_version_that_the_stream_never_had_is_refused_as_such(store: FaultyStore, accounts: Accounts) -> None:
    await store.intrude(Audited(), Audited())

    with pytest.raises(StaleVersionError, match="is at version 2, and has never been at 5, which the caller"):
        await accounts.execute("1", deposit(1), expected_version=5)


@pytest.mark.parametrize("expected", [2, STREAM_EXISTS, ANY])
async def test_a_command_for_this_version_is_executed(store: FaultyStore, accounts: Accounts, expected: Any) -> None:
    await store.intrude(Audited(), Audited())

    assert await accounts.execute("1", deposit(1), expected_version=expected) == AppendResult("account-1", 3, (3,))


async def test_a_stream_that_must_be_new_or_must_exist(store: FaultyStore, accounts: Accounts) -> None:
    with pytest.raises(StaleVersionError, match="at version 0, but the caller expects STREAM_EXISTS"):
        await accounts.execute("1", deposit(1), expected_version=STREAM_EXISTS)
    await accounts.execute("1", deposit(1), expected_version=NO_STREAM)
    with pytest.raises(StaleVersionError):
        await accounts.execute("1", deposit(1), expected_version=NO_STREAM)

    assert await amounts(store) == [1]


async def test_a_repeat_of_a_request_that_succeeded_gets_its_result(store: FaultyStore, accounts: Accounts) -> None:
    first = await accounts.execute("1", deposit(1), expected_version=0, command_id="a")

    assert await accounts.execute("1", deposit(1), expected_version=0, command_id="a") == first
    with pytest.raises(StaleVersionError):
        await accounts.execute("1", deposit(1), expected_version=0, command_id="b")


@pytest.mark.parametrize("command_id", [None, "a"])
async def test_a_conflict_with_the_expected_version_is_raised_at_once(
    store: FaultyStore, accounts: Accounts, pauses: list[float], command_id: str | None
) -> None:
    async def intrude(commit: Commit) -> None:
        await store.intrude(Audited())

    store.before.append(intrude)
    with pytest.raises(StaleVersionError) as caught:
        await accounts.execute("1", deposit(1), expected_version=0, command_id=command_id)

    assert (caught.value.expected_version, caught.value.actual_version) == (0, 1)
    assert (len(store.attempts), pauses) == (1, [])


async def test_a_conflict_that_the_expectation_survives_is_decided_again(
    store: FaultyStore, accounts: Accounts
) -> None:
    await store.intrude(Audited())

    async def intrude(commit: Commit) -> None:
        await store.intrude(Audited())

    store.before.append(intrude)
    result = await accounts.execute("1", deposit(1), expected_version=STREAM_EXISTS)

    assert result == AppendResult("account-1", 3, (3,))


async def test_a_lost_answer_is_repeated(store: FaultyStore, accounts: Accounts) -> None:
    store.after.append(connection_lost)

    result = await accounts.execute("1", deposit(1), expected_version=0)

    assert result == AppendResult("account-1", 1, (1,))
    assert await amounts(store) == [1]


async def test_an_outcome_that_stays_unknown_is_reported_as_such(store: FaultyStore, accounts: Accounts) -> None:
    store.after += [connection_lost] * 3

    with pytest.raises(OutcomeUnknownError):
        await accounts.execute("1", deposit(1), expected_version=0, command_id="a")

    result = await accounts.execute("1", deposit(1), expected_version=0, command_id="a")
    assert result == AppendResult("account-1", 1, (1,))


async def test_of_two_queued_commands_for_one_version_one_wins_and_the_other_is_refused_at_once(
    store: FaultyStore, accounts: Accounts, pauses: list[float]
) -> None:
    results = await outcomes(
        accounts.execute("1", deposit(1), expected_version=0),
        accounts.execute("1", deposit(2), expected_version=0),
        accounts.execute("1", deposit(3)),
    )

    assert results[0] == AppendResult("account-1", 1, (1,))
    assert isinstance(results[1], StaleVersionError)
    assert (results[1].expected_version, results[1].actual_version) == (0, 1)
    assert results[2] == AppendResult("account-1", 2, (2,))
    assert pauses == []


async def test_a_queued_command_whose_batch_meets_a_conflict_is_refused_and_the_others_go_on(
    store: FaultyStore, accounts: Accounts
) -> None:
    gate = Gate()
    store.before.append(gate)
    first = asyncio.create_task(accounts.execute("1", deposit(1)))
    await gate.reached.wait()
    later = [
        asyncio.create_task(accounts.execute("1", deposit(2), expected_version=1)),
        asyncio.create_task(accounts.execute("1", deposit(3))),
        asyncio.create_task(accounts.execute("1", deposit(4), expected_version=3)),
        asyncio.create_task(accounts.execute("1", deposit(5), expected_version=9)),
    ]
    await settle()

    async def intrude(commit: Commit) -> None:
        await store.intrude(Audited())

    store.before.append(intrude)
    gate.opened.set()
    results = await asyncio.gather(first, *later, return_exceptions=True)

    assert results[0] == AppendResult("account-1", 1, (1,))
    assert isinstance(results[1], StaleVersionError)
    assert (results[1].expected_version, results[1].actual_version) == (1, 2)
    assert results[2] == AppendResult("account-1", 3, (3,))
    assert isinstance(results[3], StaleVersionError)
    assert isinstance(results[4], StaleVersionError)
    assert await amounts(store) == [1, 3]


@pytest.mark.parametrize("expected", [-1, True, "1", 1.0, b"1", 2**31])
async def test_what_cant_be_a_version_is_refused(store: FaultyStore, accounts: Accounts, expected: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="expected_version"):
        await accounts.execute("1", deposit(1), expected_version=expected)

    assert store.attempts == []


async def test_the_same_holds_for_deciders(store: FaultyStore) -> None:
    carts = DeciderRepository(cart_decider, store)
    first = await carts.execute("1", AddItem("a"), expected_version=0, command_id="a")

    assert await carts.execute("1", AddItem("a"), expected_version=0, command_id="a") == first
    with pytest.raises(StaleVersionError):
        await carts.execute("1", AddItem("b"), expected_version=0)
