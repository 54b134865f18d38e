"""Datetimes without a time zone: none gets into the log, and those of old events can be read."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Annotated, Any, Generic, NamedTuple, TypedDict, TypeVar
from zoneinfo import ZoneInfo

import attrs
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, PlainSerializer

from perdure import (
    AggregateRoot,
    Decider,
    EventEncodingError,
    EventIdReuseError,
    InMemoryEventStore,
    NewEvent,
    ProjectionRowError,
    StoredEvent,
    TableProjection,
    command,
    event,
    handles,
    upcast,
)
from perdure.commit import PAYLOAD_LIMIT, encode_commit
from perdure.repeat import check_contents
from perdure.repository.state_codec import StateCodec
from perdure.testing import fold, stored_event
from perdure.testing import given as given_events
from tests.bad_input.values import Undecided

NAIVE = datetime(2026, 11, 30, 13, 48, 29, 897601)  # noqa: DTZ001 - the point: it is naive
AWARE = NAIVE.replace(tzinfo=UTC)
T = TypeVar("T")


class Visit(msgspec.Struct):
    at: datetime
    next: "Visit | None" = None


class Span(NamedTuple):
    start: datetime
    days: int


class Slot(TypedDict):
    at: datetime


class Box(msgspec.Struct, Generic[T]):
    content: T


@attrs.frozen
class Stay:
    until: datetime


@dataclass
class Leg:
    at: datetime


@dataclass
class Trip:
    legs: list[Leg]


class Stop(BaseModel):
    at: datetime


@event("naive.plain")
class Plain:
    at: datetime = AWARE
    perhaps: datetime | int | None = None
    visit: Visit | None = None
    stay: Stay | None = None
    trip: Trip | None = None
    times: list[datetime] = msgspec.field(default_factory=list)
    pair: tuple[int, datetime] = (1, AWARE)
    members: set[datetime] = msgspec.field(default_factory=set)
    by_name: dict[str, list[datetime]] = msgspec.field(default_factory=dict)
    by_number: Mapping[int, datetime] = msgspec.field(default_factory=dict)
    by_time: dict[datetime, int] = msgspec.field(default_factory=dict)
    span: Span = Span(AWARE, 1)
    slot: Slot = msgspec.field(default_factory=lambda: Slot(at=AWARE))
    box: Box[datetime] | None = None
    renamed: datetime = msgspec.field(default=AWARE, name="was_renamed")
    local: Annotated[datetime, msgspec.Meta(tz=False)] | None = None
    anything: Any = None
    text: str = ""
    texts: list[str] = msgspec.field(default_factory=list)
    opens: time = time(9, 30)
    day: date = date(2026, 1, 1)


@event("naive.struct")
class AStruct(msgspec.Struct):
    at: datetime


@event("naive.dataclass")
@dataclass(frozen=True)
class ADataclass:
    at: datetime
    more: list[Visit] = field(default_factory=list)


@event("naive.attrs")
@attrs.frozen
class AnAttrsClass:
    at: datetime


def _in_words(at: datetime) -> str:
    return str(at)  # with a space: not as pydantic and msgspec write it


@event("naive.model")
class AModel(BaseModel):
    model_config = ConfigDict(extra="allow")

    at: datetime = AWARE
    stops: dict[str, list[Stop | int]] = {}
    by_time: dict[datetime, int] = {}
    span: Span | None = None
    trip: Trip | None = None
    anything: Any = None


class Subject(AggregateRoot, category="naive_subject"):
    seen: int = 0

    @handles
    def _plain(self, event: Plain) -> None:
        self.seen += 1


PLACES = [
    (Plain(at=NAIVE), "at"),
    (Plain(perhaps=NAIVE), "perhaps"),
    (Plain(visit=Visit(AWARE, Visit(AWARE, Visit(NAIVE)))), "visit.next.next.at"),
    (Plain(stay=Stay(NAIVE)), "stay.until"),
    (Plain(trip=Trip([Leg(AWARE), Leg(NAIVE)])), r"trip.legs\[1\].at"),
    (Plain(times=[AWARE, NAIVE]), r"times\[1\]"),
    (Plain(pair=(1, NAIVE)), r"pair\[1\]"),
    (Plain(members={NAIVE}), "members, a member"),
    (Plain(by_name={"a": [NAIVE], "b": []}), r"by_name.a\[0\]"),
    (Plain(by_name={"a b": [NAIVE]}), r"by_name\['a b'\]\[0\]"),
    (Plain(by_number={7: NAIVE}), r"by_number\[7\]"),
    (Plain(by_time={NAIVE: 1}), "by_time, a key"),
    (Plain(span=Span(NAIVE, 1)), "span.start"),
    (Plain(slot=Slot(at=NAIVE)), "slot.at"),
    (Plain(box=Box(NAIVE)), "box.content"),
    (Plain(renamed=NAIVE), "renamed"),
    (Plain(local=NAIVE), "local"),
    (Plain(anything=NAIVE), "anything"),
    (Plain(anything={"a": [1, Visit(NAIVE)]}), r"anything.a\[1\].at"),
    (Plain(text=NAIVE), "text"),  # type: ignore[arg-type] # the point: JSON writes it as text
    (Plain(texts=["a", NAIVE]), r"texts\[1\]"),  # type: ignore[list-item] # the same
    (AStruct(NAIVE), "at"),
    (ADataclass(NAIVE), "at"),
    (ADataclass(AWARE, [Visit(NAIVE)]), r"more\[0\].at"),
    (AnAttrsClass(NAIVE), "at"),
    (AModel(at=NAIVE), "at"),
    (AModel(stops={"a": [1, Stop(at=NAIVE)]}), r"stops.a\[1\].at"),
    (AModel(by_time={NAIVE: 1}), "by_time, a key"),
    (AModel(span=Span(NAIVE, 1)), "span.start"),
    (AModel(trip=Trip([Leg(NAIVE)])), r"trip.legs\[0\].at"),
    (AModel(anything=[NAIVE]), r"anything\[0\]"),
    (AModel.model_validate({"more": NAIVE}), "more"),
]


@pytest.mark.parametrize(("raised", "path"), PLACES)
def test_it_is_refused_where_it_is_raised(raised: object, path: str) -> None:
    subject = Subject("1")
    wanted = rf"can't be stored: {path}: the datetime {OLD} has no time zone; .*datetime.now\(UTC\)"

    for raise_it in (subject.raise_event, NewEvent):
        with pytest.raises(EventEncodingError, match=wanted):
            raise_it(raised)

    assert (subject.seen, subject.stream_version, subject.uncommitted_events) == (0, 0, ())


@pytest.mark.parametrize("raised", [Plain(at=NAIVE), ADataclass(NAIVE), AnAttrsClass(NAIVE), AModel(at=NAIVE)])
async def test_it_is_refused_at_the_append_of_a_payload_and_nothing_is_written(raised: object) -> None:
    store = InMemoryEventStore()

    with pytest.raises(EventEncodingError, match=r"at: the datetime .* has no time zone"):
        await store.append_to_stream("naive-1", 0, [Plain(), raised])

    assert await store.read_all_events() == []


def _holds_naive(value: object) -> bool:
    if isinstance(value, datetime):
        return value.tzinfo is None
    return isinstance(value, dict | list) and any(
        map(_holds_naive, [*value, *(value.values() if isinstance(value, dict) else [])])
    )


_times = st.datetimes(
    timezones=st.sampled_from([None, UTC, timezone(timedelta(hours=-3)), timezone(timedelta(minutes=330))])
)


@given(
    st.builds(
        Plain,
        perhaps=st.one_of(st.none(), st.integers(), _times),
        times=st.lists(_times, max_size=3),
        by_name=st.dictionaries(st.text(), st.lists(_times, max_size=2), max_size=2),
        by_time=st.dictionaries(_times, st.integers(), max_size=2),
        text=st.one_of(st.text(), _times.map(datetime.isoformat)),
        opens=st.times(),
    )
)
def test_a_time_of_any_zone_or_none_comes_back_or_is_refused(plain: Plain) -> None:
    parts = [plain.perhaps, plain.times, plain.by_name, plain.by_time]
    try:
        new = NewEvent(plain)
    except EventEncodingError:
        assert _holds_naive(parts)
    else:
        assert not _holds_naive(parts)
        assert new.event == plain


def test_a_zone_without_an_offset_is_none() -> None:
    with pytest.raises(EventEncodingError):
        NewEvent(Plain(at=NAIVE.replace(tzinfo=Undecided())))


def test_a_decider_that_returns_it_is_refused() -> None:
    def decide(command: datetime, state: int) -> list[Plain]:
        return [Plain(at=command)]

    def evolve(state: int, event: Plain) -> int:
        return state + 1

    decider = Decider[datetime, Plain, int](category="naive_decider", initial_state=int, decide=decide, evolve=evolve)
    with pytest.raises(EventEncodingError, match="at: the datetime"):
        given_events(decider).when(NAIVE)
    assert given_events(decider).when(AWARE).state == 1


@pytest.mark.parametrize(
    "stored",
    [
        Plain(at=AWARE, opens=time(9, 30), day=date(2026, 11, 30)),
        Plain(at=datetime(2026, 7, 1, 12, tzinfo=ZoneInfo("Europe/Berlin"))),
        Plain(at=datetime(2026, 7, 1, 12, tzinfo=timezone(timedelta(hours=-5, minutes=-30)))),
        Plain(text="2026-11-30T13:48:29", anything=["T13:48:29", {"at": "2026-11-30T13:48:29"}]),
        AModel(anything="2026-11-30T13:48:29"),
    ],
)
def test_wall_clock_times_dates_zones_and_text_are_kept_as_they_are(stored: object) -> None:
    new = NewEvent(stored)

    assert new.event == stored
    assert new.event is not stored


def test_a_model_that_writes_its_times_in_a_form_of_its_own_is_looked_into() -> None:
    @event("naive.worded")
    class Worded(BaseModel):
        at: Annotated[datetime, PlainSerializer(_in_words, return_type=str)]

    with pytest.raises(EventEncodingError, match="at: the datetime"):
        NewEvent(Worded(at=NAIVE))
    assert NewEvent(Worded(at=AWARE)).event == Worded(at=AWARE)


OLD = "2026-11-30T13:48:29.897601"


def old(event_type: str, **data: object) -> StoredEvent:
    return stored_event(event_type, {"at": OLD, **data})


@pytest.mark.parametrize("kind", ["plain", "struct", "dataclass", "attrs", "model"])
def test_an_old_event_that_holds_it_can_be_read(kind: str) -> None:
    assert old(f"naive.{kind}").event.at == NAIVE


@event("naive.reviewed", version=2)
class Reviewed:
    at: datetime
    stars: int


@upcast("naive.reviewed", from_version=1)
def _with_stars(data: dict[str, Any]) -> dict[str, Any]:
    return {**data, "stars": 5}


def test_an_upcaster_gets_it_and_may_leave_it() -> None:
    assert old("naive.reviewed").event == Reviewed(at=NAIVE, stars=5)


class Diary(AggregateRoot, category="naive_diary"):
    last: datetime | None = None

    @command
    def repeat(self) -> None:
        assert self.last is not None
        self.raise_event(Plain(at=self.last))

    @command
    def write(self) -> None:
        self.raise_event(Plain(at=AWARE))

    @handles
    def _written(self, event: Plain) -> None:
        self.last = event.at


def test_an_aggregate_replays_it_and_takes_a_snapshot_of_it_but_raises_none() -> None:
    diary, restored = Diary("1"), Diary("1")
    diary.apply_stored_event(old("naive.plain"))
    codec = StateCodec(Diary)
    codec.restore(restored, codec.encode(diary))

    assert diary.last == restored.last == NAIVE
    with pytest.raises(EventEncodingError, match="at: the datetime"):
        diary.repeat()
    diary.write()
    assert diary.last == AWARE


class VisitRow(msgspec.Struct):
    stream_id: str
    at: datetime


class Visits(TableProjection[VisitRow], table="naive_visits", key="stream_id", version=1, by_stream="naive"):
    """Keeps the time as the event has it."""

    @handles
    def seen(self, event: Plain, row: VisitRow | None, at: StoredEvent) -> VisitRow:
        return VisitRow(at.stream_id.removeprefix("naive-"), event.at)


class VisitsInUTC(Visits, table="naive_visits_in_utc", key="stream_id", version=1, by_stream="naive"):
    """Knows that the clocks of old were in UTC."""

    @handles
    def seen(self, event: Plain, row: VisitRow | None, at: StoredEvent) -> VisitRow:
        return VisitRow(
            at.stream_id.removeprefix("naive-"), event.at if event.at.tzinfo else event.at.replace(tzinfo=UTC)
        )


def test_a_row_that_takes_it_from_an_old_event_says_which_column_and_what_to_do() -> None:
    events = [stored_event("naive.plain", {"at": OLD}, stream_id="naive-1")]
    wanted = rf"at: the datetime {OLD} has no time zone; give it one in the handler, .*tzinfo=UTC\), or, .*upcaster"

    with pytest.raises(ProjectionRowError, match=wanted):
        fold(Visits(), events)

    assert fold(VisitsInUTC(), events)["1"].at == AWARE


def test_an_old_event_that_holds_it_differs_from_a_new_one_with_its_id() -> None:
    new = NewEvent(Plain(at=AWARE))
    stored = msgspec.structs.replace(old("naive.plain"), event_id=new.event_id)

    with pytest.raises(EventIdReuseError) as refused:
        check_contents([encode_commit("naive-1", 0, [new], PAYLOAD_LIMIT)], [stored])

    assert refused.value.difference is not None
    assert refused.value.difference.reason == "content"
