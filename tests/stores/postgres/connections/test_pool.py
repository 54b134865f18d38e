"""The pool of connections: who gets which, and what becomes of those that failed. No database but at the end."""

import asyncio
from typing import Any, cast

import asyncpg
import pytest

from perdure.errors import StoreClosedError, StoreOverloadedError
from perdure.stores.postgres.connections import pool as pool_module
from perdure.stores.postgres.connections.database import Database
from perdure.stores.postgres.connections.pool import Pool
from perdure.tasks import Tasks

PATIENCE = 60.0


class Fake:
    """Stands for a connection."""

    def __init__(self) -> None:
        self.is_dead = False
        self.in_transaction = False
        self.resets = 0
        self.farewells = 0
        self.reset_with: BaseException | None = None
        self.may_reset = asyncio.Event()
        self.may_reset.set()

    def is_closed(self) -> bool:
        return self.is_dead

    def is_in_transaction(self) -> bool:
        return self.in_transaction

    def terminate(self) -> None:
        self.is_dead = True

    async def close(self) -> None:
        self.farewells += 1
        self.is_dead = True

    async def reset(self) -> None:
        self.resets += 1
        await self.may_reset.wait()
        if self.reset_with is not None:
            raise self.reset_with
        self.in_transaction = False


class Server:
    """Opens connections."""

    def __init__(self) -> None:
        self.opened: list[Fake] = []
        self.refuse: BaseException | None = None
        self.may_open = asyncio.Event()
        self.may_open.set()

    async def connect(self) -> Any:
        await self.may_open.wait()
        if self.refuse is not None:
            raise self.refuse
        self.opened.append(Fake())
        return self.opened[-1]


@pytest.fixture
def server() -> Server:
    return Server()


def pool_of(server: Server, size: int) -> Pool:
    return Pool(server.connect, size, Tasks("a test", "connect"))


async def taken(pool: Pool) -> Fake:
    return cast("Fake", await pool.acquire(PATIENCE))


def given_back(pool: Pool, *fakes: Fake) -> None:
    for fake in fakes:
        pool.release(cast("asyncpg.Connection[Any]", fake))


async def settled() -> None:
    """Let every task go on as far as it can."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_what_came_back_last_is_taken_first_and_without_a_turn_of_the_event_loop(server: Server) -> None:
    pool = pool_of(server, 3)
    one, two = await taken(pool), await taken(pool)
    given_back(pool, one, two)

    for expected in (two, one):
        with pytest.raises(StopIteration) as at_once:
            taken(pool).send(None)
        assert at_once.value.value is expected
    assert len(server.opened) == 2


async def test_who_waits_gets_the_next_in_turn(server: Server) -> None:
    pool = pool_of(server, 1)
    one = await taken(pool)
    waiting = [asyncio.create_task(taken(pool)) for _ in range(2)]
    await settled()

    given_back(pool, one)
    late = asyncio.create_task(taken(pool))
    await settled()
    assert [task.done() for task in (*waiting, late)] == [True, False, False]
    given_back(pool, one)
    await settled()
    assert [task.done() for task in (*waiting, late)] == [True, True, False]
    given_back(pool, one)
    assert await late is one
    assert server.opened == [one]


async def test_who_waited_too_long_is_told_and_leaves_no_place_behind(server: Server) -> None:
    pool = pool_of(server, 1)
    one = await taken(pool)
    with pytest.raises(StoreOverloadedError, match="all 1 connections"):
        await pool.acquire(0.0)

    given_back(pool, one)
    assert await taken(pool) is one


@pytest.mark.parametrize("is_dead", [False, True])
async def test_what_a_cancelled_caller_was_just_given_goes_to_the_next(server: Server, is_dead: bool) -> None:
    pool = pool_of(server, 1)
    one = await taken(pool)
    first, second = [asyncio.create_task(taken(pool)) for _ in range(2)]
    await settled()
    one.is_dead = is_dead
    given_back(pool, one)
    first.cancel()

    assert (await second is one) is not is_dead
    assert first.cancelled()


async def test_a_caller_who_is_cancelled_while_waiting_is_passed_over(server: Server) -> None:
    pool = pool_of(server, 1)
    one = await taken(pool)
    first, second = [asyncio.create_task(taken(pool)) for _ in range(2)]
    await settled()
    first.cancel()
    await settled()
    given_back(pool, one)

    assert await second is one


async def test_the_place_of_a_dead_connection_goes_to_who_waits(server: Server) -> None:
    pool = pool_of(server, 1)
    one = await taken(pool)
    waiting = asyncio.create_task(taken(pool))
    await settled()
    one.is_dead = True
    given_back(pool, one)

    two = await waiting
    given_back(pool, two)
    two.is_dead = True
    assert (await taken(pool)) not in (one, two)
    assert len(server.opened) == 3


async def test_a_connection_that_can_not_be_opened_leaves_its_place(server: Server) -> None:
    pool = pool_of(server, 1)
    server.refuse = ConnectionRefusedError()
    for _ in range(3):
        with pytest.raises(ConnectionRefusedError):
            await taken(pool)
    server.may_open.clear()
    opening, waiting = [asyncio.create_task(taken(pool)) for _ in range(2)]
    await settled()
    opening.cancel()
    server.refuse = None
    server.may_open.set()

    assert await waiting is server.opened[0]
    assert opening.cancelled()


async def test_what_was_open_before_is_not_used_any_more_once_it_is_expired(server: Server) -> None:
    pool = pool_of(server, 2)
    one, two = await taken(pool), await taken(pool)
    given_back(pool, one)
    pool.expire()
    given_back(pool, two)
    three = await taken(pool)
    given_back(pool, three)

    assert await taken(pool) is three
    assert [one.is_dead, two.is_dead, three.is_dead] == [True, True, False]


async def test_what_failed_is_given_back_when_it_is_restored(server: Server) -> None:
    pool = pool_of(server, 1)
    one = await taken(pool)
    one.may_reset.clear()
    pool.restore(cast("asyncpg.Connection[Any]", one))
    waiting = asyncio.create_task(taken(pool))
    await settled()
    assert (one.resets, waiting.done()) == (1, False)
    one.may_reset.set()

    assert await waiting is one


async def test_what_comes_back_in_a_transaction_is_restored(server: Server) -> None:
    pool = pool_of(server, 1)
    one = await taken(pool)
    one.in_transaction = True
    given_back(pool, one)

    assert await taken(pool) is one
    assert (one.resets, one.in_transaction) == (1, False)


async def test_what_is_in_a_transaction_after_all_is_dropped(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async def reset(fake: Fake) -> None:
        fake.in_transaction = True

    monkeypatch.setattr(Fake, "reset", reset)
    pool = pool_of(server, 1)
    one = await taken(pool)
    pool.restore(cast("asyncpg.Connection[Any]", one))

    assert await taken(pool) is not one
    assert one.is_dead


async def test_what_can_not_be_restored_is_dropped(server: Server) -> None:
    pool = pool_of(server, 1)
    one = await taken(pool)
    one.reset_with = ConnectionResetError()
    pool.restore(cast("asyncpg.Connection[Any]", one))

    assert await taken(pool) is not one
    assert one.is_dead


async def test_what_nobody_needs_for_long_is_closed(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = pool_of(server, 3)
    now = [0.0]
    monkeypatch.setattr(pool, "_loop", Clock(now))
    one, two, three = [await taken(pool) for _ in range(3)]
    given_back(pool, one)
    now[0] = 100.0
    given_back(pool, two, three)
    assert await taken(pool) is three

    now[0] = pool_module.LONGEST_IDLE
    pool._close_idle()
    assert [one.is_dead, two.is_dead, three.is_dead] == [True, False, False]
    now[0] += 100.0
    pool._close_idle()
    assert [one.is_dead, two.is_dead, three.is_dead] == [True, True, False]
    assert pool._timer is None
    assert {await taken(pool) for _ in range(2)}.isdisjoint({one, two})


class Clock:
    """Stands for an event loop whose time stands still."""

    def __init__(self, now: list[float]) -> None:
        self._now = now

    def time(self) -> float:
        return self._now[0]

    def call_later(self, delay: float, callback: object) -> object:
        return object()


async def test_closing_waits_for_what_is_in_use_and_says_goodbye(server: Server) -> None:
    pool = pool_of(server, 2)
    one, two = await taken(pool), await taken(pool)
    given_back(pool, one)
    waiting = [asyncio.create_task(taken(pool)) for _ in range(2)]
    await settled()
    assert await waiting[0] is one
    closing = asyncio.create_task(pool.close(PATIENCE))
    await settled()
    with pytest.raises(StoreClosedError):
        await waiting[1]
    with pytest.raises(StoreClosedError):
        await taken(pool)
    given_back(pool, one)
    await settled()
    assert not closing.done()
    given_back(pool, two)
    await closing

    assert [one.farewells, two.farewells] == [1, 1]


async def test_closing_cuts_off_what_does_not_come_back(server: Server) -> None:
    pool = pool_of(server, 2)
    one, two = await taken(pool), await taken(pool)
    given_back(pool, two)
    await pool.close(0.0)
    assert one.is_dead
    assert two.is_dead

    given_back(pool, one)


async def test_a_connection_that_comes_when_the_pool_is_closed_is_dropped(server: Server) -> None:
    pool = pool_of(server, 1)
    server.may_open.clear()
    opening = asyncio.create_task(taken(pool))
    await settled()
    await pool.close(PATIENCE)
    server.may_open.set()

    with pytest.raises(StoreClosedError):
        await opening
    assert server.opened[0].is_dead


async def test_a_statement_that_ran_out_of_time_meets_nobody_else(database_url: str) -> None:
    database = Database(database_url, pool_size=1)
    await database.open()
    with pytest.raises(Exception, match="can't be reached"):
        async with database.connection() as connection:
            await connection.execute("begin")
            await connection.fetchval("select pg_sleep(60)", timeout=0.01)

    async with database.connection() as other:
        assert (other is connection, other.is_in_transaction()) == (True, False)
        assert await other.fetchval("select 1") == 1
    await database.close()
