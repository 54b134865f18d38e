"""Handlers, keys and child tables of a `TableProjection`."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Generic, TypeVar

import pytest

from perdure.children import ChildRows, child_table
from perdure.errors import (
    ChildNotLoadedError,
    ProjectionDefinitionError,
    ProjectionRowError,
    ReactionDefinitionError,
)
from perdure.events import NewEvent, handles
from perdure.projection import Projection, TableProjection
from perdure.reaction import Reaction
from perdure.testing.projections import fold, fold_tables
from tests.projections.counting import Broken, Closed, Ignored, Moved, Page, Pages, Visited, Visitor
from tests.projections.noting import Note, Noted, Notes

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


def test_a_row_that_is_deleted_and_comes_back_starts_empty() -> None:
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


def test_events_without_a_handler_are_ignored() -> None:
    assert fold(Pages(), [Ignored(page="a"), Closed(page="a"), Moved(source="a", target="b")]) == {}


def test_the_time_is_that_of_the_event() -> None:
    then = datetime(2001, 2, 3, tzinfo=UTC)

    assert fold(Pages(), [NewEvent(Visited(page="a", visitor="x"), timestamp=then)])["a"].last_visit == then


def test_a_handler_gets_its_own_copy_of_event_and_row() -> None:
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


def test_the_error_of_a_handler_is_raised() -> None:
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


def test_keys_of_child_table_chooses_the_child_rows_to_load() -> None:
    def handler(visitors: ChildRows[Visitor]) -> None:
        visitors.put(Visitor("a", "other"))

    rows = fold_tables(visiting(handler, keys=lambda _: ["other", "more"]), [Visited(page="a", visitor="x")])

    assert list(rows["visiting_visitors"]) == [("a", "other")]


def test_a_child_row_belongs_to_the_row_that_is_handled() -> None:
    with pytest.raises(ProjectionRowError, match="doesn't begin with that of the parent's row"):
        fold(visiting(lambda visitors: visitors.put(Visitor("b", "x"))), [Visited(page="a", visitor="x")])


class Carefree:
    def __init_subclass__(cls, *, mood: str = "good", **rest: Any) -> None:
        super().__init_subclass__(**rest)


def test_an_argument_that_no_class_takes_is_refused_with_those_that_exist() -> None:
    known = "TableProjection takes table, key, version, on_failure, by_stream, indexes, unique$"
    with pytest.raises(ProjectionDefinitionError, match=rf"'test_.*Misnamed' can't run: .*; a {known}"):
        type("Misnamed", (TableProjection,), {"__qualname__": "test_it.Misnamed"}, name="v", table="v", key="v")
    with pytest.raises(ProjectionDefinitionError, match=r"a Projection takes name, version, on_failure, start$"):
        type("Misnamed", (Projection,), {}, table="v")
    with pytest.raises(ReactionDefinitionError, match=r"a Reaction takes name, key, start, concurrency, retry$"):
        type("Misnamed", (Reaction,), {}, table="v")
    type("Mixed", (Projection, Carefree), {}, name="mixed", mood="bad")
