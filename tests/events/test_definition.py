"""What `@event` makes of a class, and what it refuses."""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Generic, TypeVar

import msgspec
import pytest

from perdure import (
    DuplicateEventTypeError,
    EventDefinitionError,
    InvalidArgumentError,
    NewEvent,
    UnregisteredEventError,
    event,
    field,
)
from perdure.events import registry

T = TypeVar("T")


class Service:
    """Something that can't be stored."""


def written_and_read(value: object) -> Any:
    codec = registry.by_class(type(value)).codec
    return codec.decode(codec.encode(value))


def test_a_plain_class_becomes_a_frozen_keyword_only_one() -> None:
    @event("definition.plain")
    class Plain:
        """Kept."""

        name: str
        count: int = 2

        def shout(self) -> str:
            return self.name.upper()

    plain = Plain(name="a")

    assert repr(plain) == "Plain(name='a', count=2)"
    assert plain == Plain(name="a", count=2)
    assert plain.shout() == "A"
    assert Plain.__doc__ == "Kept."
    assert Plain.__qualname__.endswith("<locals>.Plain")
    assert Plain.__module__ == __name__
    with pytest.raises(AttributeError):
        plain.name = "b"  # type: ignore[misc] # the point: it is frozen
    with pytest.raises(TypeError):
        Plain("a")  # type: ignore[call-arg] # the point: it is keyword-only


def test_a_dataclass_and_a_struct_stay_what_they_are() -> None:
    @event("definition.dataclass")
    @dataclass
    class Data:
        name: str

    @event("definition.struct")
    class Struct(msgspec.Struct):
        name: str

    assert dataclasses.is_dataclass(Data)
    assert issubclass(Struct, msgspec.Struct)
    assert written_and_read(Data("a")) == Data("a")
    assert written_and_read(Struct("a")) == Struct("a")


def test_an_event_needs_no_fields() -> None:
    @event("definition.empty")
    class Empty: ...

    assert written_and_read(Empty()) == Empty()


def test_fields_get_fresh_values_from_a_factory() -> None:
    @event("definition.factory")
    class Opened:
        items: list[str] = field(default_factory=list)
        kind: str = field(default="plain")

    assert Opened() == Opened(items=[], kind="plain")
    assert Opened().items is not Opened().items


def test_methods_may_use_super_and_properties() -> None:
    class Named:
        def label(self) -> str:
            return "named"

        @classmethod
        def kind(cls) -> str:
            return cls.__name__

        @property
        def title(self) -> str:
            return "Ms"

    @event("definition.super")
    class Labelled(Named):
        name: str

        def label(self) -> str:
            return f"{super().label()} {self.name} {__class__.__name__}"  # type: ignore[name-defined] # a cell of Python's

        @property
        def initial(self) -> str:
            return self.name[0]

        @classmethod
        def kind(cls) -> str:
            return f"{super().kind()}!"

        @property
        def title(self) -> str:
            return f"{super().title} {afterwards}"

    afterwards = "Ann"
    labelled = Labelled(name="ann")

    assert labelled.label() == "named ann Labelled"
    assert (labelled.initial, labelled.kind(), labelled.title) == ("a", "Labelled!", "Ms Ann")


def test_an_event_may_extend_another_event() -> None:
    @event("definition.parent")
    class Parent:
        name: str

    @event("definition.child")
    class Child(Parent):
        age: int

    assert written_and_read(Child(name="a", age=3)) == Child(name="a", age=3)
    assert registry.by_class(Parent).name == "definition.parent"


def test_an_event_may_be_generic() -> None:
    @event("definition.generic")
    class Changed(Generic[T]):
        value: T

    assert written_and_read(Changed(value=[1])) == Changed(value=[1])


def test_annotations_may_name_classes_that_are_defined_further_down() -> None:
    assert written_and_read(Early(later=Late(name="a"))) == Early(later=Late(name="a"))


@event("definition.early")
class Early:
    later: "Late"


@dataclass
class Late:
    name: str


def test_a_type_that_cant_be_stored_is_refused_at_first_use_when_its_name_came_later() -> None:
    with pytest.raises(EventDefinitionError, match="field 'unstorable' has type Unstorable"):
        written_and_read(Hasty(unstorable=Unstorable()))


@event("definition.hasty")
class Hasty:
    unstorable: "Unstorable"


class Unstorable: ...


def unstorable_class() -> None:
    @event("definition.refused_class")
    class Refused:
        fine: int
        bad: Service


def unstorable_within() -> None:
    @event("definition.refused_within")
    class Refused:
        fine: int
        bad: dict[str, list[tuple[int, Service | None]]]


def unstorable_dataclass() -> None:
    @event("definition.refused_dataclass")
    @dataclass
    class Refused:
        fine: int
        bad: Callable[[], int]


def unstorable_struct() -> None:
    @event("definition.refused_struct")
    class Refused(msgspec.Struct):
        fine: int
        bad: complex


def unstorable_object() -> None:
    @event("definition.refused_object")
    class Refused:
        fine: int
        bad: object


def unstorable_raw() -> None:
    @event("definition.refused_raw")
    class Refused:
        fine: int
        bad: msgspec.Raw


def unstorable_keys() -> None:
    @event("definition.refused_keys")
    class Refused:
        fine: dict[str, int]
        bad: dict[tuple[int, int], str]


def indistinguishable_union() -> None:
    @event("definition.refused_union")
    class Refused:
        fine: int | str
        bad: Decimal | str


def indistinguishable_union_in_text() -> None:
    @event("definition.refused_text")
    class Refused:
        fine: "int | str"
        bad: "Decimal | str"


@pytest.mark.parametrize(
    "define",
    [
        unstorable_class,
        unstorable_within,
        unstorable_dataclass,
        unstorable_struct,
        unstorable_object,
        unstorable_raw,
        unstorable_keys,
        indistinguishable_union,
        indistinguishable_union_in_text,
    ],
)
def test_a_type_that_cant_be_stored_is_refused_naming_class_field_and_fix(define: Callable[[], None]) -> None:
    with pytest.raises(
        EventDefinitionError, match=r"Refused can't be an event: field 'bad' .+(; use|; give)"
    ) as caught:
        define()

    assert caught.value.cls.__name__ == "Refused"


def test_a_private_field_of_a_dataclass_is_never_lost() -> None:
    """Older versions of msgspec leave it out."""
    try:

        @event("definition.private")
        @dataclass
        class Private:
            shown: int
            _secret: str = ""

    except EventDefinitionError as refused:
        told = refused.reason
        assert told.startswith("field '_secret' isn't stored: ")
    else:
        assert written_and_read(Private(1, "kept")) == Private(1, "kept")


def test_a_refused_class_takes_no_name() -> None:
    with pytest.raises(EventDefinitionError):
        unstorable_class()

    assert registry.by_name("definition.refused_class") is None


def test_a_plain_class_with_a_constructor_is_refused() -> None:
    with pytest.raises(EventDefinitionError, match="its own __init__"):

        @event("definition.constructor")
        class Refused:
            def __init__(self) -> None: ...


def test_fields_of_a_plain_parent_are_refused_rather_than_lost() -> None:
    class Parent:
        name: str

    with pytest.raises(EventDefinitionError, match=r"inherits the fields of .*Parent"):

        @event("definition.lost_fields")
        class Refused(Parent):
            age: int


def test_a_shared_default_is_refused() -> None:
    with pytest.raises(EventDefinitionError, match="default_factory"):

        @event("definition.shared_default")
        class Refused:
            tags: list[str] = ["a"]  # noqa: RUF012 - the point: it is refused


def test_a_class_that_holds_no_fields_at_all_is_refused() -> None:
    with pytest.raises(EventDefinitionError, match="Refused"):

        @event("definition.int")
        class Refused(int): ...


def test_what_is_no_class_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="decorates classes"):
        event("definition.function")(lambda: 1)  # type: ignore[arg-type] # the point: it isn't a class


@pytest.mark.parametrize("name", ["", "with space", "nul\x00", "x" * 201, "\ud800", None, 3, Service])
def test_a_name_that_cant_be_stored_is_refused(name: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="isn't an event type"):
        event(name)


@pytest.mark.parametrize("version", [0, -1, 32768, True, "1", 1.0])
def test_a_version_that_cant_be_stored_is_refused(version: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="count 1, 2, 3"):
        event("definition.version", version=version)


@pytest.mark.usefixtures("own_registry")
def test_the_version_is_kept() -> None:
    @event("definition.versioned", version=7)
    class Versioned: ...

    assert registry.by_class(Versioned).version == 7
    assert NewEvent(Versioned()).metadata.event_version == 7


def test_two_classes_under_one_name_are_refused() -> None:
    @event("definition.twice")
    class First: ...

    with pytest.raises(DuplicateEventTypeError, match=r"belongs to .*First: give .*Second another") as caught:

        @event("definition.twice")
        class Second: ...

    assert caught.value.event_type == "definition.twice"
    assert (caught.value.existing, caught.value.cls.__name__) == (First, "Second")


def test_classes_of_the_same_name_in_different_places_are_told_apart() -> None:
    class Here:
        @event("definition.same_class_name")
        class Moved: ...

    with pytest.raises(DuplicateEventTypeError):

        class There:
            @event("definition.same_class_name")
            class Moved: ...

    assert registry.by_name("definition.same_class_name").cls is Here.Moved  # type: ignore[union-attr] # it is there


def test_a_class_defined_anew_takes_its_own_place() -> None:
    def define() -> type:
        @event("definition.reloaded")
        class Reloaded: ...

        return Reloaded

    first, second = define(), define()

    assert registry.by_name("definition.reloaded").cls is second  # type: ignore[union-attr] # it is there
    assert registry.by_class(first).name == "definition.reloaded"


def test_a_class_without_the_decorator_is_no_event() -> None:
    with pytest.raises(UnregisteredEventError, match=r"Service is not an event: decorate it with @event"):
        NewEvent(Service())
