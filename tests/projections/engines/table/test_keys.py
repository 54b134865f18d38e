"""Keys of rows: what an event says is taken as it is where that is sure to be what would be stored."""

from datetime import UTC, date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Annotated, Any, NamedTuple
from uuid import UUID

import asyncpg.pgproto.pgproto as asyncpg_types
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure.errors import ProjectionDefinitionError, ProjectionRowError
from perdure.projections.engines.table.table import Table
from perdure.projections.state.identity import BuildId


class Colour(StrEnum):
    RED = "red"


class Text(str):
    __slots__ = ()


class Pair(NamedTuple):
    name: Any
    number: Any


class Texts(msgspec.Struct):
    one: str


class ShortTexts(msgspec.Struct):
    one: Annotated[str, msgspec.Meta(max_length=3)]


class Numbers(msgspec.Struct):
    one: int


class PositiveNumbers(msgspec.Struct):
    one: Annotated[int, msgspec.Meta(gt=0)]


class Ids(msgspec.Struct):
    one: UUID


class Days(msgspec.Struct):
    one: date


class Moments(msgspec.Struct):
    one: datetime


class Colours(msgspec.Struct):
    one: Colour


class Pairs(msgspec.Struct):
    one: str
    two: int


values = st.one_of(
    st.text(),
    st.text(st.characters(codec="ascii")),
    st.text(st.characters(categories=["Cs", "Cc", "Ll"])),
    st.text().map(Text),
    st.integers(),
    st.integers(-(2**63) - 2, -(2**63) + 2) | st.integers(2**63 - 2, 2**63 + 2) | st.integers(2**64 - 2, 2**64 + 2),
    st.booleans(),
    st.uuids(),
    st.uuids().map(str),
    st.uuids().map(lambda one: asyncpg_types.UUID(one.bytes)),
    st.just(Colour.RED),
    st.dates(),
    st.datetimes(timezones=st.just(UTC) | st.none()),
    st.floats(),
    st.none(),
    st.lists(st.integers(), max_size=2),
)


def outcome(table: Table, value: object) -> object:
    """The key, with the types of what it holds, or the error in words."""
    try:
        key = table.to_key(value)
    except ProjectionRowError as error:
        return str(error)
    return type(key), [(type(one), one) for one in key], table.hash_of(key), table.encode_key(key)


def table_of(row: Any) -> Table:
    return Table(
        "rows", BuildId("rows", 1), row, row.__struct_fields__, lambda why: ProjectionDefinitionError("r", why)
    )


def without_shortcut(row: type) -> Table:
    table = table_of(row)
    table._unchanged = [lambda _: False for _ in table._unchanged]
    return table


@pytest.mark.parametrize("row", [Texts, ShortTexts, Numbers, PositiveNumbers, Ids, Days, Moments, Colours])
@given(value=values)
def test_a_key_that_is_taken_as_it_is_is_the_one_that_would_be_stored(row: type, value: object) -> None:
    assert outcome(table_of(row), value) == outcome(without_shortcut(row), value)


@given(value=st.tuples(values, values) | st.builds(Pair, values, values) | st.tuples(values) | values)
def test_a_key_of_several_fields_that_is_taken_as_it_is_is_the_one_that_would_be_stored(value: object) -> None:
    assert outcome(table_of(Pairs), value) == outcome(without_shortcut(Pairs), value)


@pytest.mark.parametrize(("row", "value"), [(Texts, "a"), (Numbers, 7), (Ids, UUID(int=7)), (Pairs, ("a", 7))])
def test_most_keys_are_taken_as_they_are(row: Any, value: Any) -> None:
    table = table_of(row)
    given = value if isinstance(value, tuple) else (value,)

    assert all(stays(one) for stays, one in zip(table._unchanged, given, strict=True))


@pytest.mark.parametrize(("field", "value"), [("moment", "2026-01-01T00:00:00"), ("exact", 1.5)])
def test_a_value_of_another_type_than_the_field_s_is_no_row(field: str, value: object) -> None:
    class Amounts(msgspec.Struct):
        one: str
        moment: datetime | None = None
        exact: Decimal | None = None

    table = Table("rows", BuildId("rows", 1), Amounts, ("one",), lambda why: ProjectionDefinitionError("rows", why))
    row = Amounts("a")
    setattr(row, field, value)

    with pytest.raises(ProjectionRowError, match=r"is no (datetime|Decimal)"):
        table.codec.encode(row)
