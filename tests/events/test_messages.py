"""The event as it is written and as it is read."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from uuid import UUID, uuid4

import pytest

from perdure import (
    AggregateRoot,
    EventDecodingError,
    EventEncodingError,
    InMemoryEventStore,
    InvalidArgumentError,
    NewEvent,
    PayloadTooLargeError,
    Repository,
    StoredEvent,
    UnknownEventTypeError,
    UnregisteredEventError,
    context,
    event,
    field,
    handles,
    upcast,
)
from perdure.events import registry


@event("messages.sent", version=3)
class Sent:
    text: str


@upcast("messages.sent", from_version=1)
@upcast("messages.sent", from_version=2)
def unchanged(data: dict[str, Any]) -> dict[str, Any]:
    return data


def stored(event_type: str = "messages.sent", event_data: str = '{"text":"hi"}') -> StoredEvent:
    metadata = '{"timestamp":"2030-01-01T00:00:00Z","correlation_id":"c","headers":{"a":"b"}}'
    return StoredEvent(
        "message-1", 2, 7, UUID(int=1), event_type, 3, event_data, metadata, datetime(2030, 1, 2, tzinfo=UTC)
    )


def test_a_new_event_draws_a_time_ordered_id_and_the_time() -> None:
    before = datetime.now(UTC)
    first, second = NewEvent(Sent(text="a")), NewEvent(Sent(text="b"))

    assert first.metadata.event_id.version == 7
    assert first.metadata.event_id < second.metadata.event_id
    assert before <= first.metadata.timestamp <= datetime.now(UTC)
    assert (first.metadata.event_type, first.metadata.event_version) == ("messages.sent", 3)


def test_a_new_event_takes_what_it_is_given() -> None:
    event_id = uuid4()
    moment = datetime(2030, 1, 1, 12, tzinfo=timezone(timedelta(hours=2)))

    new = NewEvent(Sent(text="a"), event_id=event_id, timestamp=moment, headers={"a": "b"})

    assert new.metadata.event_id == event_id
    assert new.metadata.timestamp == moment
    assert new.metadata.timestamp.tzinfo is UTC
    assert new.metadata.headers == {"a": "b"}
    assert repr(new) == f"NewEvent(Sent(text='a'), event_id={event_id})"


def test_a_new_event_takes_the_rest_from_the_context() -> None:
    with context(correlation_id="c", causation_id="d", user_id="ann", headers={"a": "1", "b": "2"}):
        metadata = NewEvent(Sent(text="a"), headers={"b": "3"}).metadata

    assert (metadata.correlation_id, metadata.causation_id, metadata.user_id) == ("c", "d", "ann")
    assert metadata.headers == {"a": "1", "b": "3"}


@event("messages.listed")
class Listed:
    names: list[Any]


class Recipients(AggregateRoot, category="messages_recipients"):
    names: list[Any] = field(default_factory=list)

    @handles
    def _listed(self, event: Listed) -> None:
        self.names = event.names


async def test_a_new_event_is_written_as_it_was_when_it_was_made() -> None:
    store, names = InMemoryEventStore(), ["a"]
    new = NewEvent(Listed(names=names))
    names.append("b")
    new.event.names.append("c")

    await store.append_to_stream("message-1", 0, [new])

    [found] = await store.read_stream("message-1")
    assert found.event_data == new.event_data == '{"names":["a"]}'


async def test_an_event_is_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    store = InMemoryEventStore()
    encoded: list[Listed] = []
    codec = registry.by_class(Listed).codec
    checked = codec.checked

    def counted(event: Listed) -> tuple[str, Any]:
        encoded.append(event)
        return checked(event)

    monkeypatch.setattr(codec, "checked", counted)
    recipients = Recipients("1")

    for number in range(3):
        recipients.raise_event(Listed(names=[str(number)]))
    await Repository(Recipients, store).save(recipients)
    await store.append_to_stream("message-1", 0, [NewEvent(Listed(names=["3"])), Listed(names=["4"])])

    assert [one.names for one in encoded] == [["0"], ["1"], ["2"], ["3"], ["4"]]
    assert [one.event.names for one in await store.read_all_events()] == [["0"], ["1"], ["2"], ["3"], ["4"]]


def test_a_raised_event_is_decoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[str | bytes] = []
    codec = registry.by_class(Listed).codec
    decode = codec.decode

    def counted(data: str | bytes) -> Any:
        decoded.append(data)
        return decode(data)

    monkeypatch.setattr(codec, "decode", counted)
    recipients = Recipients("1")

    recipients.raise_event(Listed(names=["a"]))
    recipients.names.append("b")

    assert decoded == [b'{"names":["a"]}']
    assert recipients.uncommitted_events[0].event == Listed(names=["a"])


def test_each_decoded_event_is_an_object_of_its_own() -> None:
    new = NewEvent(Listed(names=["a"]))

    decoded = [new.decode(), new.event, new.decode(), new.decode()]

    assert decoded == [Listed(names=["a"])] * 4
    assert new.event is decoded[1]
    assert len({id(one.names) for one in decoded}) == 4


def test_a_value_of_a_wrong_type_is_refused_when_a_new_event_is_made() -> None:
    with pytest.raises(EventEncodingError, match="Expected `str`, got `int`"):
        NewEvent(Sent(text=5))  # type: ignore[arg-type] # the point


async def test_the_limit_of_a_payload_is_the_stores() -> None:
    new = NewEvent(Sent(text="x" * 100))

    with pytest.raises(PayloadTooLargeError):
        await InMemoryEventStore(payload_limit=50).append_to_stream("message-1", 0, [new])
    assert (await InMemoryEventStore().append_to_stream("message-1", 0, [new])).stream_version == 1


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("event_id", "not-a-uuid"),
        ("timestamp", datetime(2030, 1, 1)),  # noqa: DTZ001 - the point: it is naive
        ("timestamp", "2030-01-01"),
        ("timestamp", datetime.max.replace(tzinfo=timezone(timedelta(hours=-5)))),
        ("timestamp", datetime.min.replace(tzinfo=timezone(timedelta(hours=5)))),
        ("headers", {"a": 1}),
        ("headers", {"a": "\x00"}),
        ("headers", {"\ud800": "a"}),
    ],
)
def test_what_cant_be_stored_as_metadata_is_refused(argument: str, value: Any) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        NewEvent(Sent(text="a"), **{argument: value})

    assert caught.value.argument == argument


def test_only_events_can_be_written() -> None:
    with pytest.raises(UnregisteredEventError):
        NewEvent({"text": "a"})


def test_a_stored_event_is_decoded_once_when_it_is_asked_for() -> None:
    read = stored()

    assert read.event == Sent(text="hi")
    assert read.event is read.event
    assert read.event_data == '{"text":"hi"}'


def test_a_stored_event_knows_its_metadata() -> None:
    read = stored()

    assert read.timestamp == datetime(2030, 1, 1, tzinfo=UTC)
    assert read.metadata.event_id == UUID(int=1)
    assert read.metadata.correlation_id == "c"
    assert read.metadata.user_id is None
    assert read.metadata.headers == {"a": "b"}
    assert read.metadata is read.metadata


def test_a_type_without_a_class_stays_readable_as_raw_data() -> None:
    read = stored(event_type="messages.from_elsewhere")

    with pytest.raises(UnknownEventTypeError, match="import the module that defines it") as caught:
        _ = read.event

    assert (caught.value.event_type, caught.value.stream_id, caught.value.stream_version) == (
        "messages.from_elsewhere",
        "message-1",
        2,
    )
    assert read.event_data == '{"text":"hi"}'
    assert read.metadata.correlation_id == "c"


def test_data_that_doesnt_fit_its_class_stays_readable_as_raw_data() -> None:
    read = stored(event_data='{"texts":["hi"]}')

    with pytest.raises(EventDecodingError, match=r"missing required field `text`; give new fields a default") as caught:
        _ = read.event

    assert caught.value.event_type == "messages.sent"
    assert read.event_data == '{"texts":["hi"]}'


async def test_metadata_comes_back_from_a_store_as_it_was_written() -> None:
    store = InMemoryEventStore()
    with context(correlation_id="c", causation_id="d", user_id="ann", headers={"a": "ü"}):
        new = NewEvent(Sent(text="a"), timestamp=datetime(2030, 1, 1, tzinfo=UTC))

    await store.append_to_stream("message-1", 0, [new])

    assert (await store.read_stream("message-1"))[0].metadata == new.metadata


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"name": "a"}, "a dict is not an event: define a class with @event('category.what_happened') for it"),
        ("user.registered", "a str is not an event: define a class with @event('category.what_happened') for it"),
        (int, "a class was given as an event: give an instance of a class with @event"),
    ],
)
def test_what_can_never_be_an_event_is_refused_with_another_cure(given: object, message: str) -> None:
    with pytest.raises(UnregisteredEventError) as caught:
        NewEvent(given)
    assert str(caught.value) == message
