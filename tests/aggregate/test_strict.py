"""A strict class handles every event of its stream."""

import pytest

from perdure import AggregateRoot, UnhandledEventError, event, handles
from perdure.testing import given, stored_event
from tests.aggregate.carts import Emptied, GiftAdded, ItemAdded, Seen


@event("trolley.lost")
class Lost: ...


class Trolley(AggregateRoot, category="trolley", strict=True):
    items: int = 0

    @handles
    def _added(self, event: ItemAdded) -> None:
        self.items += 1

    @handles(Emptied, Seen)
    def _ignored(self, event: Emptied | Seen) -> None:
        """They are known, and don't change the state."""


def test_an_event_without_a_handler_cant_be_raised() -> None:
    trolley = Trolley("1")
    trolley.raise_event(ItemAdded(item="a"))

    with pytest.raises(UnhandledEventError) as caught:
        trolley.raise_event(Lost())

    error = caught.value
    assert str(error) == (
        f"{__name__}.Lost (version 2 of 'trolley-1') isn't handled by Trolley, which is strict: "
        "add a method with @handles for it, which may do nothing"
    )
    assert (error.cls, error.event_class, error.stream_id, error.stream_version) == (Trolley, Lost, "trolley-1", 2)
    assert (trolley.items, trolley.stream_version, len(trolley.uncommitted_events)) == (1, 1, 1)


def test_an_event_without_a_handler_cant_be_replayed() -> None:
    trolley = Trolley("1")

    with pytest.raises(UnhandledEventError, match=r"Lost \(version 1 of 'trolley-1'\)"):
        trolley.apply_event(Lost())
    with pytest.raises(UnhandledEventError, match=r"Lost \(version 1 of 'trolley-1'\)"):
        trolley.apply_stored_event(stored_event("trolley.lost", {}))
    with pytest.raises(UnhandledEventError):
        given(Trolley("1"), Lost())

    assert trolley.stream_version == 0


def test_a_handler_that_does_nothing_says_that_an_event_is_known() -> None:
    trolley = Trolley("1")
    trolley.raise_event(Emptied())
    trolley.apply_stored_event(stored_event("cart.seen", {}))
    trolley.raise_event(GiftAdded(item="a", wish="b"))  # the handler of its parent

    assert (trolley.items, trolley.stream_version) == (1, 3)


def test_a_subclass_is_as_strict_as_its_parent_unless_it_says_otherwise() -> None:
    class Big(Trolley): ...

    class Lenient(Trolley, strict=False): ...

    with pytest.raises(UnhandledEventError, match="Big, which is strict"):
        Big("1").raise_event(Lost())
    Lenient("1").raise_event(Lost())


def test_without_it_an_event_without_a_handler_only_counts() -> None:
    class Box(AggregateRoot, category="box"): ...

    box = Box("1")
    box.raise_event(Lost())
    assert box.stream_version == 1
