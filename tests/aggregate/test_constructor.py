"""What a user's ``__init__`` may do: the state consists of the declared fields, and nothing else."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, ClassVar, cast

import pytest

from perdure import AggregateDefinitionError, AggregateRoot, handles
from tests.aggregate.carts import Seen


def plain() -> None:
    class Refused(AggregateRoot, category="refused"):
        def __init__(self, aggregate_id: str) -> None:
            super().__init__(aggregate_id)
            self.email: str | None = None


def counted() -> None:
    class Refused(AggregateRoot, category="refused"):
        email = 0  # no annotation, so it isn't a field

        def __init__(self, aggregate_id: str) -> None:
            super().__init__(aggregate_id)
            self.email += 1


def a_constant() -> None:
    class Refused(AggregateRoot, category="refused"):
        email: ClassVar[str] = ""

        def __init__(self, aggregate_id: str) -> None:
            super().__init__(aggregate_id)
            self.email = "a"  # type: ignore[misc] # the point


def by_a_mixin() -> None:
    class Reachable:
        def __init__(self, aggregate_id: str) -> None:
            super().__init__(aggregate_id)  # type: ignore[call-arg] # it is mixed into aggregates
            self.email = None

    class Refused(Reachable, AggregateRoot, category="refused"): ...


def by_a_parent_without_a_category() -> None:
    class Reachable(AggregateRoot):
        def __init__(self, aggregate_id: str) -> None:
            super().__init__(aggregate_id)
            self.email = None

    class Refused(Reachable, category="refused"): ...


@pytest.mark.parametrize("define", [plain, counted, a_constant, by_a_mixin, by_a_parent_without_a_category])
def test_undeclared_state_is_refused_when_the_class_is_defined(define: Callable[[], None]) -> None:
    with pytest.raises(
        AggregateDefinitionError,
        match=r"Refused can't be .*: __init__\(\) sets self\.email, which isn't a field, .*'email: TYPE = DEFAULT'",
    ):
        define()


def test_a_handler_that_sets_undeclared_state_is_refused_when_the_class_is_defined() -> None:
    with pytest.raises(AggregateDefinitionError, match=r"handler _seen\(\) sets self\.last, which isn't a field"):

        class Refused(AggregateRoot, category="refused"):
            @handles
            def _seen(self, event: Seen) -> None:
                self.last = event


class Indirect(AggregateRoot, category="indirect"):
    """The compiler doesn't see that it sets a name that isn't declared."""

    def __init__(self, aggregate_id: str) -> None:
        super().__init__(aggregate_id)
        self._begin()

    def _begin(self) -> None:
        self.email = None


def test_state_that_is_set_in_another_way_is_refused_at_the_first_instance() -> None:
    with pytest.raises(AggregateDefinitionError, match=r"Indirect .*: __init__\(\) sets self\.email"):
        Indirect("1")


def test_an_init_that_forgets_the_root_is_refused_at_the_first_instance() -> None:
    class Forgetful(AggregateRoot, category="forgetful"):
        size: int = 0

        def __init__(self, aggregate_id: str) -> None:
            self.size = len(aggregate_id)

    with pytest.raises(AggregateDefinitionError, match=r"doesn't call super\(\)\.__init__\(aggregate_id\)"):
        Forgetful("1")


def test_an_init_that_needs_more_than_an_id_is_refused() -> None:
    with pytest.raises(
        AggregateDefinitionError, match=r"__init__\(self, aggregate_id: str, clock: .*\) .*can't be called with an id"
    ):

        class Refused(AggregateRoot, category="refused"):
            def __init__(self, aggregate_id: str, clock: object) -> None:
                super().__init__(aggregate_id)


class Sized(AggregateRoot, category="sized"):
    size: int = 0
    label: str = ""

    def __init__(self, aggregate_id: str, size: int = 1) -> None:
        """Kept."""
        super().__init__(aggregate_id)
        self.size = size


class Labelled(Sized, category="labelled"):
    made_at: datetime | None = None

    def __init__(self, aggregate_id: str) -> None:
        super().__init__(aggregate_id, 2)
        self.label = "new"
        self.made_at = datetime(2026, 1, 1, tzinfo=UTC)


class Inherited(Labelled, category="inherited"): ...


def test_declared_fields_may_be_set() -> None:
    assert vars(Sized("1", size=5)) == {"label": "", "size": 5}
    assert vars(Labelled("1")) == {"label": "new", "made_at": datetime(2026, 1, 1, tzinfo=UTC), "size": 2}
    assert vars(Inherited("1")) == vars(Labelled("1"))
    assert cast("Any", Sized).__init__.__doc__ == "Kept."


def test_a_property_of_the_class_isnt_state() -> None:
    class Half(AggregateRoot, category="half"):
        twice: int = 0

        @property
        def value(self) -> float:
            return self.twice / 2

        @value.setter
        def value(self, value: float) -> None:
            self.twice = round(value * 2)

        def __init__(self, aggregate_id: str) -> None:
            super().__init__(aggregate_id)
            self.value = 3

    assert vars(Half("1")) == {"twice": 6}


def test_a_base_class_may_leave_the_field_to_its_subclasses() -> None:
    class Base(AggregateRoot):
        def __init__(self, aggregate_id: str) -> None:
            super().__init__(aggregate_id)
            self.email = "none"

        @handles
        def _seen(self, event: Seen) -> None:
            self.email = "seen"

    class Person(Base, category="person"):
        email: str = ""

    person = Person("1")
    assert person.email == "none"
    person.raise_event(Seen())
    assert person.email == "seen"
