"""Which attributes a method assigns to its own object, read without calling it."""

from typing import Any

import pytest

from perdure.aggregate.assignments import assigned_names, undeclared_names


class Everything:
    """Assigns what its own methods name, and nothing else."""

    other: Any

    def __init__(self, value: Any, *rest: Any) -> None:
        super().__init__()
        self.plain = value
        self.annotated: int = 1
        self.first, self.second = value, rest
        self.one = self.two = 0
        self.counted += 1  # type: ignore[attr-defined] # the point
        self.joined |= value  # type: ignore[attr-defined] # the point
        for self.looped in rest:
            pass
        if value:
            self.conditional = 1
        self.captured = lambda: self

    def elsewhere(self, value: Any) -> Any:
        value.of_another = 1
        self.other.of_a_part = 1
        self.other.counted += 1
        self.other["key"] = 1
        value.self = 1
        return [self.other.read, lambda: self]

    def for_a_moment(self) -> None:
        self.passing = 1
        del self.passing


def test_each_form_of_assignment_is_found() -> None:
    assert assigned_names(Everything.__init__) == {
        "plain",
        "annotated",
        "first",
        "second",
        "one",
        "two",
        "counted",
        "joined",
        "looped",
        "conditional",
        "captured",
    }


@pytest.mark.parametrize("method", [Everything.elsewhere, Everything.for_a_moment, lambda: 1, object.__init__, 5])
def test_nothing_else_is_named(method: object) -> None:
    assert assigned_names(method) == set()


def test_a_property_and_an_own_setattr_decide_where_values_go() -> None:
    class Kept:
        @property
        def level(self) -> int:
            return 1

        @level.setter
        def level(self, value: int) -> None: ...

        def __init__(self) -> None:
            self.level = 1
            self.unknown = 2

    class Elsewhere(Kept):
        def __setattr__(self, name: str, value: object) -> None: ...

    assert undeclared_names(Kept, Kept.__init__, ()) == {"unknown"}
    assert undeclared_names(Kept, Kept.__init__, ("unknown",)) == set()
    assert undeclared_names(Elsewhere, Elsewhere.__init__, ()) == set()
