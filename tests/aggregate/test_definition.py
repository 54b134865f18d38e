"""What the class of an aggregate may declare; mistakes are refused when it is defined."""

import dataclasses
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any, ClassVar, Generic, TypeVar

import pytest

from perdure import (
    AggregateDefinitionError,
    AggregateRoot,
    command,
    field,
    handles,
)
from tests.aggregate.carts import Cart, Seen

T = TypeVar("T")


def test_state_is_inherited_and_defaults_may_be_overridden() -> None:
    class Named:
        name: str = "none"

    class Container(AggregateRoot):
        size: int = 1
        kind: str = "box"

    class Crate(Named, Container, category="crate"):
        kind = "crate"
        labels: list[str] = field(default_factory=list)

    assert vars(Crate("1")) == {"kind": "crate", "labels": [], "name": "none", "size": 1}


def test_a_subclass_keeps_the_category_of_its_parent() -> None:
    class BigCart(Cart):
        limit = 100

    class Trolley(Cart, category="trolley"): ...

    assert BigCart("1").stream_id == "cart-1"
    assert BigCart("1").limit == 100
    assert Trolley("1").stream_id == "trolley-1"


def test_a_class_may_be_generic() -> None:
    class Box(AggregateRoot, Generic[T], category="box"):
        content: T | None = None

    assert Box[int]("1").content is None


def test_a_class_without_a_category_has_no_instances() -> None:
    class Container(AggregateRoot): ...

    with pytest.raises(
        AggregateDefinitionError, match=r'has no category: .*Container\(AggregateRoot, category="..."\)'
    ):
        Container("1")


def test_further_class_arguments_are_left_to_other_parents() -> None:
    class Tagged:
        tag: ClassVar[str] = ""

        def __init_subclass__(cls, *, tag: str = "", **kwargs: Any) -> None:
            super().__init_subclass__(**kwargs)
            cls.tag = tag

    class Box(AggregateRoot, Tagged, category="box", tag="x"): ...

    assert (Box.tag, Box("1").stream_id) == ("x", "box-1")


@pytest.mark.parametrize("category", ["", "user-profile", "a\x00", 3, "process"])
def test_a_category_that_cant_be_one_is_refused(category: Any) -> None:
    with pytest.raises(AggregateDefinitionError, match="Refused can't be an aggregate: category"):

        class Refused(AggregateRoot, category=category): ...


@dataclasses.dataclass
class Mutable:
    value: int = 0


def shared_list() -> None:
    class Refused(AggregateRoot, category="refused"):
        names: list[str] = []  # noqa: RUF012 - the point


def shared_full_list() -> None:
    class Refused(AggregateRoot, category="refused"):
        names: list[str] = ["a"]  # noqa: RUF012 - the point


def shared_dict() -> None:
    class Refused(AggregateRoot, category="refused"):
        names: dict[str, int] = {}  # noqa: RUF012 - the point


def shared_set() -> None:
    class Refused(AggregateRoot, category="refused"):
        names: set[str] = set()  # noqa: RUF012 - the point


def shared_within_a_tuple() -> None:
    class Refused(AggregateRoot, category="refused"):
        names: tuple[list[str], ...] = ([],)


def shared_object() -> None:
    class Refused(AggregateRoot, category="refused"):
        names: Mutable = Mutable()


def shared_by_field() -> None:
    class Refused(AggregateRoot, category="refused"):
        names: list[str] = field(default=[])


def shared_without_annotation() -> None:
    class Refused(AggregateRoot, category="refused"):
        names = []  # type: ignore[var-annotated] # noqa: RUF012 - the point


def shared_by_a_mixin() -> None:
    class Named:
        names: list[str] = []  # noqa: RUF012 - the point

    class Refused(Named, AggregateRoot, category="refused"): ...


@pytest.mark.parametrize(
    "define",
    [
        shared_list,
        shared_full_list,
        shared_dict,
        shared_set,
        shared_within_a_tuple,
        shared_object,
        shared_by_field,
        shared_without_annotation,
        shared_by_a_mixin,
    ],
)
def test_a_default_that_all_would_share_is_refused(define: Callable[[], None]) -> None:
    with pytest.raises(AggregateDefinitionError, match=r"Refused can't be .*'names' has a .*field\(default_factory="):
        define()


def test_the_fix_for_an_empty_list_can_be_copied() -> None:
    with pytest.raises(AggregateDefinitionError, match=r"write 'names: list = field\(default_factory=list\)'"):
        shared_list()


def test_a_field_without_a_default_is_refused() -> None:
    with pytest.raises(
        AggregateDefinitionError, match=r"'email' has no default, .*write 'email: \.\.\. \| None = None'"
    ):

        class Refused(AggregateRoot, category="refused"):
            email: str


def test_a_field_of_the_standard_library_s_dataclasses_is_refused() -> None:
    with pytest.raises(AggregateDefinitionError, match=r"uses dataclasses\.field: use perdure\.field"):

        class Refused(AggregateRoot, category="refused"):
            names: list[str] = dataclasses.field(default_factory=list)


def taken_by_a_field() -> None:
    class Refused(AggregateRoot, category="refused"):
        stream_version: int = 0


def taken_by_an_annotation() -> None:
    class Refused(AggregateRoot, category="refused"):
        raise_event: Any = None


def taken_by_a_method() -> None:
    class Refused(AggregateRoot, category="refused"):
        def uncommitted(self) -> None: ...  # type: ignore[override] # the point


@pytest.mark.parametrize("define", [taken_by_a_field, taken_by_an_annotation, taken_by_a_method])
def test_a_name_that_every_aggregate_has_is_refused(define: Callable[[], None]) -> None:
    with pytest.raises(AggregateDefinitionError, match="is an attribute of every aggregate"):
        define()


def asynchronous_command() -> None:
    class Refused(AggregateRoot, category="refused"):
        @command
        async def decide(self) -> None: ...


def generating_command() -> None:
    class Refused(AggregateRoot, category="refused"):
        @command
        def decide(self) -> Iterator[int]:
            yield 1


def asynchronously_generating_command() -> None:
    class Refused(AggregateRoot, category="refused"):
        @command
        async def decide(self) -> AsyncIterator[int]:
            yield 1


@pytest.mark.parametrize("define", [asynchronous_command, generating_command, asynchronously_generating_command])
def test_a_command_that_doesnt_run_to_its_end_in_one_go_is_refused(define: Callable[[], None]) -> None:
    with pytest.raises(AggregateDefinitionError, match=r"command decide\(\) is asynchronous or a generator"):
        define()


def asynchronous_handler() -> None:
    class Refused(AggregateRoot, category="refused"):
        @handles
        async def _seen(self, event: Seen) -> None: ...


def handler_with_another_parameter() -> None:
    class Refused(AggregateRoot, category="refused"):
        @handles
        def _seen(self, event: Seen, at: object) -> None: ...


def handler_with_a_keyword() -> None:
    class Refused(AggregateRoot, category="refused"):
        @handles
        def _seen(self, event: Seen, *, at: object) -> None: ...


def handler_with_an_event_by_keyword() -> None:
    class Refused(AggregateRoot, category="refused"):
        @handles
        def _seen(self, *, event: Seen) -> None: ...


def handler_without_an_event() -> None:
    class Refused(AggregateRoot, category="refused"):
        @handles(Seen)
        def _seen(self) -> None: ...


def handler_without_anything() -> None:
    class Refused(AggregateRoot, category="refused"):
        @handles(Seen)
        def _seen() -> None: ...  # type: ignore[misc] # the point


def handler_with_a_tail() -> None:
    class Refused(AggregateRoot, category="refused"):
        @handles
        def _seen(self, event: Seen, *rest: object) -> None: ...


def handler_with_keywords() -> None:
    class Refused(AggregateRoot, category="refused"):
        @handles
        def _seen(self, event: Seen, **rest: object) -> None: ...


def static_handler() -> None:
    class Refused(AggregateRoot, category="refused"):
        @staticmethod
        @handles(Seen)
        def _seen(event: Seen) -> None: ...


def handler_of_the_class() -> None:
    class Refused(AggregateRoot, category="refused"):
        @handles(Seen)
        @classmethod
        def _seen(cls, event: Seen) -> None: ...


def overridden_handler() -> None:
    class Fine(AggregateRoot, category="fine"):
        @handles
        def _seen(self, event: Seen) -> None: ...

    class Refused(Fine):
        def _seen(self, event: Seen, at: object) -> None: ...  # type: ignore[override] # the point


@pytest.mark.parametrize(
    ("define", "reason"),
    [
        (asynchronous_handler, r"handler _seen\(\) is asynchronous or a generator"),
        (handler_with_another_parameter, r"handler _seen\(self, event.*, at.*\).* can't be called: .*\(self, event\)"),
        (handler_with_a_keyword, r"handler _seen\(self, event.*, \*, at.*\).* can't be called"),
        (handler_with_an_event_by_keyword, r"handler _seen\(self, \*, event.*\).* can't be called"),
        (handler_without_an_event, r"handler _seen\(self\).* can't be called"),
        (handler_without_anything, r"handler _seen\(\).* can't be called"),
        (handler_with_a_tail, r"handler _seen\(self, event.*, \*rest.*\).* can't be called"),
        (handler_with_keywords, r"handler _seen\(self, event.*, \*\*rest.*\).* can't be called"),
        (static_handler, r"handler _seen\(\) is a staticmethod, but must be a plain method"),
        (handler_of_the_class, r"handler _seen\(\) is a classmethod, but must be a plain method"),
        (overridden_handler, r"handler _seen\(self, event.*, at.*\).* can't be called"),
    ],
)
def test_a_handler_that_cant_be_called_with_an_event_is_refused(define: Callable[[], None], reason: str) -> None:
    with pytest.raises(AggregateDefinitionError, match=f"Refused can't be an aggregate: {reason}"):
        define()


def test_a_handler_may_have_further_parameters_with_defaults_or_be_decorated() -> None:
    def passed_on(method: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any, **kwargs: Any) -> None:
            method(*args, **kwargs)

        return call

    class Weighed(AggregateRoot, category="weighed"):
        weight: int = 0

        @handles(Seen)
        @passed_on
        def _seen(self, _event: Seen, step: int = 2, *, factor: int = 3) -> None:
            self.weight += step * factor

    weighed = Weighed("1")
    weighed.raise_event(Seen())
    assert weighed.weight == 6


@pytest.mark.parametrize("strict", [0, 1, "yes"])
def test_strict_is_a_flag(strict: Any) -> None:
    with pytest.raises(AggregateDefinitionError, match="strict must be True or False"):

        class Refused(AggregateRoot, category="refused", strict=strict): ...
