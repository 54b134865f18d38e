"""Cancelled, or out of time, at any of its waits, an operation is written once by its repeat, and leaks nothing."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from itertools import count
from typing import Any

import pytest

from perdure.commit import ANY, NO_STREAM
from perdure.errors import PerdureError
from perdure.events import NewEvent, StoredEvent
from perdure.projections.engine import BatchResult
from perdure.projections.engines.table.processor import TableProcessor
from perdure.projections.service import ProjectionService
from perdure.projections.state.scope import Scope
from perdure.projections.state.segments import Segment
from perdure.repository import Repository
from perdure.stores.postgres.store import PostgreSQLEventStore
from perdure.testing.checker import Tally, read_rows
from perdure.testing.checker.samples import Checked
from perdure.testing.projections import fold_tables
from tests.faults.awaits import StruckAt, cancelled_at, timed_out_at
from tests.repository.accounts import Account

Strike = Callable[[int, Coroutine[Any, Any, object]], Awaitable[tuple[bool, BaseException | None]]]
Operation = Callable[[PostgreSQLEventStore, int], Callable[[], Coroutine[Any, Any, object]]]
"""For the store and the number of a try, what is struck and repeated: it writes two events to streams of its own."""


def events(number: int) -> list[NewEvent]:
    return [NewEvent(Checked(text=f"{number} {which}")) for which in "ab"]


def append(store: PostgreSQLEventStore, number: int) -> Callable[[], Coroutine[Any, Any, object]]:
    written = events(number)
    return lambda: store.append_to_stream(f"checked-{number}", NO_STREAM, written)


def append_to_streams(store: PostgreSQLEventStore, number: int) -> Callable[[], Coroutine[Any, Any, object]]:
    a, b = events(number)
    return lambda: store.append_to_streams(
        [(f"checked-{number}a", NO_STREAM, [a]), (f"checked-{number}b", NO_STREAM, [b])]
    )


def append_in_transaction(store: PostgreSQLEventStore, number: int) -> Callable[[], Coroutine[Any, Any, object]]:
    written = events(number)

    async def transact() -> None:
        async with store.transaction() as tx:
            await store.append_to_stream(f"checked-{number}", NO_STREAM, written, tx=tx)

    return transact


def save(store: PostgreSQLEventStore, number: int) -> Callable[[], Coroutine[Any, Any, object]]:
    accounts = Repository(Account, store)
    account = Account(str(number))
    account.open("ann")
    account.deposit(number)
    return lambda: accounts.save(account)


def save_with_retry(store: PostgreSQLEventStore, number: int) -> Callable[[], Coroutine[Any, Any, object]]:
    accounts = Repository(Account, store, snapshot_every=2)
    account = Account(str(number))
    account.open("ann")
    account.deposit(number)
    return lambda: accounts.save_with_retry(account)


def execute_once(store: PostgreSQLEventStore, number: int) -> Callable[[], Coroutine[Any, Any, object]]:
    accounts = Repository(Account, store)

    def decide(account: Account) -> None:
        account.open("ann")
        account.deposit(number)

    return lambda: accounts.execute(str(number), decide, command_id=f"request {number}")


@pytest.mark.parametrize("strike", [cancelled_at, timed_out_at], ids=lambda strike: strike.__name__)
@pytest.mark.parametrize(
    "operation",
    [append, append_to_streams, append_in_transaction, save, save_with_retry, execute_once],
    ids=lambda operation: operation.__name__,
)
async def test_what_was_struck_at_any_wait_is_written_once_by_its_repeat(
    database_url: str, operation: Operation, strike: Strike
) -> None:
    async with PostgreSQLEventStore(database_url, pool_size=2, connect_timeout=5) as store:
        for number in count(1):
            repeatable = operation(store, number)
            has_struck, error = await strike(number, repeatable())
            assert error is None or isinstance(error, asyncio.CancelledError | TimeoutError | PerdureError)
            if not has_struck:
                break
            assert error is not None, "a strike must not go unnoticed by the caller"
            await repeatable()
            assert len(await store.read_all_events()) == 2 * number
        assert number > 1
        assert await nothing_leaks(store)


async def nothing_leaks(store: PostgreSQLEventStore) -> bool:
    """Whether the pool has all its connections, and none is in a transaction."""
    async with store.database.connection() as one, store.database.connection() as other:
        return not (one.is_in_transaction() or other.is_in_transaction())


# --- Batches of projections -------------------------------------------------------------------------------------------


PROCESS = TableProcessor.process


class Struck:
    """Strikes one of the first batches that a projection takes, at one of its waits.

    Args:
        number: which wait: 1 is the first.
        batch: which batch.
        is_cancelled: whether the task is cancelled; else its time runs out.
    """

    def __init__(self, number: int, *, batch: int, is_cancelled: bool) -> None:
        self.has_struck = False
        self.ended = asyncio.Event()
        self._number = number
        self._is_cancelled = is_cancelled
        self._batches_before = batch - 1

    async def process(
        self, processor: TableProcessor, group: Sequence[Segment], batch: Sequence[StoredEvent], scope: Scope
    ) -> BatchResult:
        taking = PROCESS(processor, group, batch, scope)
        self._batches_before -= 1
        if self._batches_before != -1:
            return await taking
        task = asyncio.current_task()
        assert task is not None
        limit = asyncio.timeout(None)
        struck = StruckAt(taking, self._number, task.cancel if self._is_cancelled else lambda: limit.reschedule(0))
        try:
            async with limit:
                return await struck
        finally:
            self.has_struck = struck.has_struck
            self.ended.set()


@pytest.mark.parametrize(
    ("batch_size", "batch"),
    [
        pytest.param(500, 1, id="all there is"),
        pytest.param(2, 2, id="the second batch"),
    ],
)
@pytest.mark.parametrize("is_cancelled", [True, False], ids=["cancelled", "timed_out"])
@pytest.mark.parametrize(("segments", "waits"), [(1, 2), (3, 3)], ids=["one statement", "a transaction"])
async def test_a_batch_that_was_struck_at_any_wait_leaves_rows_that_equal_a_fresh_fold(
    store: PostgreSQLEventStore,
    monkeypatch: pytest.MonkeyPatch,
    segments: int,
    waits: int,
    is_cancelled: bool,
    batch_size: int,
    batch: int,
) -> None:
    for number in count(1):
        for which in range(2):
            await store.append_to_stream(f"checked-{which}", ANY, events(number))
        saved = await store.append_to_stream("checked-2", ANY, events(number))
        struck = Struck(number, batch=batch, is_cancelled=is_cancelled)
        monkeypatch.setattr(TableProcessor, "process", lambda *arguments, one=struck: one.process(*arguments))
        async with ProjectionService(store, [Tally()], batch_size=batch_size, segments=segments) as service:
            await struck.ended.wait()
            if not is_cancelled:
                # Time-outs it survives. A task that is cancelled is gone, as with its process.
                await service.wait_for("perdure_checker_tally", saved.global_position, timeout=20)
        assert not [task for task in asyncio.all_tasks() if "perdure projection" in task.get_name()]
        async with ProjectionService(store, [Tally()]) as service:
            await service.wait_for("perdure_checker_tally", saved.global_position, timeout=20)
        assert await read_rows(store, Tally()) == fold_tables(Tally(), await store.read_all_events())
        if not struck.has_struck:
            break
    assert number > waits
