"""Events of every kind of class, with values that are fine and values that are trouble."""

import enum
import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from typing import Any, Literal, NamedTuple
from uuid import UUID

import attrs
import msgspec
from hypothesis import strategies as st
from pydantic import BaseModel

from perdure import event, field


class Color(enum.Enum):
    RED = "red"
    NONE = 'it\'s "none"'


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


@dataclass
class Address:
    street: str
    zip_code: str | None = None


class Card(msgspec.Struct, tag="card"):
    number: str


class Invoice(msgspec.Struct, tag="invoice"):
    due: date
    amount: Decimal


@event("fuzzing.plain")
class Plain:
    text: str = ""
    number: int = 0
    ratio: float = 0.0
    maybe: float | None = None
    amount: Decimal = Decimal(0)
    at: datetime | None = None
    payment: Card | Invoice | None = None
    anything: Any = None
    tags: list[str] = field(default_factory=list)


@event("fuzzing.dataclass")
@dataclass(frozen=True)
class OfDataclass:
    day: date
    clock: time
    took: timedelta
    id: UUID
    color: Color
    level: Level
    address: Address | None
    data: bytes
    pair: tuple[int, str]
    unique: set[int]
    totals: dict[str, Decimal]
    by_color: dict[Color, list[Address]]
    history: list[tuple[datetime, Level]]


@event("fuzzing.struct")
class OfStruct(msgspec.Struct):
    kind: Literal["a", "b"]
    number_or_text: int | str | bool | None
    nested: dict[str, list[float | None]]
    seen: frozenset[str] = frozenset()


@event("fuzzing.attrs")
@attrs.define
class OfAttrs:
    name: str
    at: datetime
    ratio: float | None = None
    tags: list[str] = attrs.Factory(list)
    anything: Any = None


@event("fuzzing.pydantic")
class OfPydantic(BaseModel):
    name: str
    at: datetime
    took: timedelta = timedelta(0)
    amount: Decimal = Decimal(0)
    ratio: float | None = None
    data: bytes = b""
    color: Color = Color.RED
    totals: dict[UUID, Decimal] = {}
    anything: Any = None


class Values(NamedTuple):
    """What events are made of."""

    texts: st.SearchStrategy[str]
    whole: st.SearchStrategy[int]
    real: st.SearchStrategy[float]
    exact: st.SearchStrategy[Decimal]
    moments: st.SearchStrategy[datetime]

    @property
    def anything(self) -> st.SearchStrategy[Any]:
        """What may stand where no type is declared: what JSON has a type for. The others come back as texts there."""
        return st.recursive(
            st.one_of(st.none(), st.booleans(), self.texts, self.whole, self.real),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(self.texts, inner, max_size=3),
            max_leaves=6,
        )


FINE = Values(
    texts=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=20)
    | st.sampled_from(["\\u0000", "null", "NaN", "\x01", "\x7f", "\ufffe", "🦊", "'; --", '"}', "\u202e", ""]),
    whole=st.integers() | st.sampled_from([10**400, -(10**400), 2**63, -(2**63) - 1]),
    real=st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([-0.0, 5e-324, 1.7976931348623157e308, 1e16, 0.1]),
    exact=st.decimals(allow_nan=False, allow_infinity=False)
    | st.sampled_from([Decimal("1E+999999"), Decimal("-0"), Decimal("1.10"), Decimal("1E-400")]),
    moments=st.datetimes(
        min_value=datetime(1, 1, 3),  # noqa: DTZ001 - the zone is given beside it
        max_value=datetime(9999, 12, 29),  # noqa: DTZ001 - the same
        timezones=st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes))),
    ),
)
"""What a user may well have."""

TROUBLE = Values(
    texts=FINE.texts | st.text() | st.sampled_from(["\x00", "a\x00b", "\ud800"]),
    whole=FINE.whole,
    real=FINE.real | st.sampled_from([math.nan, math.inf, -math.inf]),
    exact=FINE.exact | st.decimals(),
    moments=FINE.moments
    | st.datetimes(timezones=st.timezones() | st.none())
    | st.sampled_from([datetime.min.replace(tzinfo=timezone(timedelta(hours=14))), datetime.max.replace(tzinfo=UTC)]),
)
"""What may be neither stored nor read back, too."""


def events_of(values: Values) -> st.SearchStrategy[Any]:
    """Events of every kind of class."""
    texts, whole, real, exact, moments = values
    addresses = st.builds(Address, texts, st.none() | texts)
    return st.one_of(
        st.builds(
            Plain,
            text=texts,
            number=whole,
            ratio=real,
            maybe=st.none() | real,
            amount=exact,
            at=st.none() | moments,
            payment=st.none() | st.builds(Card, texts) | st.builds(Invoice, st.dates(), exact),
            tags=st.lists(texts, max_size=3),
        ),
        st.builds(Plain, anything=values.anything),
        st.builds(
            OfDataclass,
            day=st.dates(),
            clock=st.times(),
            took=st.timedeltas(timedelta(days=-9999), timedelta(days=9999)),
            id=st.uuids(),
            color=st.sampled_from(Color),
            level=st.sampled_from(Level),
            address=st.none() | addresses,
            data=st.binary(max_size=20),
            pair=st.tuples(st.integers(), texts),
            unique=st.sets(st.integers(), max_size=3),
            totals=st.dictionaries(texts, exact, max_size=2),
            by_color=st.dictionaries(st.sampled_from(Color), st.lists(addresses, max_size=2)),
            history=st.lists(st.tuples(moments, st.sampled_from(Level)), max_size=2),
        ),
        st.builds(
            OfStruct,
            kind=st.sampled_from(["a", "b"]),
            number_or_text=st.none() | whole | texts | st.booleans(),
            nested=st.dictionaries(texts, st.lists(st.none() | real, max_size=3), max_size=2),
            seen=st.frozensets(texts, max_size=3),
        ),
        st.builds(
            OfAttrs,
            name=texts,
            at=moments,
            ratio=st.none() | real,
            tags=st.lists(texts, max_size=2),
            anything=values.anything,
        ),
        st.builds(
            OfPydantic.model_construct,
            name=texts,
            at=moments,
            took=st.timedeltas(timedelta(days=-9999), timedelta(days=9999)),
            amount=exact,
            ratio=st.none() | real,
            data=texts.map(lambda text: text.encode(errors="replace")),
            color=st.sampled_from(Color),
            totals=st.dictionaries(st.uuids(), exact, max_size=2),
            anything=values.anything,
        ),
    )


def spelled(value: object) -> object:
    """All that can be told of a value: its types, the sign of a zero, the offset of a time, the digits of a number."""
    if isinstance(value, Mapping):
        return [type(value), [(spelled(key), spelled(inner)) for key, inner in value.items()]]
    if isinstance(value, AbstractSet):
        return [type(value), sorted(repr(spelled(inner)) for inner in value)]
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [type(value), [spelled(inner) for inner in value]]
    if isinstance(value, datetime):
        return value.isoformat(), value.utcoffset()
    names = [*getattr(value, "__struct_fields__", ()), *getattr(type(value), "__attrs_attrs__", ())]
    names = [getattr(name, "name", name) for name in names]
    names += [one.name for one in fields(value)] if is_dataclass(value) and not isinstance(value, type) else []
    names += [*type(value).model_fields] if isinstance(value, BaseModel) else []
    if names:
        return [type(value), [(name, spelled(getattr(value, name))) for name in names]]
    return type(value), repr(value)
