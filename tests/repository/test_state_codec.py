"""States as snapshots hold them: what comes back as it was, and what is refused."""

import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import attrs
import msgspec
import pytest

from perdure import (
    AggregateDefinitionError,
    AggregateRoot,
    EventEncodingError,
    InvalidArgumentError,
    Repository,
    event,
    field,
    handles,
)
from perdure.repository.state_codec import StateCodec
from tests.repository.accounts import Account, FaultyStore, Opened
from tests.repository.snapshotted import Accounts, accounts, version_of

__all__ = ["accounts"]  # fixtures, which are imported to be found


# --- What a snapshot tells is what the events tell --------------------------------------------------------------------


async def test_what_was_raised_while_saving_is_not_in_it(store: FaultyStore, accounts: Accounts) -> None:
    account = Account("1")

    async def meanwhile(commit: object) -> None:
        account.deposit(50, "later")

    for _ in range(3):
        account.deposit(1)
    store.before.append(meanwhile)
    await accounts.save(account)

    assert await version_of(store) == 3
    assert (await accounts.get("1")).balance == 3


@event("account.weighed")
class Weighed:
    grams: float


class Scales(AggregateRoot, category="scales"):
    last: Any = None

    @handles
    def _weighed(self, event: Weighed) -> None:
        self.last = event.grams


async def test_what_a_handler_took_before_it_was_stored_is_not_in_it(store: FaultyStore) -> None:
    scales = Repository(Scales, store, snapshot_every=1)

    await scales.execute("1", lambda one: one.raise_event(Weighed(grams=5)))  # a whole number, stored as a float

    assert await version_of(store, "scales-1") == 1
    assert repr((await scales.get("1")).last) == "5.0"


async def test_what_would_come_back_as_something_else_is_not_taken(
    store: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    class Counting(AggregateRoot, category="account"):
        by_owner: dict[str, int] = field(default_factory=lambda: defaultdict(int))

        @handles
        def _opened(self, event: Opened) -> None:
            self.by_owner[event.owner] += 1

    countings = Repository(Counting, store, snapshot_every=1)
    for _ in range(2):
        await countings.execute("1", lambda one: one.raise_event(Opened(owner="ann")))

    assert (await countings.get("1")).by_owner["ann"] == 2
    assert await version_of(store) is None
    assert "'by_owner' would come back as" in caplog.text


class Indirect(AggregateRoot, category="account"):
    """Only an instance shows that a field isn't declared."""

    def __init__(self, aggregate_id: str) -> None:
        super().__init__(aggregate_id)
        vars(self).update(owner="none")


class Choosy(Indirect):
    """The repository can't make an instance."""

    def __init__(self, aggregate_id: str) -> None:
        if aggregate_id != "1":
            raise ValueError("no such account")
        super().__init__(aggregate_id)


async def test_state_that_init_sets_undeclared_is_refused_with_the_repository(store: FaultyStore) -> None:
    with pytest.raises(AggregateDefinitionError, match=r"Indirect .*__init__\(\) sets self\.owner"):
        Repository(Indirect, store, snapshot_every=1)


async def test_state_that_init_sets_undeclared_is_refused_at_the_first_load_if_the_id_matters(
    store: FaultyStore,
) -> None:
    choosy = Repository(Choosy, store, snapshot_every=1)

    with pytest.raises(AggregateDefinitionError, match=r"Choosy .*__init__\(\) sets self\.owner"):
        await choosy.load("1")


async def test_state_that_isnt_annotated_is_not_forgotten_in_silence(
    store: FaultyStore, caplog: pytest.LogCaptureFixture
) -> None:
    class Sloppy(AggregateRoot, category="account"):
        @handles
        def _opened(self, event: Opened) -> None:
            vars(self).update(owner=event.owner)  # so that the class isn't refused

    sloppy = Repository(Sloppy, store, snapshot_every=1)
    await sloppy.execute("1", lambda one: one.raise_event(Opened(owner="ann")))

    assert vars(await sloppy.get("1")) == {"owner": "ann"}
    assert "the fields of the state differ from its annotations: owner" in caplog.text


class Color(Enum):
    RED = "red"


class Part(msgspec.Struct):
    weight: float
    within: "list[Part]" = []


@dataclass(eq=False)
class Label:
    text: str


@attrs.define(eq=False)
class Shade:
    level: int


class Rich(AggregateRoot, category="rich"):
    when: datetime | None = None
    by: UUID | None = None
    price: Decimal = Decimal(0)
    color: Color = Color.RED
    numbers: set[int] = field(default_factory=set)
    pair: tuple[int, str] = (0, "")
    by_id: dict[UUID, list[Label]] = field(default_factory=dict)
    root: Part | None = None
    ratio: float = 0
    data: bytes = b""
    shade: Shade | None = None
    anything: Any = None


async def test_all_kinds_of_values_come_back(store: FaultyStore) -> None:
    codec = StateCodec(Rich)
    rich, other = Rich("1"), Rich("1")
    rich.by, rich.price, rich.numbers, rich.pair = uuid4(), Decimal("1.10"), {1, 2}, (7, "x")
    rich.when = datetime.fromisoformat("2030-01-01T12:00:00.000001+05:00")
    rich.by_id = {uuid4(): [Label("a"), Label("b")]}
    rich.root, rich.ratio, rich.data = Part(1.5, [Part(2.5)]), 0.5, b"\x00\xff"
    rich.shade, rich.anything = Shade(7), {"deep": [None, True, 1.5]}

    codec.restore(other, codec.encode(rich))

    apart: dict[str, Any] = {"by_id": None, "shade": None}
    assert {**vars(other), **apart} == {**vars(rich), **apart}
    assert other.shade is not None
    assert other.shade.level == 7
    assert [label.text for label in next(iter(other.by_id.values()))] == ["a", "b"]


def test_a_whole_number_may_stand_for_a_float() -> None:
    rich, other = Rich("1"), Rich("1")
    rich.ratio = 2

    StateCodec(Rich).restore(other, StateCodec(Rich).encode(rich))

    assert other.ratio == 2


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pair", [7, "x"]),
        ("numbers", [1, 2]),
        ("anything", datetime(2030, 1, 1)),  # noqa: DTZ001 - any value will do
        ("anything", (1, 2)),
        ("anything", {1: "a"}),
        ("root", Part(1, [Part("heavy")])),  # type: ignore[arg-type]  # the point
        ("ratio", float("nan")),
        ("ratio", Decimal(1)),
        ("by", "text"),
        ("price", True),
    ],
)
def test_values_that_wouldnt_come_back_are_refused(name: str, value: object) -> None:
    rich = Rich("1")
    setattr(rich, name, value)

    with pytest.raises((ValueError, EventEncodingError)):
        StateCodec(Rich).encode(rich)


# --- Classes that can't have snapshots --------------------------------------------------------------------------------


class Opaque:
    pass


class WithOpaque(AggregateRoot, category="opaque"):
    thing: Opaque | None = None


class WithAmbiguous(AggregateRoot, category="ambiguous"):
    thing: "Label | Opaque2 | None" = None


@dataclass
class Opaque2:
    number: int


class WithUnresolved(AggregateRoot, category="unresolved"):
    thing: "Nowhere | None" = None  # type: ignore[name-defined]  # noqa: F821 - the point: it isn't there


@pytest.mark.parametrize(
    ("cls", "reason"),
    [
        (WithOpaque, "WithOpaque: field 'thing' has type Opaque, which can't be stored"),
        (WithAmbiguous, "WithAmbiguous: field 'thing' can't be stored: .*more than one dataclass"),
        (WithUnresolved, "WithUnresolved: an annotation can't be resolved: name 'Nowhere' is not defined"),
    ],
)
def test_a_state_that_cant_be_stored_is_refused_when_the_repository_is_made(
    store: FaultyStore, cls: type[AggregateRoot], reason: str
) -> None:
    Repository(cls, store)
    with pytest.raises(InvalidArgumentError, match=f"snapshot_every can't be used with {reason}"):
        Repository(cls, store, snapshot_every=500)


def test_a_state_has_the_same_shape_in_each_process() -> None:
    """Else snapshots would be of no use after a restart."""
    script = "from tests.repository.test_state_codec import Rich, StateCodec; print(StateCodec(Rich).shape)"
    shapes = {
        subprocess.run(
            [sys.executable, "-c", script],
            env=os.environ | {"PYTHONHASHSEED": seed},
            cwd=Path(__file__).parents[2],
            capture_output=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }

    assert len(shapes) == 1
