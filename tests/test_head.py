"""The head of the log is looked at once for all that wait there, and whoever has something to read is woken."""

import asyncio
from collections.abc import Callable

import pytest

from perdure.commit import ANY
from perdure.errors import LogDivergedError, StoreClosedError, StoreUnavailableError
from perdure.events import StoredEvent, event
from perdure.head import Head
from perdure.log import LogFilter, Page, SeenEvent
from perdure.stores.memory import InMemoryEventStore
from perdure.subscription import Subscription


@event("test.head.noted")
class Noted: ...


class WatchedStore(InMemoryEventStore):
    """Tells the looks at its log, which may be held up or fail, or stand behind a gap."""

    def __init__(self) -> None:
        super().__init__()
        self.looks: list[int] = []
        """The limit of each: that of the head's own is 1."""
        self.error: Exception | None = None
        self.may_look = asyncio.Event()
        self.may_look.set()
        self.gap: int | None = None
        """No event from this position on can be read."""

    async def log_page(
        self, from_position: int, limit: int, where: LogFilter, seen: SeenEvent | None = None, *, up_to: int = 0
    ) -> Page:
        self.looks.append(limit)
        await self.may_look.wait()
        if self.error is not None:
            raise self.error
        page = await super().log_page(from_position, limit, where, seen, up_to=up_to)
        if self.gap is None or page.position < self.gap:
            return page
        before = [stored for stored in page.events if stored.global_position < self.gap]
        return Page(before, before[-1].global_position if before else from_position, held_back=True)

    async def add(self, count: int = 1) -> None:
        await self.append_to_stream("note-1", ANY, [Noted() for _ in range(count)])

    async def add_in_silence(self) -> None:
        announce, self.changes.announce = self.changes.announce, lambda **_: None  # type: ignore[method-assign]  # to tell nobody
        await self.add()
        self.changes.announce = announce  # type: ignore[method-assign]  # as it was before


@pytest.fixture(autouse=True)
def asked_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """No look but those that are asked for."""
    for name, seconds in (("FIRST_INTERVAL", 3600), ("LONGEST_INTERVAL", 3600), ("_BUSY_INTERVAL", 0)):
        monkeypatch.setattr(Head, name, seconds)
    monkeypatch.setattr(Subscription, "_PAUSE_AT_HEAD", 0)


async def until(condition: Callable[[], bool]) -> None:
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it doesn't come true")


async def settled() -> None:
    for _ in range(50):
        await asyncio.sleep(0)


async def following(store: WatchedStore, *followers: Subscription) -> list[asyncio.Task[StoredEvent]]:
    """The followers, once all wait at the head."""
    waiting = store.head.waiting
    tasks = [asyncio.create_task(anext(follower)) for follower in followers]
    await until(lambda: store.head.waiting == waiting + len(tasks))
    store.looks.clear()
    return tasks


async def look(store: WatchedStore) -> None:
    store.changes.announce(is_certain=False)
    await until(lambda: bool(store.looks))
    await settled()


def many(store: WatchedStore) -> list[Subscription]:
    return [store.subscribe(category=category) for category in (None, "note", "other") for _ in range(100)]


async def test_one_look_is_made_for_all_that_wait() -> None:
    store = WatchedStore()
    await store.add(3)
    tasks = await following(store, *[store.subscribe(3) for _ in range(100)], *[store.subscribe(3, category="none")])
    for number in range(1, 4):
        await look(store)
        assert (len(store.looks), store.head.waiting) == (number, 101)

    await store.add()
    events = await asyncio.gather(*tasks[:-1])
    assert {stored.global_position for stored in events} == {4}
    assert len({id(stored) for stored in events}) == 100
    tasks[-1].cancel()


async def test_what_nobody_announces_is_found_by_one_look_and_read_by_each() -> None:
    store = WatchedStore()
    await store.add()
    tasks = await following(store, *[store.subscribe(1) for _ in range(10)])
    await store.add_in_silence()
    await look(store)

    assert {stored.global_position for stored in await asyncio.gather(*tasks)} == {2}
    assert store.looks.count(1) == 1
    assert len(store.looks) == 11


async def test_behind_a_gap_each_announcement_causes_one_look_at_most() -> None:
    store = WatchedStore()
    store.gap = 2
    await store.add(2)
    tasks = await following(store, *[store.subscribe(1, category=category) for category in (None, "note") * 6])
    await look(store)
    store.looks.clear()
    for number in range(20):
        await store.add()
        await settled()
        assert store.looks == [1] * (number + 1)
    assert store.head.waiting == 12

    store.gap = None
    store.changes.announce()
    assert {stored.global_position for stored in await asyncio.gather(*tasks)} == {2}


async def test_a_follower_that_is_told_of_a_change_again_and_again_behind_a_gap_waits() -> None:
    store = WatchedStore()
    await store.add()
    store.gap = 2
    [task] = await following(store, store.subscribe(1))
    store.may_look.clear()
    await store.add()  # the follower looks, and meanwhile there is another
    await until(lambda: bool(store.looks))
    await store.add()
    store.may_look.set()
    await settled()

    assert store.head.waiting == 1
    assert store.looks[1:] == [1]
    store.gap = None
    store.changes.announce()
    assert (await task).global_position == 2


async def test_what_is_announced_during_a_look_is_looked_for_again() -> None:
    store = WatchedStore()
    store.gap = 2
    await store.add(2)
    [task] = await following(store, store.subscribe(1))
    await look(store)
    store.may_look.clear()
    store.looks.clear()
    store.changes.announce()
    await until(lambda: store.looks == [1])
    store.changes.announce()
    store.may_look.set()
    await until(lambda: store.looks == [1, 1])
    task.cancel()


async def test_a_log_that_has_lost_what_was_read_is_told_to_each_that_read_it() -> None:
    store = WatchedStore()
    await store.add(2)
    first, second = await store.read_all_events()
    knowing_less = store.subscribe(1, from_event_id=first.event_id, category="other")
    follower = store.subscribe(2, from_event_id=second.event_id)
    store.gap = 2
    [one] = await following(store, knowing_less)
    store.gap = None
    [other] = await following(store, follower)
    del store._log[1:]

    await look(store)
    with pytest.raises(LogDivergedError):
        await other
    assert not one.done()
    one.cancel()


async def test_no_follower_relies_on_what_another_knows_of_the_same_place() -> None:
    store = WatchedStore()
    await store.add()
    [before] = await following(store, store.subscribe(1, from_event_id=(await store.read_all_events())[0].event_id))
    del store._log[:]
    await store.add_in_silence()
    [after] = await following(store, store.subscribe(1, from_event_id=(await store.read_all_events())[0].event_id))

    for _ in range(3):
        store.changes.announce(is_certain=False)
        await settled()
    with pytest.raises(LogDivergedError):
        await before
    assert not after.done()
    after.cancel()


async def test_one_that_gives_up_leaves_the_look_to_the_others() -> None:
    store = WatchedStore()
    await store.add()
    one, other = await following(store, store.subscribe(1), store.subscribe(1))
    store.may_look.clear()
    store.changes.announce(is_certain=False)
    await until(lambda: store.looks == [1])
    one.cancel()
    await asyncio.wait([one])
    await store.add_in_silence()
    store.may_look.set()

    assert (await other).global_position == 2
    assert store.head.waiting == 0


async def test_a_look_that_is_cut_off_is_told_and_repeated(caplog: pytest.LogCaptureFixture) -> None:
    store = WatchedStore()
    await store.add()
    [task] = await following(store, store.subscribe(1))
    store.may_look.clear()
    store.changes.announce(is_certain=False)
    await until(lambda: store.looks == [1])
    [cut] = [one for one in asyncio.all_tasks() if "poll of the head" in one.get_name()]
    cut.cancel()
    await settled()
    assert "cut off" in caplog.text

    store.may_look.set()
    await store.add_in_silence()
    store.changes.announce(is_certain=False)
    assert (await task).global_position == 2


async def test_idle_followers_do_not_all_try_while_the_database_is_away(caplog: pytest.LogCaptureFixture) -> None:
    store = WatchedStore()
    await store.add()
    tasks = await following(store, *[store.subscribe(1) for _ in range(50)])
    store.error = StoreUnavailableError("away")
    await look(store)
    store.changes.announce()
    await until(lambda: len(store.looks) == 2)
    await settled()
    assert (store.looks, store.head.waiting) == ([1, 1], 50)

    store.error = None
    await store.add()
    assert {stored.global_position for stored in await asyncio.gather(*tasks)} == {2}
    told = [record.message.split(" since ")[0].split(" after ")[0] for record in caplog.records]
    assert told == ["following the log has to wait", "following the log goes on"]


async def test_one_with_limited_patience_is_told_of_an_outage_at_once() -> None:
    store = WatchedStore()
    await store.add()
    patient = await following(store, store.subscribe(1))
    impatient = asyncio.create_task(store.subscribe(1).next_page(patience=3600))
    await until(lambda: store.head.waiting == 2)
    store.error = StoreUnavailableError("away")
    await look(store)

    with pytest.raises(StoreUnavailableError):
        await impatient
    assert not patient[0].done()
    patient[0].cancel()


@pytest.mark.parametrize("error", [StoreClosedError(), ZeroDivisionError("a fault in a store")])
async def test_what_cannot_pass_reaches_all(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    store = WatchedStore()
    await store.add()
    tasks = await following(store, *[store.subscribe(1) for _ in range(5)])
    store.error = error
    await look(store)

    assert await asyncio.gather(*tasks, return_exceptions=True) == [error] * 5
    assert ("'perdure poll of the head of the log' ended by an error" in caplog.text) == isinstance(
        error, ZeroDivisionError
    )


async def test_a_store_that_is_closed_ends_all_that_wait() -> None:
    store = WatchedStore()
    tasks = await following(store, *many(store))
    await store.close()

    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(one) for one in outcomes] == [StoreClosedError] * 300


async def test_without_patience_nothing_is_waited_for() -> None:
    store = WatchedStore()
    page = await store.subscribe().next_page(patience=0.001)
    assert (page.events, store.head.waiting) == ([], 0)


def test_a_store_in_memory_outlives_its_event_loop() -> None:
    store = InMemoryEventStore()
    follower = store.subscribe()

    async def life() -> None:
        coming = asyncio.create_task(anext(follower))
        await asyncio.sleep(0)
        await store.append_to_stream("note-1", ANY, [Noted()])
        assert (await coming).event == Noted()
        idle = asyncio.create_task(anext(store.subscribe(100)))
        await asyncio.sleep(0)
        assert not idle.done()  # it still waits when the loop ends

    for _ in range(2):
        asyncio.run(life())
