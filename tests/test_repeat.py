"""What makes an append a repeat: both events are read by this code, and compared."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import msgspec
import pytest

from perdure import event, upcast
from perdure.commit import Commit, EncodedEvent
from perdure.errors import EventDecodingError, EventIdReuseError
from perdure.repeat import check_contents

ID = UUID(int=7)
METADATA = '{"timestamp":"2020-01-01T00:00:00Z"}'


@event("repeat.identity")
class Identity(msgspec.Struct, eq=False):
    """Two objects are never equal."""

    number: int


@event("repeat.touchy")
@dataclass
class Touchy:
    number: int

    def __eq__(self, other: object) -> bool:
        raise TypeError("secret")

    __hash__ = None  # type: ignore[assignment]  # as dataclasses do


@event("repeat.defaults", version=2, aliases=["repeat.earlier_name"])
@dataclass
class Defaults:
    number: int
    note: str = ""


@upcast("repeat.earlier_name", from_version=1)
def make_it_a_number(data: dict[str, Any]) -> dict[str, Any]:
    return {"number": int(data["number"])}


def commit(name: str, version: int, data: str, *, is_derived: bool = False) -> Commit:
    return Commit("note-1", 0, (EncodedEvent(ID, name, version, data, METADATA, is_derived),), 0)


def in_store(name: str, version: int, data: str) -> Any:
    return commit(name, version, data).events[0].stored("note-1", 1, 1, datetime(2026, 1, 1, tzinfo=UTC))


@pytest.mark.parametrize(
    ("name", "version", "data"),
    [
        ("repeat.defaults", 2, '{"number":1}'),
        ("repeat.defaults", 2, '{"note":"","number":1}'),
        ("repeat.earlier_name", 1, '{"number":"1"}'),
        ("repeat.earlier_name", 2, '{"number":1,"note":""}'),
        ("repeat.defaults", 3, '{"whatever":"a later version holds"}'),
    ],
)
def test_it_is_the_same_if_this_code_reads_the_same(name: str, version: int, data: str) -> None:
    check_contents([commit("repeat.defaults", 2, '{"number":1,"note":""}')], [in_store(name, version, data)])


def test_objects_that_are_never_equal_are_compared_by_their_texts() -> None:
    new = commit("repeat.identity", 1, '{"number":1}')

    check_contents([new], [in_store("repeat.identity", 1, '{ "number": 1 }')])
    with pytest.raises(EventIdReuseError):
        check_contents([new], [in_store("repeat.identity", 1, '{"number":2}')])


def test_the_first_content_is_kept_under_an_id_that_follows_from_another() -> None:
    check_contents([commit("repeat.identity", 1, '{"number":1}', is_derived=True)], [in_store("any.type", 1, "{}")])


@pytest.mark.parametrize(
    ("new", "there", "reason", "message"),
    [
        (
            ("repeat.defaults", 2, '{"number":5551}'),
            ("repeat.identity", 1, '{"number":5552}'),
            "type",
            "is stored as 'repeat.identity', but is 'repeat.defaults' here",
        ),
        (
            ("repeat.defaults", 2, '{"number":5551}'),
            ("repeat.unknown", 1, '{"number":5551}'),
            "type",
            "is stored as 'repeat.unknown', but is 'repeat.defaults' here",
        ),
        (
            ("repeat.defaults", 2, '{"number":5551}'),
            ("repeat.defaults", 2, '{"number":5552}'),
            "content",
            "of type 'repeat.defaults' is stored with another content",
        ),
        (
            ("repeat.defaults", 2, '{"number":5551}'),
            ("repeat.earlier_name", 1, '{"number":"5552"}'),
            "content",
            "of type 'repeat.defaults', stored as 'repeat.earlier_name', is stored with another content",
        ),
        (
            ("repeat.touchy", 1, '{"number":5551}'),
            ("repeat.touchy", 1, '{ "number":5551}'),
            "unreadable",
            "is stored as 'repeat.touchy', but this code can't compare them",
        ),
    ],
)
def test_the_error_says_what_differs_and_no_values(
    new: tuple[str, int, str], there: tuple[str, int, str], reason: str, message: str
) -> None:
    with pytest.raises(EventIdReuseError) as refused:
        check_contents([commit(*new)], [in_store(*there)])

    difference = refused.value.difference
    assert difference == (ID, new[0], there[0], reason)
    assert (refused.value.stream_id, refused.value.event_ids) == ("note-1", (ID,))
    assert f"event {ID} {message}: use a new id" in str(refused.value)
    assert "555" not in str(refused.value)
    assert "secret" not in str(refused.value)


def test_why_the_stored_event_cant_be_read_is_the_cause() -> None:
    with pytest.raises(EventIdReuseError, match="can't compare them") as refused:
        check_contents(
            [commit("repeat.defaults", 2, '{"number":1}')], [in_store("repeat.earlier_name", 1, '{"number":"one"}')]
        )

    assert refused.value.difference is not None
    assert refused.value.difference.reason == "unreadable"
    assert isinstance(refused.value.__cause__, EventDecodingError)
