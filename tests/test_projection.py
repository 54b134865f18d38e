"""What a user writes: handlers, keys and child tables, and what is told about those that can't work."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import Enum
from types import new_class
from typing import Any, Generic, TypeVar

import msgspec
import pytest

from perdure.errors import ChildNotLoadedError, ProjectionDefinitionError, ProjectionRowError
from perdure.events import NewEvent, StoredEvent, event, handles
from perdure.projection import ChildRows, TableProjection, child_table
from perdure.testing.projections import fold, fold_tables
from tests.projections.counting import Broken, Closed, Ignored, Moved, Page, Pages, Visited, Visitor


@event("test.projection.noted")
class Noted:
    note_id: str
    text: str = ""
    number: Any = None


@dataclass
class Note:
    note_id: str
    text: str = ""


class Notes(TableProjection[Note], table="notes", key="note_id"):
    @handles
    def noted(self, event: Noted, row: Note | None) -> Note:
        return Note(event.note_id, event.text)


# --- Handlers, keys and child tables ----------------------------------------------------------------------------------


def test_events_are_folded_into_the_row_of_their_key() -> None:
    rows = fold(
        Pages(), [Visited(page="a", visitor="x"), Visited(page="b", visitor="x"), Visited(page="a", visitor="y")]
    )

    assert {key: (row.visits, row.visitors) for key, row in rows.items()} == {"a": (2, 2), "b": (1, 1)}


def test_none_deletes_the_row_and_its_child_rows() -> None:
    events = [Visited(page="a", visitor="x"), Visited(page="ab", visitor="x"), Closed(page="a")]

    tables = fold_tables(Pages(), events)

    assert {name: list(rows) for name, rows in tables.items()} == {"pages": ["ab"], "pages_visitors": [("ab", "x")]}


def test_a_row_that_comes_back_begins_anew() -> None:
    (row,) = fold(Pages(), [Visited(page="a", visitor="x"), Closed(page="a"), Visited(page="a", visitor="x")]).values()

    assert (row.visits, row.visitors) == (1, 1)


def test_an_event_may_concern_several_rows() -> None:
    rows = fold(
        Pages(), [Visited(page="a", visitor="x"), Visited(page="b", visitor="x"), Moved(source="a", target="b")]
    )

    assert [row.path for row in rows.values()] == [["a>b"], ["a>b"]]


def test_an_event_that_names_a_row_twice_counts_once() -> None:
    (row,) = fold(Pages(), [Visited(page="a", visitor="x"), Moved(source="a", target="a")]).values()

    assert row.path == ["a>a"]


def test_events_that_no_handler_takes_pass_by() -> None:
    assert fold(Pages(), [Ignored(page="a"), Closed(page="a"), Moved(source="a", target="b")]) == {}


def test_the_time_is_that_of_the_event() -> None:
    then = datetime(2001, 2, 3, tzinfo=UTC)

    assert fold(Pages(), [NewEvent(Visited(page="a", visitor="x"), timestamp=then)])["a"].last_visit == then


def test_what_a_handler_is_given_is_nobody_elses() -> None:
    """A row that shared a list with an event, or with another row, would change behind its own back."""
    shared: list[str] = []

    class Sharing(TableProjection[Page], table="sharing", key="page"):
        @handles
        def visited(self, event: Visited, row: Page | None) -> Page:
            return Page(event.page, path=shared)

        @handles
        def closed(self, event: Closed, row: Page | None) -> Page | None:
            assert row is not None
            row.path.append("closed")
            return row

    rows = fold(Sharing(), [Visited(page="a", visitor="x"), Visited(page="b", visitor="x"), Closed(page="a")])

    assert (rows["a"].path, rows["b"].path, shared) == (["closed"], [], [])


def test_a_failing_handler_is_heard() -> None:
    with pytest.raises(RuntimeError, match="broken as asked"):
        fold(Pages(is_broken=True), [Broken(page="a")])


def test_keys_of_several_fields_are_tuples() -> None:
    @dataclass
    class Placed:
        note_id: str
        text: str
        count: int = 0

    class Places(TableProjection[Placed], table="places", key=("note_id", "text")):
        @handles
        def noted(self, event: Noted, row: Placed | None) -> Placed:
            row = row or Placed(event.note_id, event.text)
            row.count += 1
            return row

    rows = fold(Places(), [Noted(note_id="a", text="x"), Noted(note_id="a", text="y"), Noted(note_id="a", text="x")])

    assert {key: row.count for key, row in rows.items()} == {("a", "x"): 2, ("a", "y"): 1}


def test_handlers_are_inherited_and_overridden() -> None:
    class Shouted(Notes, table="shouted", key="note_id", version=3):
        @handles
        def noted(self, event: Noted, row: Note | None) -> Note:
            return Note(event.note_id, event.text.upper())

    assert fold(Shouted(), [Noted(note_id="a", text="x")]) == {"a": Note("a", "X")}
    assert (Shouted.name, Shouted.version, Notes.version) == ("shouted", 3, 1)


def test_a_generic_class_between_is_looked_through() -> None:
    R = TypeVar("R", bound=Note)

    class Between(TableProjection[R], Generic[R]):
        pass

    class Concrete(Between[Note], table="concrete", key="note_id"):
        @handles
        def noted(self, event: Noted, row: Note | None) -> Note:
            return Note(event.note_id)

    assert fold(Concrete(), [Noted(note_id="a")]) == {"a": Note("a")}


def test_a_projection_without_a_row_class_is_refused() -> None:
    class Rowless(TableProjection, table="rowless", key="note_id"):  # type: ignore[type-arg] # the point: it says none
        @handles
        def noted(self, event: Noted, row: Any) -> Any:
            return row

    assert "doesn't name its row class" in refused(Rowless())


# --- Child rows -------------------------------------------------------------------------------------------------------


def visiting(handler: Any, **options: Any) -> TableProjection[Any]:
    """A projection whose handler of visits is this one."""

    class Visiting(TableProjection[Page], table="visiting", key="page"):
        visitors = child_table(Visitor, table="visiting_visitors", key=("page", "visitor"), **options)

        @handles
        def visited(self, event: Visited, row: Page | None, visitors: ChildRows[Visitor]) -> Page | None:
            handler(visitors)
            return row or Page(event.page)

    return Visiting()


def test_a_handler_sees_what_it_put_and_deleted() -> None:
    seen: list[Any] = []

    def handler(visitors: ChildRows[Visitor]) -> None:
        seen.append("x" in visitors)
        visitors.put(Visitor("a", "x", 5))
        seen.append(visitors.get("x"))
        visitors.delete("x")
        seen.append("x" in visitors)

    assert fold_tables(visiting(handler), [Visited(page="a", visitor="x")])["visiting_visitors"] == {}
    assert seen == [False, Visitor("a", "x", 5), False]


def test_a_child_row_that_is_changed_but_not_put_stays_as_it_was() -> None:
    def handler(visitors: ChildRows[Visitor]) -> None:
        visitor = visitors.get("x")
        if visitor is None:
            visitors.put(Visitor("a", "x", 5))
        else:
            visitor.visits = 99

    rows = fold_tables(visiting(handler), [Visited(page="a", visitor="x")] * 3)

    assert rows["visiting_visitors"] == {("a", "x"): Visitor("a", "x", 5)}


@pytest.mark.parametrize(
    "access",
    [
        lambda visitors: visitors.get("other"),
        lambda visitors: "other" in visitors,
        lambda visitors: visitors.delete("other"),
        lambda visitors: visitors.put(Visitor("a", "other")),
        lambda visitors: visitors.get(["no", "key"]),
    ],
    ids=["get", "in", "delete", "put", "unhashable"],
)
def test_a_child_row_that_was_not_loaded_is_an_error_that_says_how(access: Any) -> None:
    with pytest.raises(ChildNotLoadedError, match="keys=") as caught:
        fold(visiting(access), [Visited(page="a", visitor="x")])

    assert caught.value.child == "visitors"


def test_which_child_rows_are_loaded_can_be_said() -> None:
    def handler(visitors: ChildRows[Visitor]) -> None:
        visitors.put(Visitor("a", "other"))

    rows = fold_tables(visiting(handler, keys=lambda _: ["other", "more"]), [Visited(page="a", visitor="x")])

    assert list(rows["visiting_visitors"]) == [("a", "other")]


def test_a_child_row_belongs_to_the_row_that_is_handled() -> None:
    with pytest.raises(ProjectionRowError, match="doesn't begin with that of the parent's row"):
        fold(visiting(lambda visitors: visitors.put(Visitor("b", "x"))), [Visited(page="a", visitor="x")])


# --- Events and rows that can't be taken ------------------------------------------------------------------------------


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


def test_no_keys_let_the_event_pass_by() -> None:
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
        ({"at": datetime(2020, 1, 1)}, "a datetime with a time zone"),  # noqa: DTZ001 - the point
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


# --- Classes that can't work ------------------------------------------------------------------------------------------


def refused(projection: Any) -> str:
    with pytest.raises(ProjectionDefinitionError) as caught:
        fold(projection, [])
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"table": ""}, "is no name"),
        ({"table": 7, "key": "note_id"}, "is no name"),
        ({"table": "notes"}, r"its key is \(\)"),
        ({"table": "notes", "key": ()}, r"its key is \(\)"),
        ({"table": "notes", "key": "note_id", "version": 0}, "0 is no version"),
        ({"table": "notes", "key": "note_id", "version": "1"}, "'1' is no version"),
    ],
)
def test_a_wrong_declaration_is_told_where_the_class_is_defined(options: dict[str, Any], reason: str) -> None:
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
    ],
)
def test_a_handler_that_can_not_be_called_is_refused(handler: Any, reason: str) -> None:
    assert reason in refused(a_projection(handler))


def test_a_handler_may_have_options_of_its_own() -> None:
    assert fold(a_projection(fine), []) == {}


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
    [("x" * 60, "takes 64 bytes"), ("ü" * 30, "takes 64 bytes"), ("\x00", "is no name"), ("\ud800", "lone surrogate")],
)
def test_a_name_that_postgresql_would_cut_or_refuse_is_refused(table: str, reason: str) -> None:
    assert reason in refused(a_projection(fine, table=table))
