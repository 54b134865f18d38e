"""A provider that counts calls, and reactions that call it."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any
from uuid import UUID

from perdure.commit import ANY
from perdure.events import StoredEvent, event, handles
from perdure.reaction import Delivery, Reaction
from perdure.retry import RetryConfig
from perdure.store import EventStore
from tests.patience import patience

AT_ONCE = RetryConfig(max_attempts=3, base_delay=0, max_delay=0)


@event("test.reactions.placed")
class Placed:
    order: str
    number: int = 0


@event("test.reactions.unnoticed")
class Unnoticed:
    order: str


@dataclass
class Call:
    """A call, as the provider saw it."""

    order: str
    number: int
    position: int
    key: str
    attempt: int
    may_be_repeat: bool


@dataclass
class Provider:
    """Notes each call, and whether it came out of order or at the same time as another one of its order."""

    calls: list[Call] = field(default_factory=list)
    failing: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """How often the calls for an order still fail."""
    gates: dict[str, asyncio.Event] = field(default_factory=dict)
    """Calls for these orders wait until the gate opens."""
    under_way: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    most_at_once: int = 0
    most_for_an_order: int = 0

    async def take(self, placed: Placed, at: StoredEvent, call: Delivery) -> None:
        self.calls.append(
            Call(
                placed.order,
                placed.number,
                at.global_position,
                call.idempotency_key,
                call.attempt,
                call.may_be_repeat,
            )
        )
        self.under_way[placed.order] += 1
        self.most_at_once = max(self.most_at_once, sum(self.under_way.values()))
        self.most_for_an_order = max(self.most_for_an_order, self.under_way[placed.order])
        try:
            await asyncio.sleep(0)
            if gate := self.gates.get(placed.order):
                await gate.wait()
            if self.failing[placed.order] > 0:
                self.failing[placed.order] -= 1
                raise ConnectionError("the provider is away")
        finally:
            self.under_way[placed.order] -= 1

    def numbers(self, order: str) -> list[int]:
        """The numbers of the calls for an order, in their order."""
        return [call.number for call in self.calls if call.order == order]


class Shipping(Reaction, name="shipping", start=0, retry=AT_ONCE):
    """Calls the provider for each order."""

    def __init__(self, provider: Provider) -> None:
        self.provider = provider

    @handles
    async def placed(self, event: Placed, call: Delivery, at: StoredEvent) -> None:
        await self.provider.take(event, at, call)


def placed(order: str, *numbers: int) -> list[Placed]:
    return [Placed(order=order, number=number) for number in numbers]


async def until(condition: Callable[[], Any]) -> None:
    """Wait until something is so, looked at again and again."""
    async with asyncio.timeout(patience(60)):
        while True:
            found = condition()
            if await found if isawaitable(found) else found:
                return
            await asyncio.sleep(0.01)


async def place(store: EventStore, order: str, *numbers: int) -> int:
    """Append events of an order, and return the position of the last."""
    return (await store.append_to_stream(f"order-{order}", ANY, placed(order, *numbers))).global_position


def key_of(event_id: UUID, name: str = "shipping") -> str:
    return f"{name}:{event_id}"
