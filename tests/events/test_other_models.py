"""attrs classes and pydantic models as events: they stay what they are, and are stored as strictly as the others."""

import math
import subprocess
import sys
from decimal import Decimal
from typing import Annotated, Any
from uuid import UUID

import attrs
import pytest
from hypothesis import given
from pydantic import (
    BaseModel,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    RootModel,
    SecretStr,
)

from perdure import (
    AggregateRoot,
    EventDecodingError,
    EventDefinitionError,
    EventEncodingError,
    InMemoryEventStore,
    Repository,
    command,
    event,
    handles,
    upcast,
)
from perdure.events import registry
from perdure.testing import given as given_events
from tests.events.other_models import (
    NOW,
    Address,
    AttrsAddress,
    AttrsMoved,
    Moved,
    Office,
    Service,
    attrs_events,
    encoded,
    pydantic_events,
    written_and_read,
)
from tests.events.stored import stored


@given(attrs_events | pydantic_events)
def test_models_come_back_as_they_were(moved: Any) -> None:
    read = written_and_read(moved)

    assert read == moved
    assert type(read) is type(moved)


def test_models_stay_what_they_are() -> None:
    assert AttrsMoved in filter(attrs.has, [AttrsMoved])
    assert issubclass(Moved, BaseModel)
    assert AttrsMoved("Ann", AttrsAddress("High St"), NOW).address.street == "High St"
    assert "shout" not in encoded(Moved(name="a", at=NOW, zipCode="1"))
    assert '"zipCode":"1"' in encoded(Moved(name="a", at=NOW, zipCode="1"))


def test_pydantic_is_imported_for_pydantic_models_only() -> None:
    script = (
        "import sys, attrs, dataclasses\n"
        "from perdure import event\n"
        "for number, kind in enumerate([lambda cls: cls, dataclasses.dataclass, attrs.define]):\n"
        "    event(f'models.{number}')(kind(type('Some', (), {'__annotations__': {'name': str}})))\n"
        "print('pydantic' in sys.modules)\n"
    )
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    assert run.stdout == "False\n"


# --- What can't be stored ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["\x00", "a\x00b", "\\\x00"])
def test_a_nul_is_refused(text: str) -> None:
    for value in (
        AttrsMoved(text, AttrsAddress(""), NOW),
        Moved(name=text, at=NOW),
        Moved(name="", at=NOW, anything={text: 1}),
    ):
        with pytest.raises(EventEncodingError, match="NUL"):
            encoded(value)


def test_a_lone_surrogate_is_refused() -> None:
    for value in (AttrsMoved("\ud800", AttrsAddress(""), NOW), Moved.model_construct(name="\ud800", at=NOW)):
        with pytest.raises(EventEncodingError):
            encoded(value)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_lacks_are_refused(number: float) -> None:
    for value in (
        AttrsMoved("", AttrsAddress(""), NOW, ratio=number),
        Moved(name="", at=NOW, ratio=number),
        Moved(name="", at=NOW, anything=[number]),
        Moved(name="", at=NOW, anything={"deep": Decimal(number)}),
        Constants(ratio=number),
        Strings(ratio=number),
    ):
        with pytest.raises(EventEncodingError):
            encoded(value)


@event("models.constants")
class Constants(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="constants")
    ratio: float | None


@event("models.strings")
class Strings(BaseModel):
    model_config = ConfigDict(ser_json_inf_nan="strings")
    ratio: float | None


def test_a_value_of_another_type_than_declared_is_refused() -> None:
    wrong_attrs = AttrsMoved(3, AttrsAddress(""), NOW)  # type: ignore[arg-type] # the point: it isn't checked here
    with pytest.raises(EventEncodingError, match=r"Expected `str`, got `int` - at `\$.name`"):
        encoded(wrong_attrs)

    for wrong in (Moved.model_construct(name=3, at=NOW), Moved.model_construct(name="rude", at=NOW)):
        with pytest.raises(EventEncodingError, match=r"models\.pydantic"):
            encoded(wrong)


def test_what_an_attrs_validator_refuses_isnt_read() -> None:
    data = encoded(AttrsMoved("Ann", AttrsAddress(""), NOW)).replace('"age":0', '"age":-1')

    with pytest.raises(Exception, match="must be >= 0"):
        registry.by_class(AttrsMoved).codec.decode(data)


def test_what_wouldnt_come_back_as_it_is_is_refused() -> None:
    for value in (
        Moved(name="", at=NOW, plain=Office(street="", floor=3)),
        Moved(name="", at=NOW, anything=(1, 2)),
        Secret(anything=SecretStr("secret")),
    ):
        with pytest.raises(EventEncodingError, match=r"(plain|anything)"):
            encoded(value)


@event("models.secret")
class Secret(BaseModel):
    anything: SecretStr


def with_service() -> None:
    @event("models.refused_service")
    class Refused(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        fine: int
        bad: Service


def with_service_in_a_union() -> None:
    @event("models.refused_union")
    class Refused(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        fine: int
        bad: dict[str, list[int | Service]]


def attrs_with_service() -> None:
    @event("models.refused_attrs")
    @attrs.define
    class Refused:
        fine: int
        bad: Service


@pytest.mark.parametrize("define", [with_service, with_service_in_a_union, attrs_with_service])
def test_a_type_that_cant_be_stored_is_refused_naming_class_field_and_fix(define: Any) -> None:
    with pytest.raises(EventDefinitionError, match=r"Refused can't be an event: field 'bad' .+; use a plain type"):
        define()


def test_a_model_without_named_fields_is_refused() -> None:
    with pytest.raises(EventDefinitionError, match="RootModel has no named fields"):

        @event("models.refused_root")
        class Refused(RootModel[list[int]]): ...


def test_a_type_of_ones_own_can_be_stored_with_a_serializer() -> None:
    point = Annotated[
        complex,
        PlainSerializer(lambda value: [value.real, value.imag], return_type=list[float]),
        PlainValidator(lambda value: complex(*value) if isinstance(value, list) else value),
    ]

    @event("models.serialized")
    class Placed(BaseModel):
        at: point = 0j

    assert written_and_read(Placed(at=1 + 2j)) == Placed(at=1 + 2j)


def test_a_default_that_cant_be_stored_is_refused_when_it_is_used() -> None:
    @event("models.default")
    class Defaulting(BaseModel):
        value: Any = Service()

    assert written_and_read(Defaulting(value=1)).value == 1
    with pytest.raises(EventEncodingError, match=r"models\.default"):
        encoded(Defaulting())


def test_annotations_may_name_classes_that_are_defined_further_down() -> None:
    assert written_and_read(Early(later=Late(name="a"))) == Early(later=Late(name="a"))


@event("models.early")
class Early(BaseModel):
    later: "Late"


class Late(BaseModel):
    name: str


# --- Reading ----------------------------------------------------------------------------------------------------------


def test_a_payload_is_read_strictly_and_the_error_holds_no_values() -> None:
    read = stored("models.pydantic", 1, name=3, at="2030-01-01T00:00:00Z", flag="yes", ratio="private")

    with pytest.raises(
        EventDecodingError, match=r"Input should be a valid string - at `\$.name`; .*give new"
    ) as caught:
        _ = read.event

    assert "at `$.flag`" in str(caught.value)
    assert "private" not in str(caught.value)


@pytest.mark.usefixtures("own_registry")
def test_old_versions_of_models_are_upcast() -> None:
    @event("models.upcast", version=2)
    class Named(BaseModel):
        name: str
        id: UUID

    @event("models.upcast_attrs", version=2)
    @attrs.define
    class NamedToo:
        name: str
        id: UUID

    for event_type in ("models.upcast", "models.upcast_attrs"):
        upcast(event_type, from_version=1)(lambda data: {"name": data["full_name"], "id": UUID(int=1)})

    assert stored("models.upcast", 1, full_name="Ann").event == Named(name="Ann", id=UUID(int=1))
    assert stored("models.upcast_attrs", 1, full_name="Ann").event == NamedToo("Ann", UUID(int=1))


class Person(AggregateRoot, category="person"):
    street: str | None = None

    @command
    def move(self, street: str, tag: str) -> None:
        self.raise_event(AttrsMoved("Ann", AttrsAddress(street), NOW, tags=[tag]))
        self.raise_event(Moved(name="Ann", at=NOW, plain=Address(street=street)))

    @handles
    def _moved(self, moved: AttrsMoved) -> None:
        self.street = moved.address.street

    @handles
    def _moved_too(self, moved: Moved) -> None:
        self.street = f"{moved.plain and moved.plain.street}!"


async def test_aggregates_raise_and_handle_models() -> None:
    people = Repository(Person, InMemoryEventStore())
    person = Person("1")
    person.move("High St", "new")
    await people.save(person)

    assert (await people.get("1")).street == "High St!"


def test_scenarios_compare_models_by_what_they_hold() -> None:
    outcome = given_events(Person("1")).when(lambda person: person.move("High St", "new"))
    expected = Moved(name="Ann", at=NOW, plain=Address(street="High St"))

    outcome.then(AttrsMoved("Ann", AttrsAddress("High St"), NOW, tags=["new"]), expected)
    with pytest.raises(AssertionError, match=r"Low St"):
        outcome.then(
            AttrsMoved("Ann", AttrsAddress("High St"), NOW, tags=["new"]),
            expected.model_copy(update={"plain": Address(street="Low St")}),
        )
