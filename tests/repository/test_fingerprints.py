"""Command ids that come again with another command: told apart by fingerprints, wherever they come from."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel

from perdure import (
    AppendResult,
    CommandIdReuseError,
    Decider,
    DeciderRepository,
    EventStore,
    InvalidArgumentError,
    OutcomeUnknownError,
    Repository,
    StoreUnavailableError,
    context,
)
from perdure.commit import Commit
from perdure.repository.fingerprint import encoded_command
from tests.repository.accounts import (
    AT_ONCE,
    Account,
    Audited,
    Deposited,
    FaultyStore,
    Gate,
    QueueingStore,
    amounts,
    connection_lost,
    deposit,
    outcomes,
    settle,
)
from tests.repository.carts import AddItem, CartEvent, ItemAdded, Look, Pay, cart_decider

Accounts = Repository[Account]
Prints = bytes | str | None


@pytest.fixture(params=[FaultyStore, QueueingStore], ids=["each for itself", "queued"])
def store(request: pytest.FixtureRequest) -> FaultyStore:
    made: FaultyStore = request.param()
    return made


@pytest.fixture
def elsewhere(store: FaultyStore) -> Accounts:
    """The accounts as another process has them."""
    return Repository(Account, store, retry=AT_ONCE, queue_commands=False)


async def stored_headers(store: EventStore) -> list[dict[str, str]]:
    return [dict(stored.metadata.headers) for stored in await store.read_all_events()]


async def test_another_fingerprint_under_a_known_id_is_an_error_and_nothing_is_done(
    store: FaultyStore, accounts: Accounts
) -> None:
    first = await accounts.execute("1", deposit(5), command_id="a", fingerprint="receive 5")
    calls: list[Account] = []

    with pytest.raises(CommandIdReuseError, match="command id 'a' belongs to another command") as caught:
        await accounts.execute("1", calls.append, command_id="a", fingerprint="receive 99")

    assert (caught.value.stream_id, caught.value.command_id) == ("account-1", "a")
    assert calls == []
    assert await accounts.execute("1", deposit(5), command_id="a", fingerprint=b"receive 5") == first
    assert await amounts(store) == [5]


@pytest.mark.parametrize(("first", "again"), [(None, None), (None, "x"), ("x", None)])
async def test_where_either_has_no_fingerprint_nothing_is_compared(
    accounts: Accounts, first: Prints, again: Prints
) -> None:
    result = await accounts.execute("1", deposit(5), command_id="a", fingerprint=first)

    assert await accounts.execute("1", deposit(9), command_id="a", fingerprint=again) == result


async def test_the_first_event_has_the_hash_of_the_fingerprint_beside_the_callers_headers(
    store: FaultyStore, accounts: Accounts
) -> None:
    def twice(account: Account) -> None:
        account.deposit(1)
        account.deposit(2)

    with context(headers={"host": "a"}):
        await accounts.execute("1", twice, command_id="a", fingerprint="ключ")

    digest = hashlib.sha256("ключ".encode()).hexdigest()
    assert await stored_headers(store) == [{"host": "a", "command-fingerprint": digest}, {"host": "a"}]


async def test_a_fingerprint_that_a_follower_passes_on_with_the_headers_isnt_that_of_its_command(
    store: FaultyStore, accounts: Accounts
) -> None:
    """A process manager runs in the headers of the event that it handles, which was raised by another command."""
    with context(headers={"host": "a", "command-fingerprint": "of another command"}):
        first = await accounts.execute("1", deposit(1), command_id="a")

    assert await stored_headers(store) == [{"host": "a"}]
    assert await accounts.execute("1", deposit(1), command_id="a", fingerprint="x") == first


async def test_a_command_without_events_leaves_no_fingerprint(accounts: Accounts) -> None:
    assert await accounts.execute("1", lambda account: None, command_id="a", fingerprint="x") is None

    assert await accounts.execute("1", deposit(1), command_id="a", fingerprint="y") is not None


@pytest.mark.parametrize("fingerprint", [5, True, ["x"], {}, bytearray(b"x"), "\ud800"])
async def test_what_cant_be_a_fingerprint_is_refused(store: FaultyStore, accounts: Accounts, fingerprint: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="fingerprint"):
        await accounts.execute("1", deposit(1), command_id="a", fingerprint=fingerprint)

    assert store.attempts == []


async def test_the_refusal_shows_nothing_of_the_request(accounts: Accounts) -> None:
    body: Any = {"card": "4111 1111"}

    with pytest.raises(InvalidArgumentError, match="must be bytes or text, not dict") as refused:
        await accounts.execute("1", deposit(1), command_id="a", fingerprint=body)

    assert "4111" not in str(refused.value)


async def test_a_fingerprint_without_an_id_is_refused(store: FaultyStore, accounts: Accounts) -> None:
    with pytest.raises(InvalidArgumentError, match="without a command_id"):
        await accounts.execute("1", deposit(1), fingerprint="x")

    assert store.attempts == []


# --- Races: another process has executed another command with the id --------------------------------------------------


@pytest.mark.parametrize("amount", [5, 7], ids=["the same events", "other events"])
async def test_another_command_with_the_id_between_deciding_and_saving(
    store: FaultyStore, accounts: Accounts, elsewhere: Accounts, amount: int
) -> None:
    """Where it stands is where ours would stand, so the store takes ours for a repeat."""

    async def another(commit: Commit) -> None:
        await elsewhere.execute("1", deposit(amount), command_id="a", fingerprint="theirs")

    store.before.append(another)
    with pytest.raises(CommandIdReuseError):
        await accounts.execute("1", deposit(5), command_id="a", fingerprint="ours")

    assert await amounts(store) == [amount]


async def test_another_command_with_the_id_elsewhere_in_the_stream(
    store: FaultyStore, accounts: Accounts, elsewhere: Accounts
) -> None:
    async def another(commit: Commit) -> None:
        await store.intrude(Audited())
        await elsewhere.execute("1", deposit(5), command_id="a", fingerprint="theirs")

    store.before.append(another)
    with pytest.raises(CommandIdReuseError):
        await accounts.execute("1", deposit(5), command_id="a", fingerprint="ours")


@pytest.mark.parametrize("fingerprint", [None, "x"])
async def test_another_attempt_that_decided_more_at_the_same_place(
    store: FaultyStore, accounts: Accounts, elsewhere: Accounts, fingerprint: Prints
) -> None:
    def more(account: Account) -> None:
        account.open("ann")
        account.deposit(5)

    async def another(commit: Commit) -> None:
        await elsewhere.execute("1", more, command_id="a", fingerprint=fingerprint)

    store.before.append(another)
    result = await accounts.execute("1", lambda account: account.open("ann"), command_id="a", fingerprint=fingerprint)

    assert result == AppendResult("account-1", 2, (1, 2))


async def test_of_queued_commands_only_the_one_with_the_other_fingerprint_fails(
    store: FaultyStore, accounts: Accounts, elsewhere: Accounts
) -> None:
    async def another(commit: Commit) -> None:
        for name in "ab":
            await elsewhere.execute("1", deposit(1), command_id=name, fingerprint=f"theirs {name}")

    store.before.append(another)
    results = await outcomes(
        accounts.execute("1", deposit(1), command_id="a", fingerprint="theirs a"),
        accounts.execute("1", deposit(1), command_id="b", fingerprint="ours b"),
        accounts.execute("1", lambda account: None),
    )

    assert results[0] == AppendResult("account-1", 1, (1,))
    assert isinstance(results[1], CommandIdReuseError)
    assert results[2] is None
    assert await amounts(store) == [1, 1]


async def test_two_commands_with_one_id_in_one_queue(store: FaultyStore, accounts: Accounts) -> None:
    results = await outcomes(
        accounts.execute("1", deposit(1), command_id="a", fingerprint="x"),
        accounts.execute("1", deposit(2), command_id="a", fingerprint="y"),
        accounts.execute("1", deposit(1), command_id="a", fingerprint="x"),
    )

    assert results[0] == results[2] == AppendResult("account-1", 1, (1,))
    assert isinstance(results[1], CommandIdReuseError)
    assert await amounts(store) == [1]


async def test_a_repeated_command_that_cant_be_compared_is_reported_as_unknown(
    store: FaultyStore, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An error that says that nothing was written would be wrong."""

    async def unreachable(*args: Any, **_: Any) -> Any:
        raise StoreUnavailableError("can't reach the database")

    async def cut_off(commit: Commit) -> None:
        monkeypatch.setattr(store, "read_event", unreachable)
        monkeypatch.setattr(store.reader, "stream_page", unreachable)

    store.after += [connection_lost, cut_off]
    with pytest.raises(OutcomeUnknownError) as caught:
        await accounts.execute("1", deposit(1), command_id="a", fingerprint="x")
    assert list(caught.value.event_ids) == store.ids(0)

    monkeypatch.undo()
    result = await accounts.execute("1", deposit(1), command_id="a", fingerprint="x")
    assert result == AppendResult("account-1", 1, (1,))


async def test_a_lost_answer_keeps_the_fingerprint(store: FaultyStore, accounts: Accounts) -> None:
    store.after += [connection_lost] * 3
    with pytest.raises(OutcomeUnknownError):
        await accounts.execute("1", deposit(1), command_id="a", fingerprint="x")

    with pytest.raises(CommandIdReuseError):
        await accounts.execute("1", deposit(1), command_id="a", fingerprint="y")
    assert await accounts.execute("1", deposit(1), command_id="a", fingerprint="x") is not None
    assert await amounts(store) == [1]


async def test_a_repeat_that_waits_behind_its_own_first_attempt_is_compared(
    store: FaultyStore, accounts: Accounts
) -> None:
    gate = Gate()
    store.before.append(gate)
    first = asyncio.create_task(accounts.execute("1", deposit(1), command_id="a", fingerprint="x"))
    await gate.reached.wait()
    again = asyncio.create_task(accounts.execute("1", deposit(2), command_id="a", fingerprint="y"))
    await settle()
    gate.opened.set()

    assert await first == AppendResult("account-1", 1, (1,))
    with pytest.raises(CommandIdReuseError):
        await again


# --- Deciders: the command is its own fingerprint ---------------------------------------------------------------------


async def test_a_decider_tells_commands_apart_by_themselves(store: FaultyStore) -> None:
    carts = DeciderRepository(cart_decider, store)
    first = await carts.execute("1", AddItem("heat-dvd"), command_id="a")

    assert await carts.execute("1", AddItem("heat-dvd"), command_id="a") == first
    for other in (AddItem("heat-dvd", 2), Pay(), Look()):
        with pytest.raises(CommandIdReuseError):
            await carts.execute("1", other, command_id="a")
    assert await carts.execute("1", Pay(), command_id="a", fingerprint=None) == first
    with pytest.raises(CommandIdReuseError):
        await carts.execute("1", AddItem("heat-dvd"), command_id="a", fingerprint="body of the request")


async def test_a_decider_with_fingerprints_of_the_callers(store: FaultyStore) -> None:
    carts = DeciderRepository(cart_decider, store)
    first = await carts.execute("1", AddItem("heat-dvd"), command_id="a", fingerprint="x")

    assert await carts.execute("1", AddItem("alien-dvd"), command_id="a", fingerprint="x") == first


class Unencodable:
    def __init__(self, sku: str) -> None:
        self.sku = sku


def decide_anything(command: Any, seen: int) -> CartEvent:
    return ItemAdded(sku=command.sku)


anything = Decider[Any, CartEvent, int](
    category="anything", initial_state=int, decide=decide_anything, evolve=lambda seen, event: seen + 1
)


async def test_a_command_that_cant_be_encoded_needs_a_fingerprint_or_none(store: FaultyStore) -> None:
    carts = DeciderRepository(anything, store)
    with pytest.raises(
        InvalidArgumentError, match=r"can't be encoded for its fingerprint .* pass fingerprint=, or None"
    ):
        await carts.execute("1", Unencodable("a"), command_id="a")
    assert store.attempts == []

    await carts.execute("1", Unencodable("a"))
    first = await carts.execute("1", Unencodable("a"), command_id="a", fingerprint=None)
    assert await carts.execute("1", Unencodable("b"), command_id="a", fingerprint="b") == first


@dataclass
class Tag:
    labels: Any


@dataclass
class OtherTag:
    labels: Any


class Model(BaseModel):
    labels: set[str]


WORDS = ["ann", "bob", "eve", "joe", "kim"]


@pytest.mark.parametrize(
    "make",
    [
        lambda words: Tag(set(words)),
        lambda words: Tag([{word: {len(word): set(words)} for word in words}]),
        lambda words: Tag(frozenset((word, 1) for word in words)),
        lambda words: Model(labels=set(words)),
        dict.fromkeys,
    ],
)
def test_equal_commands_are_encoded_alike_whatever_the_order_of_sets_and_dicts(
    make: Callable[[list[str]], object],
) -> None:
    assert encoded_command(make(WORDS)) == encoded_command(make(WORDS[::-1]))


def test_commands_that_differ_are_encoded_differently() -> None:
    commands = [Tag(1), Tag("1"), Tag([1]), Tag(None), OtherTag(1), Tag({"a": 1}), Tag({"a": 2}), "Tag", 1, None]

    assert len({encoded_command(command) for command in commands}) == len(commands)


def test_the_encoding_stays_as_it_is() -> None:
    """For ever: a repeat may come after an update of Perdure."""
    assert encoded_command(AddItem("a", 2)) == b'AddItem\0{"quantity":2,"sku":"a"}'
    assert encoded_command({"b": {2, 1}, "a": Deposited(amount=1)}) == (
        b'dict\0{"a":{"amount":1,"note":null},"b":[1,2]}'
    )
