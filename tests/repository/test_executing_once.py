"""Commands that know their name: however often they come, and wherever, they are executed once."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID, uuid4

import pytest
from uuid_utils.compat import uuid7

from perdure import (
    ANY,
    DomainError,
    EventIdReuseError,
    EventStore,
    InMemoryEventStore,
    InvalidArgumentError,
    NewEvent,
    OutcomeUnknownError,
    PostgreSQLEventStore,
    Repository,
    RetryConfig,
    context,
)
from perdure.repository.command_id import CommandId
from tests.repository.accounts import (
    AT_ONCE,
    Account,
    Audited,
    Deposited,
    FaultyStore,
    Opened,
    amounts,
    connection_lost,
)

Accounts = Repository[Account]
COMMAND_IDS = [uuid4(), uuid7(), str(uuid7()), "a client's key", "ключ 💥 '\"\\", "x" * 10_000]


def open_and_fill(account: Account) -> None:
    account.open("ann")
    account.deposit(5)


@pytest.mark.parametrize("command_id", COMMAND_IDS, ids=range(len(COMMAND_IDS)))
async def test_a_repeat_gives_the_first_result_whatever_came_since(
    store: FaultyStore, accounts: Accounts, command_id: UUID | str
) -> None:
    first = await accounts.execute("1", open_and_fill, command_id=command_id)
    assert first is not None
    assert (first.stream_version, first.global_positions) == (2, (1, 2))

    assert await accounts.execute("1", open_and_fill, command_id=command_id) == first
    await store.intrude(Deposited(amount=1))
    await accounts.execute("1", lambda account: account.deposit(2))
    # By now, the rule would forbid it.
    assert await accounts.execute("1", open_and_fill, command_id=command_id) == first

    assert await amounts(store) == [5, 1, 2]


@pytest.fixture(params=[False, True], ids=["each for itself", "queued"])
def accounts(store: FaultyStore, request: pytest.FixtureRequest) -> Repository[Account]:
    return Repository(Account, store, retry=AT_ONCE, queue_commands=request.param)


@pytest.fixture
def elsewhere(store: FaultyStore) -> Accounts:
    """The accounts as another process has them."""
    return Repository(Account, store, retry=AT_ONCE, queue_commands=False)


async def test_a_uuid_and_its_text_are_one_command(accounts: Accounts) -> None:
    command_id = uuid4()

    first = await accounts.execute("1", lambda account: account.open("ann"), command_id=command_id)

    assert await accounts.execute("1", lambda account: account.open("ann"), command_id=str(command_id)) == first


async def test_the_action_isnt_called_again(accounts: Accounts) -> None:
    calls: list[int] = []

    def action(account: Account) -> None:
        calls.append(account.stream_version)
        account.deposit(1)

    for _ in range(3):
        await accounts.execute("1", action, command_id="a")

    assert calls == [0]


async def test_other_commands_and_other_aggregates_are_independent(store: FaultyStore, accounts: Accounts) -> None:
    for aggregate_id, command_id in [("1", "a"), ("1", "b"), ("2", "a"), ("11", "a"), ("1", "1a"), ("1", "a")]:
        await accounts.execute(aggregate_id, lambda account: account.deposit(1), command_id=command_id)

    assert [(await accounts.get(one)).balance for one in ("1", "2", "11")] == [3, 1, 1]
    assert len({stored.event_id for stored in await store.read_all_events()}) == 5


async def test_a_command_that_raised_nothing_is_not_remembered(accounts: Accounts) -> None:
    assert await accounts.execute("1", lambda account: None, command_id="a") is None

    result = await accounts.execute("1", lambda account: account.deposit(1), command_id="a")

    assert result is not None
    assert (await accounts.get("1")).balance == 1


async def test_a_command_that_a_rule_forbade_is_not_remembered(accounts: Accounts) -> None:
    with pytest.raises(DomainError):
        await accounts.execute("1", lambda account: account.deposit(101), command_id="a")

    await accounts.execute("1", lambda account: account.deposit(1), command_id="a")

    assert (await accounts.get("1")).balance == 1


async def test_events_that_a_failed_command_took_back_dont_count(accounts: Accounts) -> None:
    def action(account: Account) -> None:
        with pytest.raises(DomainError):
            account.deposit(101)
        account.deposit(1)

    first = await accounts.execute("1", action, command_id="a")

    assert await accounts.execute("1", action, command_id="a") == first


async def test_a_lost_answer_and_a_repeat_of_the_request(store: FaultyStore, accounts: Accounts) -> None:
    store.after += [connection_lost] * 3
    with pytest.raises(OutcomeUnknownError):
        await accounts.execute("1", open_and_fill, command_id="a")
    await store.intrude(Deposited(amount=1))

    result = await accounts.execute("1", open_and_fill, command_id="a")

    assert result is not None
    assert (result.stream_version, result.global_positions) == (2, (1, 2))
    assert await amounts(store) == [5, 1]


async def test_after_a_conflict_it_is_decided_again_under_the_same_ids(store: FaultyStore, accounts: Accounts) -> None:
    async def intrude(commit: object) -> None:
        await store.intrude()

    store.before.append(intrude)
    result = await accounts.execute("1", lambda account: account.deposit(5), command_id="a")

    assert result is not None
    assert result.stream_version == 2
    assert store.ids(0) == store.ids(1)
    assert await accounts.execute("1", lambda account: account.deposit(5), command_id="a") == result


async def test_the_command_is_the_cause_unless_the_context_has_one(store: FaultyStore, accounts: Accounts) -> None:
    await accounts.execute("1", lambda account: account.deposit(1), command_id="a")
    with context(causation_id="event-7", user_id="ann"):
        await accounts.execute("1", lambda account: account.deposit(1), command_id="b")
    await accounts.execute("1", lambda account: account.deposit(1))

    metadata = [stored.metadata for stored in await store.read_stream("account-1")]
    assert [(one.causation_id, one.user_id) for one in metadata] == [("a", None), ("event-7", "ann"), (None, None)]


@pytest.mark.parametrize("command_id", ["", "a\x00", "\ud800", 5, b"a"])
async def test_what_cant_name_a_command_is_refused(store: FaultyStore, accounts: Accounts, command_id: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="command_id"):
        await accounts.execute("1", lambda account: account.deposit(1), command_id=command_id)

    assert store.attempts == []


# --- Races: another attempt of the same command, at each moment -------------------------------------------------------


async def test_another_attempt_between_deciding_and_saving(
    store: FaultyStore, accounts: Accounts, elsewhere: Accounts
) -> None:
    results: list[Any] = []

    async def another(commit: object) -> None:
        results.append(await elsewhere.execute("1", open_and_fill, command_id="a"))

    store.before.append(another)
    results.append(await accounts.execute("1", open_and_fill, command_id="a"))

    assert results[0] == results[1]
    assert await amounts(store) == [5]


async def test_another_attempt_that_decided_more(store: FaultyStore, accounts: Accounts, elsewhere: Accounts) -> None:
    async def another(commit: object) -> None:
        await store.intrude(Audited())
        await elsewhere.execute("1", open_and_fill, command_id="a")
        await store.intrude(Audited())

    store.before.append(another)
    result = await accounts.execute("1", lambda account: account.open("ann"), command_id="a")

    assert result is not None
    assert (result.stream_version, result.global_positions) == (3, (2, 3))


async def test_another_attempt_that_decided_less(store: FaultyStore, accounts: Accounts, elsewhere: Accounts) -> None:
    async def another(commit: object) -> None:
        await elsewhere.execute("1", lambda account: account.open("ann"), command_id="a")

    store.before.append(another)
    result = await accounts.execute("1", open_and_fill, command_id="a")

    assert result is not None
    assert (result.stream_version, result.global_positions) == (1, (1,))
    assert await amounts(store) == []


async def test_another_attempt_before_deciding_again(
    store: FaultyStore, accounts: Accounts, elsewhere: Accounts
) -> None:
    async def overtaken(commit: object) -> None:
        await store.intrude(Audited())

    async def another() -> None:
        await elsewhere.execute("1", open_and_fill, command_id="a")

    pauses: list[Callable[[], Any]] = [another]

    async def sleep(seconds: float) -> None:
        await pauses.pop()()

    store.before.append(overtaken)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("perdure.repository.saver.sleep", sleep)
        patch.setattr("perdure.repository.command_queue.sleep", sleep)
        result = await accounts.execute("1", open_and_fill, command_id="a")

    assert result is not None
    assert result.stream_version == 3
    assert await amounts(store) == [5]


async def test_an_event_elsewhere_that_has_the_id_is_an_error(store: FaultyStore, accounts: Accounts) -> None:
    taken = CommandId("a", "account-1").event_id(0)
    await store.append_to_stream("account-2", ANY, [NewEvent(Opened(owner="eve"), event_id=taken)])

    with pytest.raises(EventIdReuseError):
        await accounts.execute("1", open_and_fill, command_id="a")


@asynccontextmanager
async def two_of(kind: str, url: str) -> AsyncIterator[list[EventStore]]:
    """Two stores on one log, as two processes have them."""
    if kind == "memory":
        store = InMemoryEventStore()
        yield [store, store]
    else:
        async with PostgreSQLEventStore(url) as one, PostgreSQLEventStore(url) as two:
            yield [one, two]


@pytest.mark.parametrize("queues", [(False, False), (True, True), (True, False)], ids=str)
@pytest.mark.parametrize("kind", ["memory", "postgresql"])
async def test_of_many_attempts_at_once_one_takes_effect_and_all_get_its_result(
    kind: str, queues: tuple[bool, bool], database_url: str
) -> None:
    async with two_of(kind, database_url) as stores:
        retry = RetryConfig(max_attempts=50, max_seconds=600, base_delay=0.001)
        both = [
            Repository(Account, store, retry=retry, snapshot_every=3, queue_commands=is_queued)
            for store, is_queued in zip(stores, queues, strict=True)
        ]
        barrier = asyncio.Barrier(20)

        async def attempt(number: int) -> Any:
            await barrier.wait()
            command_id = f"command {number // 2 % 5}"
            return command_id, await both[number % 2].execute(
                "1", lambda account: account.deposit(1, note=command_id), command_id=command_id
            )

        results = await asyncio.gather(*map(attempt, range(20)))

        account = await both[0].get("1")
        assert sorted(account.notes) == [f"command {n}" for n in range(5)]
        assert account.balance == 5
        assert len({(name, result.global_position) for name, result in results}) == 5
        assert {result.stream_version for _, result in results} == {1, 2, 3, 4, 5}


# --- Ids --------------------------------------------------------------------------------------------------------------


async def test_the_store_compares_no_contents_under_the_id_of_a_command(store: FaultyStore) -> None:
    account = Account("1")
    account.deposit(1)
    CommandId("a", account.stream_id).claim(account.uncommitted_events)

    assert [one.is_derived for one in store.encode(account.stream_id, 0, account.uncommitted_events).events] == [True]


def test_ids_are_uuids_of_version_8_that_follow_from_the_command() -> None:
    ids = [
        CommandId(command_id, stream_id).event_id(number)
        for command_id in ("a", "b", uuid4())
        for stream_id in ("account-1", "account-2")
        for number in range(3)
    ]

    assert len({*ids}) == 18
    assert {(one.version, one.variant) for one in ids} == {(8, "specified in RFC 4122")}
    # For ever: what was written by an earlier version of Perdure is found by them.
    assert CommandId("a", "account-1").event_id(0) == UUID("76b71692-8468-8a19-b9d9-21039beb54ff")


@pytest.mark.parametrize("form", [UUID, str])
def test_ids_of_a_command_with_a_time_stand_where_that_time_is_in_the_index(form: Any) -> None:
    commands = [uuid7() for _ in range(5)]

    ids = [CommandId(form(str(one)), "account-1").event_id(0) for one in commands]

    assert [one.bytes[:6] for one in ids] == [one.bytes[:6] for one in commands]
    assert len({*ids}) == 5
