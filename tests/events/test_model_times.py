"""Datetimes in pydantic models whose schema or whose comparison doesn't show what they are."""

from datetime import UTC, datetime
from typing import Annotated
from zoneinfo import ZoneInfo

import pytest
from pydantic import BaseModel, PlainSerializer, PlainValidator, PrivateAttr

from perdure import EventEncodingError, NewEvent, event

NAIVE = datetime(2026, 11, 30, 13, 48, 29)  # noqa: DTZ001 - the point: it is naive
AWARE = NAIVE.replace(tzinfo=UTC)


class Stop(BaseModel):
    at: datetime


def _moment(value: object) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(str(value))


def test_a_model_whose_validator_hides_the_type_from_the_schema_refuses_them_too() -> None:
    @event("naive.hidden")
    class Hidden(BaseModel):
        at: Annotated[str, PlainValidator(_moment), PlainSerializer(datetime.isoformat, return_type=str)]

    with pytest.raises(EventEncodingError, match="at: the datetime"):
        NewEvent(Hidden.model_validate({"at": NAIVE}))
    assert NewEvent(Hidden.model_validate({"at": AWARE})).event == Hidden.model_validate({"at": AWARE})


@pytest.mark.parametrize("fold", [0, 1])
def test_a_time_of_the_hour_that_a_zone_has_twice_is_kept_as_the_same_moment(fold: int) -> None:
    """Python finds such a time unequal to every time of another zone, and so to the one that comes back."""

    @event("naive.twice")
    class Stops(BaseModel):
        stops: list[Stop]
        noon: datetime
        _note: str = PrivateAttr("")

    twice = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"), fold=fold)
    read = NewEvent(Stops(stops=[Stop(at=AWARE), Stop(at=twice)], noon=AWARE)).event

    assert [stop.at.astimezone(UTC) for stop in read.stops] == [AWARE, twice.astimezone(UTC)]
    noted = Stops(stops=[], noon=AWARE)
    noted._note = "lost"  # type: ignore[misc] # to mypy, the decorator makes a frozen class
    with pytest.raises(EventEncodingError, match="private attributes"):
        NewEvent(noted)
