"""Classes that can't work are refused, with the reason."""

from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from types import new_class
from typing import Any

import msgspec
import pytest

from perdure.errors import ProjectionDefinitionError, ProjectionRowError
from perdure.events import StoredEvent, handles
from perdure.projection import ChildRows, TableProjection, child_table
from perdure.testing.projections import fold
from tests.projections.counting import Closed, Page, Pages, Visited, Visitor
from tests.projections.noting import Note, Noted, Notes


def refused(projection: Any) -> str:
    with pytest.raises(ProjectionDefinitionError) as caught:
        fold(projection, [])
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"table": ""}, "use a non-empty str"),
        ({"table": 7, "key": "note_id"}, "use a non-empty str"),
        ({"table": "notes"}, r"its key is \(\)"),
        ({"table": "notes", "key": ()}, r"its key is \(\)"),
        ({"table": "notes", "key": "note_id", "version": 0}, "0 isn't a version"),
        ({"table": "notes", "key": "note_id", "version": "1"}, "'1' isn't a version"),
    ],
)
def test_a_wrong_declaration_is_refused_where_the_class_is_defined(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(ProjectionDefinitionError, match=reason):
        type("Wrong", (TableProjection,), {}, **options)


def test_a_class_without_a_table_is_for_others_to_inherit_from() -> None:
    class Common(TableProjection[Note]):
        pass

    assert "it has no table" in refused(Common())


def test_a_class_is_no_projection_an_instance_is() -> None:
    assert "give an instance" in refused(Notes)


def test_a_projection_that_handles_nothing_is_refused() -> None:
    class Idle(TableProjection[Note], table="idle", key="note_id"):
        pass

    assert "it handles no event" in refused(Idle())


def a_projection(handler: Any, row: Any = Note, key: Any = "note_id", table: str = "made") -> TableProjection[Any]:
    handlers = {handler.__name__: handles(Noted)(handler)}
    made = new_class("Made", (TableProjection[row],), {"table": table, "key": key}, lambda body: body.update(handlers))
    projection: TableProjection[Any] = made()
    return projection


def only_event(self: Any, event: Noted) -> Any: ...
def unknown(self: Any, event: Noted, row: Any, extra: Any) -> Any: ...
def returns_nothing(self: Any, event: Noted, row: Any) -> None: ...
async def is_async(self: Any, event: Noted, row: Any) -> Any: ...
def generates(self: Any, event: Noted, row: Any) -> Any:
    yield


def takes_all(self: Any, event: Noted, row: Any, *extra: Any) -> Any: ...
def by_name_only(self: Any, event: Noted, *, row: Any) -> Any: ...
def without_row(self: Any, event: Noted, at: Any) -> Any: ...
def fine(self: Any, event: Noted, row: Any, *, at: Any, option: int = 3) -> Any: ...


@pytest.mark.parametrize(
    ("handler", "reason"),
    [
        (only_event, "a handler takes (self, event, row)"),
        (unknown, "extra"),
        (returns_nothing, "returns None, which deletes the row"),
        (is_async, "must be a plain function"),
        (generates, "must be a plain function"),
        (takes_all, "can't be called"),
        (by_name_only, "can't be called"),
        (without_row, "a handler takes (self, event, row), and optionally, by name, at"),
    ],
)
def test_a_handler_that_can_not_be_called_is_refused(handler: Any, reason: str) -> None:
    assert reason in refused(a_projection(handler))


def test_a_handler_may_have_options_of_its_own() -> None:
    assert fold(a_projection(fine), []) == {}


def test_a_handler_gets_the_stored_event_although_it_has_a_default_for_it() -> None:
    found: list[Any] = []

    def dated(self: Any, event: Noted, row: Any, at: Any = None) -> Any:
        found.append(at)
        return row

    fold(a_projection(dated), [Noted(note_id="a", text="b")])

    assert [one.stream_version for one in found] == [1]


@dataclass
class WithBytes:
    note_id: str
    content: bytes


@dataclass
class WithDuration:
    note_id: str
    lasts: timedelta


@dataclass
class WithUnknown:
    note_id: str
    thing: "NoSuchType"  # type: ignore[name-defined] # noqa: F821 - the point: it can't be resolved


class NoteList:
    pass


@dataclass
class WithCustom:
    note_id: str
    thing: NoteList


class Renamed(msgspec.Struct, rename="camel"):
    note_id: str


class AsArray(msgspec.Struct, array_like=True):
    note_id: str


class Omitting(msgspec.Struct, omit_defaults=True):
    note_id: str


@dataclass
class FloatKey:
    note_id: float


@dataclass
class MaybeKey:
    note_id: str | None


def test_keys_that_cant_be_called_with_an_event_and_what_was_stored_is_refused() -> None:
    class Short(Pages, table="short", key="page"):
        def keys(self, event: Any) -> list[str]:  # type: ignore[override] # the point
            return ["a"]

    assert "keys(event: Any) -> list[str] can't be called: it takes (self, event, at)" in refused(Short())


def test_a_handler_that_isnt_a_method_is_refused() -> None:
    assert "handler fine() is a staticmethod, but must be a plain method" in refused(a_projection(staticmethod(fine)))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (WithBytes, "field 'content' of WithBytes has type bytes: use str (base64)"),
        (WithDuration, "field 'lasts' of WithDuration has type timedelta: use a number of seconds"),
        (WithCustom, "field 'thing' of WithCustom has type NoteList, which can't be stored"),
        (WithUnknown, "NoSuchType"),
        (NoteList, "use a dataclass or a msgspec Struct"),
        (Renamed, "isn't encoded by its field names"),
        (AsArray, "isn't encoded by its field names"),
        (Omitting, "isn't encoded by its field names"),
        (FloatKey, "can't be in a key"),
        (MaybeKey, "can't be in a key"),
    ],
)
def test_a_row_class_that_can_not_be_a_table_is_refused(row: Any, reason: str) -> None:
    assert reason in refused(a_projection(fine, row))


def test_a_key_must_be_among_the_fields_of_the_row() -> None:
    assert "Note has no field 'other'" in refused(a_projection(fine, key="other"))


def test_a_key_must_be_among_the_fields_of_each_event_unless_keys_says_it() -> None:
    class Textual(TableProjection[Page], table="textual", key="page"):
        @handles
        def noted(self, event: Noted, row: Page | None) -> Page | None:
            return row

    assert "Noted has no 'page', which is in the key: override keys()" in refused(Textual())


@dataclass
class NumberedVisitor:
    page: int
    visitor: str


@pytest.mark.parametrize(
    ("row", "key", "reason"),
    [(NumberedVisitor, ("page", "visitor"), "fields of the types of"), (Visitor, ("page", "none"), "no field 'none'")],
)
def test_a_child_row_class_must_fit_the_parents(row: Any, key: Any, reason: str) -> None:
    class Childish(Pages, table="childish", key="page"):
        visitors = child_table(row, table="childish_visitors", key=key)

    assert reason in refused(Childish())


def test_at_is_the_name_of_the_stored_event() -> None:
    class Childish(Pages, table="childish", key="page"):
        at = child_table(Visitor, table="childish_visitors", key=("page", "visitor"))

    assert "can't be called 'at'" in refused(Childish())


def test_a_row_class_may_be_named_before_it_is_defined() -> None:
    class Early(TableProjection["Late"], table="early", key="note_id"):
        @handles
        def noted(self, event: Noted, row: Any) -> Any:
            return Late(event.note_id)

    class Never(TableProjection["NotThere"], table="never", key="note_id"):  # type: ignore[name-defined] # the point
        pass

    assert fold(Early(), [Noted(note_id="a")]) == {"a": Late("a")}
    assert "'NotThere', its row class, isn't in" in refused(Never())


@dataclass
class Late:
    note_id: str
    at: datetime = datetime(2020, 1, 1, 5, tzinfo=timezone(timedelta(hours=5)))


def test_a_time_is_given_back_in_utc() -> None:
    class Dated(TableProjection[Late], table="dated", key="note_id"):
        @handles
        def noted(self, event: Noted, row: Late | None) -> Late:
            return Late(event.note_id)

    assert fold(Dated(), [Noted(note_id="a")])["a"].at.isoformat() == "2020-01-01T00:00:00+00:00"


def test_a_key_of_several_fields_must_be_a_tuple() -> None:
    class Visits(TableProjection[Visitor], table="visits", key=("page", "visitor")):
        def keys(self, event: Any, at: StoredEvent) -> list[Any]:
            return [event.page]

        @handles
        def visited(self, event: Visited, row: Visitor | None) -> Visitor | None:
            return row

    with pytest.raises(ProjectionRowError, match="give a tuple"):
        fold(Visits(), [Visited(page="a", visitor="x")])


def test_a_child_key_must_be_among_the_fields_of_each_event_unless_keys_says_it() -> None:
    class Childish(TableProjection[Page], table="childish", key="page"):
        visitors = child_table(Visitor, table="childish_visitors", key=("page", "visitor"))

        @handles
        def closed(self, event: Closed, row: Page | None, visitors: ChildRows[Visitor]) -> Page | None:
            return row

    assert "give child_table 'visitors' keys=" in refused(Childish())


@pytest.mark.parametrize("key", ["page", ("page",), ("visitor", "page"), ("visits", "visitor")])
def test_a_child_key_begins_with_the_parents(key: Any) -> None:
    class Childish(Pages, table="childish", key="page"):
        visitors = child_table(Visitor, table="childish_visitors", key=key)

    assert "must begin with" in refused(Childish())


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        ("x" * 60, "takes 64 bytes"),
        ("ü" * 30, "takes 64 bytes"),
        ("\x00", "can't be the name"),
        ("\ud800", "lone surrogate"),
    ],
)
def test_a_name_that_postgresql_would_cut_or_refuse_is_refused(table: str, reason: str) -> None:
    assert reason in refused(a_projection(fine, table=table))


def test_a_projection_without_a_row_class_is_refused() -> None:
    class Rowless(TableProjection, table="rowless", key="note_id"):  # type: ignore[type-arg] # the point: it says none
        @handles
        def noted(self, event: Noted, row: Any) -> Any:
            return row

    assert "doesn't name its row class" in refused(Rowless())
