"""Events that are attrs classes and pydantic models, and strategies that draw them."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from typing import Annotated, Any, Literal
from uuid import UUID

import attrs
from hypothesis import strategies as st
from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    Json,
    computed_field,
)

from perdure import (
    event,
)
from perdure.events import registry


class Service:
    """Something that can't be stored."""


class Color(Enum):
    RED = "red"
    BLUE = "blue"


@attrs.frozen
class AttrsAddress:
    street: str


@event("models.attrs")
@attrs.define
class AttrsMoved:
    name: str
    address: AttrsAddress
    at: datetime
    age: int = attrs.field(default=0, validator=attrs.validators.ge(0))
    ratio: float | None = None
    tags: list[str] = attrs.Factory(list)


class Address(BaseModel):
    street: str


class Home(Address):
    kind: Literal["home"] = "home"


class Office(Address):
    kind: Literal["office"] = "office"
    floor: int


def not_rude(name: str) -> str:
    if name == "rude":
        raise ValueError("is rude")
    return name


@event("models.pydantic")
class Moved(BaseModel):
    name: Annotated[str, AfterValidator(not_rude)]
    at: datetime
    day: date = date(2030, 1, 1)
    took: timedelta = timedelta(0)
    id: UUID = UUID(int=0)
    color: Color = Color.RED
    amount: Decimal = Decimal(0)
    ratio: float | None = None
    data: bytes = b""
    flag: bool = False
    address: Annotated[Home | Office, Field(discriminator="kind")] | None = None
    plain: Address | None = None
    tags: set[str] = Field(default_factory=set)
    pair: tuple[int, str] = (0, "")
    totals: dict[UUID, Decimal] = Field(default_factory=dict)
    zip_code: str = Field(default="", alias="zipCode")
    more: Json[list[int]] = Field(default_factory=list)
    anything: Any = None

    @computed_field
    def shout(self) -> str:
        return self.name.upper()


NOW = datetime(2030, 1, 1, tzinfo=UTC)


def encoded(value: object) -> str:
    return registry.by_class(type(value)).codec.encode(value)


def written_and_read(value: object) -> Any:
    return registry.by_class(type(value)).codec.decode(encoded(value))


# PostgreSQL takes neither NUL nor surrogates in text.
texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"))
moments = st.datetimes(timezones=st.just(UTC))
decimals = st.decimals(allow_nan=False, allow_infinity=False)
floats = st.floats(allow_nan=False, allow_infinity=False)

attrs_events = st.builds(
    AttrsMoved,
    name=texts,
    address=st.builds(AttrsAddress, texts),
    at=moments,
    age=st.integers(0),
    ratio=st.none() | floats,
    tags=st.lists(texts),
)
pydantic_events = st.builds(
    Moved,
    name=texts,
    at=moments,
    day=st.dates(),
    took=st.timedeltas(timedelta(days=-9999), timedelta(days=9999)),
    id=st.uuids(),
    color=st.sampled_from(Color),
    amount=decimals,
    ratio=st.none() | floats,
    data=texts.map(str.encode),
    flag=st.booleans(),
    address=st.none() | st.builds(Home, street=texts) | st.builds(Office, street=texts, floor=st.integers()),
    plain=st.none() | st.builds(Address, street=texts),
    tags=st.sets(texts),
    pair=st.tuples(st.integers(), texts),
    totals=st.dictionaries(st.uuids(), decimals),
    zipCode=texts,
    more=st.lists(st.integers()).map(str),
    anything=st.none() | st.booleans() | st.integers() | texts | st.lists(texts),
)
