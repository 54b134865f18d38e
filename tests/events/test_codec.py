"""What is written can be read back as it was; what can't be is refused before anything is written."""

import enum
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure import (
    EventDefinitionError,
    EventEncodingError,
    InMemoryEventStore,
    NewEvent,
    PayloadTooLargeError,
    event,
    field,
)
from perdure.events import registry
from perdure.events.codec import Codec
from perdure.events.storable import _culprit


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Address:
    street: str
    zip_code: str | None = None


class Card(msgspec.Struct, tag="card", frozen=True):
    number: str


class Invoice(msgspec.Struct, tag="invoice", frozen=True):
    due: date


@event("codec.rich")
class Rich:
    moment: datetime
    day: date
    clock: time
    duration: timedelta
    amount: Decimal
    id: UUID
    color: Color
    level: Level
    address: Address
    payment: Card | Invoice
    maybe: Address | None
    number_or_text: int | str | None
    kind: Literal["a", "b"]
    ratio: float
    flag: bool
    data: bytes
    tags: list[str]
    unique: set[int]
    pair: tuple[int, str]
    totals: dict[str, Decimal]
    by_color: dict[Color, list[Address]]
    by_id: dict[UUID, int]
    history: list[tuple[datetime, Level]] = field(default_factory=list)


@event("codec.anything")
class Anything:
    value: Any


@event("codec.text")
class Text:
    text: str
    maybe: str | None = None


@event("codec.numbers")
class Numbers:
    ratio: float = 0.0
    maybe_ratio: float | None = None
    amount: Decimal = Decimal(0)
    maybe_amount: Decimal | None = None
    ratios: list[float | None] = field(default_factory=list)
    by_ratio: dict[float, str] = field(default_factory=dict)
    text: str = ""


@event("codec.tree")
class Tree:
    name: str
    children: "list[Tree]" = field(default_factory=list)


def encoded(value: object) -> str:
    return registry.by_class(type(value)).codec.encode(value)


def written_and_read(value: object) -> Any:
    return registry.by_class(type(value)).codec.decode(encoded(value))


# PostgreSQL takes neither NUL nor surrogates in text.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
decimals = st.decimals(allow_nan=False, allow_infinity=False)
zones = st.integers(-12 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(min_value=datetime(1, 1, 3), max_value=datetime(9999, 12, 29), timezones=zones)  # noqa: DTZ001 - the zone is given beside it
addresses = st.builds(Address, texts, st.none() | texts)

rich_events = st.builds(
    Rich,
    moment=moments,
    day=st.dates(),
    clock=st.times(),
    duration=st.timedeltas(timedelta(days=-9999), timedelta(days=9999)),
    amount=decimals,
    id=st.uuids(),
    color=st.sampled_from(Color),
    level=st.sampled_from(Level),
    address=addresses,
    payment=st.builds(Card, texts) | st.builds(Invoice, st.dates()),
    maybe=st.none() | addresses,
    number_or_text=st.none() | st.integers() | texts,
    kind=st.sampled_from(["a", "b"]),
    ratio=st.floats(allow_nan=False, allow_infinity=False),
    flag=st.booleans(),
    data=st.binary(),
    tags=st.lists(texts),
    unique=st.sets(st.integers()),
    pair=st.tuples(st.integers(), texts),
    totals=st.dictionaries(texts, decimals),
    by_color=st.dictionaries(st.sampled_from(Color), st.lists(addresses)),
    by_id=st.dictionaries(st.uuids(), st.integers()),
    history=st.lists(st.tuples(moments, st.sampled_from(Level))),
)


@given(rich_events)
def test_rich_types_come_back_as_they_were(rich: Any) -> None:
    assert written_and_read(rich) == rich


@given(
    st.recursive(
        texts.map(lambda name: Tree(name=name)), lambda trees: st.builds(Tree, name=texts, children=st.lists(trees))
    )
)
def test_events_that_hold_themselves_come_back_as_they_were(tree: Any) -> None:
    assert written_and_read(tree) == tree


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | texts, lambda inner: st.lists(inner) | st.dictionaries(texts, inner)
    )
)
def test_any_json_comes_back_as_it_was(value: object) -> None:
    assert written_and_read(Anything(value=value)).value == value


@given(st.text())
def test_each_text_is_either_kept_or_refused(text: str) -> None:
    unstorable = "\x00" in text or any("\ud800" <= character <= "\udfff" for character in text)
    try:
        kept = written_and_read(Text(text=text)).text
    except EventEncodingError:
        assert unstorable
    else:
        assert (kept, unstorable) == (text, False)


@pytest.mark.parametrize("text", ["null", "NaN", "Infinity", "-inf", "\\u0000", "\\\\u0000", "\\", '"', "\x01", "🦊"])
def test_text_that_looks_like_trouble_is_kept(text: str) -> None:
    assert written_and_read(Numbers(text=text)).text == text
    assert written_and_read(Anything(value={text: [text]})).value == {text: [text]}


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\\\x00", "\\\\\x00"])
def test_a_nul_is_refused_wherever_it_stands(text: str) -> None:
    for value in (Text(text=text), Text(text="", maybe=text), Anything(value={text: 1}), Anything(value=[[text]])):
        with pytest.raises(EventEncodingError, match="NUL"):
            encoded(value)


def test_a_lone_surrogate_is_refused() -> None:
    with pytest.raises(EventEncodingError, match=r"'codec.text' can't be stored: .*surrogates not allowed") as caught:
        encoded(Text(text="\ud800"))

    assert caught.value.event_type == "codec.text"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_floats_that_json_lacks_are_refused(number: float) -> None:
    for value in (
        Numbers(ratio=number),
        Numbers(maybe_ratio=number),
        Numbers(ratios=[1.0, None, number]),
        Numbers(by_ratio={number: "x"}),
        Anything(value={"deep": [number]}),
        Anything(value=(1, {2: number})),
    ):
        with pytest.raises(EventEncodingError):
            encoded(value)


@pytest.mark.parametrize("number", ["NaN", "sNaN", "Infinity", "-Infinity"])
def test_decimals_that_are_no_numbers_are_refused(number: str) -> None:
    for value in (
        Numbers(amount=Decimal(number)),
        Numbers(maybe_amount=Decimal(number)),
        Anything(value=Decimal(number)),
    ):
        with pytest.raises(EventEncodingError, match="is not a finite number"):
            encoded(value)


def test_null_beside_numbers_is_kept() -> None:
    assert written_and_read(Numbers(ratios=[None, 1.5])) == Numbers(ratios=[None, 1.5])


def test_decimals_keep_their_digits() -> None:
    assert str(written_and_read(Numbers(amount=Decimal("1.10"))).amount) == "1.10"


def test_moments_keep_their_offset() -> None:
    moment = datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=5, minutes=30)))

    assert written_and_read(Moment(at=moment)).at.utcoffset() == timedelta(hours=5, minutes=30)
    assert written_and_read(Moment(at=moment.astimezone(UTC))).at == moment


@event("codec.moment")
class Moment:
    at: datetime


@pytest.mark.parametrize("value", [object(), {1: object()}, 1j, lambda: 1])
def test_a_value_that_json_lacks_is_refused(value: object) -> None:
    with pytest.raises(EventEncodingError, match=r"'codec.anything' can't be stored"):
        encoded(Anything(value=value))


def test_a_value_that_holds_itself_is_refused() -> None:
    endless: list[object] = []
    endless.append(endless)

    with pytest.raises(EventEncodingError):
        encoded(Anything(value=endless))


def test_a_value_of_another_type_than_declared_is_refused() -> None:
    with pytest.raises(EventEncodingError, match=r"Expected `str`, got `int` - at `\$.text`"):
        encoded(Text(text=3))  # type: ignore[arg-type] # the point: not everybody runs a type checker


@dataclass(frozen=True)
class NamedAddress(Address):
    name: str = ""


class GoldCard(Card, frozen=True):
    limit: int = 0


@event("codec.delivery")
class Delivery:
    to: Address
    paid_by: Card | None = None


@event("codec.doubled")
@dataclass
class Doubled:
    number: int

    def __post_init__(self) -> None:
        self.number *= 2  # type: ignore[misc] # it sees all events as frozen, which only plain classes are


@pytest.mark.parametrize(
    "value",
    [
        Delivery(to=NamedAddress("Main St", name="Ann")),
        Delivery(to=Address("Main St"), paid_by=GoldCard("4711", limit=5)),
        Doubled(number=1),
    ],
    ids=["dataclass with more fields", "Struct with more fields", "__post_init__ that isn't idempotent"],
)
def test_what_would_come_back_as_something_else_is_refused(value: object) -> None:
    with pytest.raises(EventEncodingError, match="come back as something else"):
        encoded(value)


def test_an_offset_with_seconds_is_refused() -> None:
    moment = datetime(1900, 1, 1, tzinfo=timezone(timedelta(minutes=19, seconds=32)))

    with pytest.raises(EventEncodingError, match="offset with seconds: use UTC"):
        encoded(Moment(at=moment))
    assert written_and_read(Moment(at=moment.astimezone(UTC))).at == moment


@event("codec.listed")
class Listed:
    items: list[int] = field(default_factory=list)
    sequence: Sequence[str] = ()
    unique: frozenset[str] = frozenset()


@event("codec.by_identity")
@dataclass(eq=False)
class ByIdentity:
    tags: set[str]
    at: datetime | None = None


def test_collections_come_back_as_the_declared_kind() -> None:
    listed = written_and_read(Listed(items=(1, 2), sequence=("a", "b"), unique=frozenset("abc")))  # type: ignore[arg-type] # the point: a tuple is as good

    assert (listed.items, list(listed.sequence), listed.unique) == ([1, 2], ["a", "b"], {"a", "b", "c"})


def test_a_class_that_compares_by_identity_is_stored() -> None:
    read = written_and_read(ByIdentity(tags=set("abc"), at=datetime(2030, 1, 1, tzinfo=UTC)))

    assert (read.tags, read.at) == ({"a", "b", "c"}, datetime(2030, 1, 1, tzinfo=UTC))
    with pytest.raises(EventEncodingError, match="offset with seconds"):
        encoded(ByIdentity(tags=set(), at=datetime(1900, 1, 1, tzinfo=timezone(timedelta(seconds=1)))))


def test_a_field_of_any_type_refuses_what_json_would_make_something_else_of() -> None:
    with pytest.raises(EventEncodingError, match="value: tuple would come back as list; declare its type"):
        encoded(Anything(value=(1, Decimal("1.10"))))


def test_only_classes_with_fields_have_a_codec() -> None:
    with pytest.raises(EventDefinitionError, match="int can't be an event: it isn't a plain class, dataclass"):
        Codec("codec.int", int)


def test_a_field_that_does_no_harm_by_itself_is_not_blamed() -> None:
    assert "a field can't be stored: because" in _culprit(Text, TypeError("because"))


async def test_a_refused_event_is_not_written_and_neither_are_its_companions() -> None:
    store = InMemoryEventStore()

    with pytest.raises(EventEncodingError):
        await store.append_to_stream("text-1", 0, [Text(text="fine"), Text(text="\x00")])

    assert await store.read_all_events() == []


async def test_a_payload_over_the_limit_is_refused_with_its_size() -> None:
    store = InMemoryEventStore(payload_limit=100)

    with pytest.raises(PayloadTooLargeError, match="over the limit of 100") as caught:
        await store.append_to_stream("text-1", 0, [Text(text="é" * 50)])

    assert (caught.value.event_type, caught.value.size, caught.value.limit) == ("codec.text", 124, 100)
    assert await store.read_all_events() == []


async def test_metadata_over_the_limit_is_refused() -> None:
    store = InMemoryEventStore(payload_limit=100)

    with pytest.raises(EventEncodingError, match="its metadata takes"):
        await store.append_to_stream("text-1", 0, [NewEvent(Text(text="a"), headers={"trace": "x" * 100})])
