"""Which method takes which event."""

from typing import Any

import pytest

from perdure import AggregateDefinitionError, event, handles
from perdure.events import handlers_of


@event("handling.opened")
class Opened: ...


@event("handling.closed")
class Closed: ...


@event("handling.locked")
class Locked(Closed): ...


class NoEvent: ...


def found_in(cls: type) -> dict[type, str]:
    handlers = handlers_of(cls, lambda reason: AggregateDefinitionError(cls, reason))
    return {event_class: handler.__qualname__.split("<locals>.")[-1] for event_class, handler in handlers.items()}


def test_a_method_takes_the_event_that_it_is_annotated_with() -> None:
    class Door:
        @handles
        def opened(self, event: Opened) -> None: ...

        @handles
        def closed(self, event: "Closed") -> None: ...

        def neither(self, event: Locked) -> None: ...

    assert found_in(Door) == {Opened: "Door.opened", Closed: "Door.closed"}


def test_a_method_takes_each_event_of_a_union() -> None:
    class Door:
        @handles
        def moved(self, event: Opened | Closed) -> None: ...

    class Gate:
        @handles
        def moved(self, event: "Opened | Closed") -> None: ...

    assert set(found_in(Door)) == set(found_in(Gate)) == {Opened, Closed}


def test_the_classes_may_be_named_where_the_annotation_cant_be_resolved() -> None:
    class Door:
        @handles(Opened, Closed)
        def moved(self, event: "Elsewhere") -> None: ...  # type: ignore[name-defined] # noqa: F821 - the point

    assert found_in(Door) == {Opened: "Door.moved", Closed: "Door.moved"}


def test_further_parameters_are_left_to_who_calls_it() -> None:
    class Projection:
        @handles
        def opened(self, event: Opened, row: int | None, at: object) -> None: ...

    assert found_in(Projection) == {Opened: "Projection.opened"}


def test_a_subclass_overrides_by_the_method_s_name() -> None:
    class Door:
        @handles
        def moved(self, event: Opened) -> None: ...

    class Gate(Door):
        def moved(self, event: Opened) -> None: ...

    assert found_in(Gate) == {Opened: "Gate.moved"}


def test_a_subclass_overrides_by_handling_the_same_event() -> None:
    class Door:
        @handles
        def moved(self, event: Opened) -> None: ...

    class Gate(Door):
        @handles
        def swung(self, event: Opened) -> None: ...

    assert found_in(Gate) == {Opened: "Gate.swung"}


def test_an_override_for_another_event_takes_that_one_only() -> None:
    class Door:
        @handles
        def moved(self, event: Opened) -> None: ...

    class Gate(Door):
        @handles(Closed)
        def moved(self, event: Any) -> None: ...

    assert found_in(Gate) == {Closed: "Gate.moved"}


def test_a_mixin_may_bring_handlers() -> None:
    class Lockable:
        @handles
        def locked(self, event: Locked) -> None: ...

    class Door(Lockable):
        @handles
        def opened(self, event: Opened) -> None: ...

    assert found_in(Door) == {Locked: "Lockable.locked", Opened: "Door.opened"}


def test_two_methods_for_one_event_are_refused() -> None:
    class Door:
        @handles
        def first(self, event: Opened) -> None: ...

        @handles
        def second(self, event: Opened) -> None: ...

    with pytest.raises(AggregateDefinitionError, match=r"both first\(\) and second\(\) handle Opened"):
        found_in(Door)


def test_a_method_that_doesnt_say_what_it_takes_is_refused() -> None:
    class Silent:
        @handles
        def moved(self, event) -> None: ...  # type: ignore[no-untyped-def] # noqa: ANN001 - the point

    class Without:
        @handles
        def moved(self) -> None: ...

    for cls in (Silent, Without):
        with pytest.raises(AggregateDefinitionError, match=r"moved\(\) doesn't say which event it takes: annotate it"):
            found_in(cls)


def test_an_annotation_that_cant_be_resolved_is_refused_naming_the_fix() -> None:
    class Door:
        @handles
        def moved(self, event: "Elsewhere") -> None: ...  # type: ignore[name-defined] # noqa: F821 - the point

    with pytest.raises(AggregateDefinitionError, match=r"'Elsewhere' can't be resolved .*@handles\(EventClass\)"):
        found_in(Door)


@pytest.mark.parametrize("annotation", [NoEvent, Opened | None, "handling.opened", 3])
def test_what_is_no_event_is_refused(annotation: Any) -> None:
    def annotated(self: object, event: Any) -> None: ...

    annotated.__annotations__["event"] = annotation

    with pytest.raises(AggregateDefinitionError, match=r"handler annotated\(\)"):
        found_in(type("Door", (), {"annotated": handles(annotated)}))


def test_a_class_without_event_is_refused_where_it_is_named() -> None:
    class Door:
        @handles(NoEvent)
        def named(self, event: Any) -> None: ...

    with pytest.raises(AggregateDefinitionError, match=r"handler named\(\)"):
        found_in(Door)
