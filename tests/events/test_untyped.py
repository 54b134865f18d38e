"""A value in a field typed `Any` that JSON doesn't give back as it is: refused when it is raised, by its path."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from decimal import Decimal
from enum import Enum, IntEnum
from typing import Annotated, Any, Generic, NamedTuple, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from perdure import (
    AggregateRoot,
    EventEncodingError,
    InMemoryEventStore,
    NewEvent,
    Repository,
    event,
    handles,
)
from perdure.events import registry

T = TypeVar("T")


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    HIGH = 3


class Name(str):
    __slots__ = ()


class Detail(TypedDict, total=False):
    what: Any
    count: int


class Pair(NamedTuple):
    left: Any
    right: int


class Item(msgspec.Struct, frozen=True):
    price: Any
    n: int = 0


class Box(msgspec.Struct, Generic[T], frozen=True):
    content: T


@dataclass(frozen=True)
class Node:
    value: Any = None
    next: "Node | None" = None


@event("untyped.happened")
class Happened(msgspec.Struct, frozen=True, kw_only=True):
    payload: Any = None
    by_name: dict[str, Any] = {}
    by_number: dict[int, Any] = {}
    loose: dict[Any, int] = {}
    bare: dict = {}  # type: ignore[type-arg]  # as users write it
    items: list[Any] = []
    row: tuple[int, Any] = (0, 0)
    rows: tuple[Any, ...] = ()
    members: set[Any] = set()
    sequence: Sequence[Item] = []
    mapping: Mapping[str, Item | None] = {}
    perhaps: int | Any = 0
    one_of: list[Any] | Item | None = None
    marked: Annotated[Any, msgspec.Meta(title="marked")] = None
    detail: Detail = {}
    pair: Pair = Pair(0, 0)
    box: Box[Any] | None = None
    node: Node | None = None


@event("untyped.typed")
class Typed:
    amount: Decimal
    at: datetime
    tags: frozenset[str]
    row: tuple[int, str]
    counts: dict[int, float]
    level: Level


def codec(cls: type) -> Any:
    return registry.by_class(cls).codec


NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
REFUSED = [
    (Decimal("1.5"), "Decimal would come back as str"),
    (NOON, "datetime would come back as str"),
    (date(2026, 1, 2), "date would come back as str"),
    (UUID(int=7), "UUID would come back as str"),
    (b"abc", "bytes would come back as str"),
    ({1}, "set would come back as list"),
    (frozenset([1]), "frozenset would come back as list"),
    ((1, 2), "tuple would come back as list"),
    (Colour.RED, "Colour would come back as str"),
    (Level.HIGH, "Level would come back as int"),
    (Item(price=1), "Item would come back as dict"),
]


@pytest.mark.parametrize(("value", "words"), REFUSED, ids=[type(value).__name__ for value, _ in REFUSED])
def test_a_value_that_would_come_back_as_something_else_is_refused(value: Any, words: str) -> None:
    with pytest.raises(EventEncodingError) as refused:
        codec(Happened).encode(Happened(payload=value))

    assert f"payload: {words}; declare its type, or convert it to a JSON type" in str(refused.value)


D = Decimal(1)


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"payload": {"items": [{}, {}, {}, {"price": D}]}}, "payload.items[3].price: Decimal"),
        ({"payload": {1: "a"}}, "payload, key 1: int would come back as str"),
        ({"payload": {"a b": {"c": D}}}, "payload['a b'].c: Decimal"),
        ({"by_name": {"a": D}}, "by_name.a: Decimal"),
        ({"by_name": {"a": {2: 1}}}, "by_name.a, key 2: int"),
        ({"by_number": {5: D}}, "by_number[5]: Decimal"),
        ({"loose": {5: 1}}, "loose, key 5: int"),
        ({"bare": {"a": D}}, "bare.a: Decimal"),
        ({"bare": {5: 1}}, "bare, key 5: int"),
        ({"items": [1, D]}, "items[1]: Decimal"),
        ({"row": (1, D)}, "row[1]: Decimal"),
        ({"rows": (1, [D])}, "rows[1][0]: Decimal"),
        ({"members": {D}}, "members, member Decimal('1'): Decimal"),
        ({"sequence": [Item(1), Item(D)]}, "sequence[1].price: Decimal"),
        ({"mapping": {"a": None, "b": Item(D)}}, "mapping.b.price: Decimal"),
        ({"perhaps": D}, "perhaps: Decimal"),
        ({"one_of": [D]}, "one_of[0]: Decimal"),
        ({"one_of": Item(D)}, "one_of.price: Decimal"),
        ({"marked": D}, "marked: Decimal"),
        ({"detail": {"what": D}}, "detail.what: Decimal"),
        ({"pair": Pair(D, 1)}, "pair.left: Decimal"),
        ({"box": Box(D)}, "box.content: Decimal"),
        ({"node": Node(1, Node(2, Node(D)))}, "node.next.next.value: Decimal"),
    ],
)
def test_wherever_it_stands_its_path_is_told(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(EventEncodingError) as refused:
        codec(Happened).encode(Happened(**fields))

    assert where in str(refused.value)


def test_what_json_has_is_taken_everywhere() -> None:
    plain: Any = {"a": [None, True, 1, 2**63, 10**30, -0.0, 1e308, "text", {"b": []}], "": 1.0}
    happened = Happened(
        payload=plain, by_name=plain, by_number={1: plain}, loose={"a": 1}, bare=plain, items=[plain], row=(1, plain),
        rows=(plain, 1), members={1, "a", None, 2.5}, sequence=[Item(plain)], mapping={"a": Item(plain), "b": None},
        perhaps=plain, one_of=[plain], marked=plain, detail={"count": 1}, pair=Pair(plain, 1), box=Box(plain),
        node=Node(plain, Node(plain)),
    )  # fmt: skip

    assert codec(Happened).decode(codec(Happened).encode(happened)) == happened


def test_what_has_a_type_is_taken_and_not_looked_into() -> None:
    typed = Typed(amount=D, at=NOON, tags=frozenset("ab"), row=(1, "a"), counts={1: 2.0}, level=Level.HIGH)

    assert codec(Typed).decode(codec(Typed).encode(typed)) == typed


def test_a_number_that_is_not_finite_is_refused_as_such() -> None:
    with pytest.raises(EventEncodingError, match="nan is not a finite number"):
        codec(Happened).encode(Happened(payload=[float("nan")]))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abc"), inner, max_size=3),
)  # fmt: skip
OTHER = st.recursive(
    JSON | st.decimals(allow_nan=False) | st.uuids() | st.dates() | st.binary(max_size=3) | st.just(Colour.RED),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(st.integers(0, 3) | st.text("abc"), inner, max_size=3)
    ),
)


def is_same(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return [*map(repr, one)] == [*map(repr, other)] and all(map(is_same, one.values(), other.values()))
    if isinstance(one, list):
        return len(one) == len(other) and all(map(is_same, one, other))
    return bool(one == other)


@given(JSON | OTHER)
def test_it_comes_back_as_it_was_or_is_refused(value: Any) -> None:
    try:
        text = codec(Happened).encode(Happened(payload=value))
    except EventEncodingError:
        assert not is_same(value, msgspec.json.decode(msgspec.json.encode(value)))
    else:
        assert is_same(codec(Happened).decode(text).payload, value)


# --- Pydantic ---------------------------------------------------------------------------------------------------------


class Inner(BaseModel):
    value: Any = None


@event("untyped.modelled")
class Modelled(BaseModel):
    amount: Decimal = Decimal(0)
    payload: Any = None
    inner: Inner | None = None


@event("untyped.open_model")
class OpenModel(BaseModel, extra="allow"):
    n: int = 0


@pytest.mark.parametrize(
    ("fields", "where"),
    [
        ({"payload": {"items": [Decimal(1)]}}, "payload.items[0]: Decimal would come back as str"),
        ({"payload": Level.HIGH}, "payload: Level would come back as int"),
        ({"payload": [Name("ann")]}, "payload[0]: Name would come back as str"),
        ({"payload": (1, 2)}, "payload: tuple would come back as list"),
        ({"inner": Inner(value=Level.HIGH)}, "inner.value: Level would come back as int"),
    ],
)
def test_so_it_is_with_pydantic_models(fields: dict[str, Any], where: str) -> None:
    with pytest.raises(EventEncodingError) as refused:
        codec(Modelled).encode(Modelled(**fields))

    assert where in str(refused.value)


def test_further_fields_of_a_pydantic_model_are_looked_at() -> None:
    with pytest.raises(EventEncodingError, match="more: Level would come back as int"):
        codec(OpenModel).encode(OpenModel.model_validate({"more": Level.HIGH}))


# --- Where it is told -------------------------------------------------------------------------------------------------


class Log(AggregateRoot, category="untyped_log"):
    count: int = 0

    @handles
    def _happened(self, event: Happened) -> None:
        self.count += 1


async def test_it_is_refused_where_it_is_raised_and_nothing_has_changed() -> None:
    log = Log("1")

    with pytest.raises(EventEncodingError, match="payload: Decimal"):
        log.raise_event(Happened(payload=D))

    assert (log.count, log.uncommitted_events) == (0, ())
    store = InMemoryEventStore()
    assert await Repository(Log, store).save(log) is None


async def test_nothing_of_an_append_is_written_when_one_of_its_events_is_refused() -> None:
    store = InMemoryEventStore()

    with pytest.raises(EventEncodingError, match="payload: Decimal"):
        await store.append_to_stream("untyped_log-1", 0, [Happened(), NewEvent(Happened(payload=D))])

    assert await store.read_all_events() == []
