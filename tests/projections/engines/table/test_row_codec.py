"""Rows and keys that can't be stored as they are fail their event."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from typing import Any, Generic, TypeVar

import msgspec
import pytest

from perdure.errors import ProjectionRowError
from perdure.events import StoredEvent, handles
from perdure.projection import TableProjection
from perdure.testing.projections import fold
from tests.projections.noting import Note, Noted, Notes


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ([None], "Expected `str`, got `null`"),
        ([7], "Expected `str`, got `int`"),
        ("abc", "return a list of keys"),
        (None, "return a list of keys"),
        (["a\x00b"], "NUL"),
        (["\ud800"], "surrogates"),
    ],
)
def test_a_key_that_no_row_could_have_fails_the_event(keys: Any, reason: str) -> None:
    class Keyed(Notes, table="keyed", key="note_id"):
        def keys(self, event: Any, at: StoredEvent) -> Any:
            return keys

    with pytest.raises(ProjectionRowError, match=reason):
        fold(Keyed(), [Noted(note_id="a")])


def test_an_event_without_keys_is_ignored() -> None:
    class Keyless(Notes, table="keyless", key="note_id"):
        def keys(self, event: Any, at: StoredEvent) -> Iterable[Any]:
            return ()

    assert fold(Keyless(), [Noted(note_id="a")]) == {}


class Colour(Enum):
    RED = "red"


class Everything(msgspec.Struct, kw_only=True):
    note_id: str
    number: int = 0
    real: float = 0.0
    maybe_real: float | None = None
    exact: Decimal = Decimal(0)
    at: datetime = datetime(2020, 1, 1, tzinfo=UTC)
    colour: Colour = Colour.RED
    numbers: list[int] = []
    reals: list[float | None] = []
    document: dict[str, list[float | None]] = {}
    anything: Any = None


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"number": 2**63}, "too large"),
        ({"number": -(2**63) - 1}, "too large"),
        ({"number": "7"}, "not supported between|Expected `int`"),
        ({"number": True}, "Expected `int`"),
        ({"numbers": [1, 2**63]}, "too large"),
        ({"real": float("nan")}, "nan is not a finite number"),
        ({"maybe_real": float("inf")}, "inf is not a finite number"),
        ({"reals": [None, float("nan")]}, "nan is not a finite number"),
        ({"document": {"a": [float("nan")]}}, "JSON compliant"),
        ({"anything": (1, {"a": float("inf")})}, "JSON compliant"),
        ({"exact": Decimal("NaN")}, "not a finite number"),
        ({"exact": Decimal("1e200000")}, "more digits"),
        ({"exact": Decimal("1e-20000")}, "more digits"),
        ({"at": datetime(2020, 1, 1)}, "the datetime .* has no time zone"),  # noqa: DTZ001 - the point
        ({"note_id": "b"}, "a row never changes its key"),
        ({"colour": "red"}, None),
        ({"colour": "blue"}, "Invalid enum value 'blue'"),
        ({"anything": "a\x00b"}, "NUL"),
        ({"anything": "a\ud800"}, "surrogates"),
        ({"anything": object()}, "object"),
        ({"anything": "\\u0000"}, None),
    ],
)
def test_a_row_that_would_not_come_back_as_it_is_fails_the_event(values: dict[str, Any], reason: str | None) -> None:
    class Values(TableProjection[Everything], table="everything", key="note_id"):
        @handles
        def noted(self, event: Noted, row: Everything | None) -> Everything:
            return Everything(**{"note_id": event.note_id, **values})

    if reason is None:
        assert list(fold(Values(), [Noted(note_id="a")])) == ["a"]
        return
    with pytest.raises(ProjectionRowError, match=reason) as caught:
        fold(Values(), [Noted(note_id="a")])
    assert caught.value.table == "everything"


@dataclass
class Even:
    note_id: str
    number: int | None = None

    def __post_init__(self) -> None:
        if self.number is not None and self.number % 2:
            raise ValueError("it is odd")


Number = TypeVar("Number")


class Numbered(msgspec.Struct, Generic[Number]):
    note_id: str
    number: Number


class WholeNumbered(Numbered[int]):
    pass


class Strict(msgspec.Struct, forbid_unknown_fields=True):
    note_id: str
    number: int | None = None


class Wider(Strict):
    more: int = 1


def wrong(value: object) -> Any:
    return value


def changed(row: Even, number: int) -> Even:
    row.number = number
    return row


@pytest.mark.parametrize(
    ("row_class", "make", "reason"),
    [
        (Even, lambda key: changed(Even(key), 3), "it is odd"),
        (Even, lambda key: changed(Even(key), 2**63), "too large"),
        (Even, lambda key: changed(Even(key), 2), None),
        (Even, Even, None),
        (WholeNumbered, lambda key: WholeNumbered(key, wrong("7")), "not supported between|Expected `int`"),
        (WholeNumbered, lambda key: WholeNumbered(key, 2**63), "too large"),
        (WholeNumbered, lambda key: WholeNumbered(key, 2**63 - 1), None),
        (Strict, lambda key: Strict(key, 2**64), "too large"),
        (Strict, Wider, "unknown field"),
        (Strict, Strict, None),
    ],
)
def test_a_row_is_what_its_class_itself_can_read(
    row_class: Any, make: Callable[[str], Any], reason: str | None
) -> None:
    class Values(TableProjection[row_class], table="checked", key="note_id"):
        @handles
        def noted(self, event: Noted, row: Any) -> Any:
            return make(event.note_id)

    if reason is None:
        assert fold(Values(), [Noted(note_id="a")]) == {"a": make("a")}
    else:
        with pytest.raises(ProjectionRowError, match=reason):
            fold(Values(), [Noted(note_id="a")])


def test_a_handler_must_return_a_row() -> None:
    class Wrong(Notes, table="wrong", key="note_id"):
        @handles
        def noted(self, event: Noted, row: Note | None) -> Any:
            return event

    with pytest.raises(ProjectionRowError, match="it is a Noted, not a Note"):
        fold(Wrong(), [Noted(note_id="a")])
