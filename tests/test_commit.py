"""What an append writes: encoded in the caller's task, the same whichever way an event is given."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perdure import NewEvent, PerdureError, context, event, field
from perdure.commit import ANY, AppendResult, Commit, encode_commit
from perdure.context import sources
from perdure.observation import Observer, observe

AT = datetime(2026, 11, 22, tzinfo=UTC)


@event("test.commit.measured")
class Measured:
    what: str
    value: float | None = None
    tags: list[str] = field(default_factory=list)


class NoEvent:
    pass


class Headers(Observer):
    def headers(self) -> dict[str, str]:
        return {"traceparent": "00-1", "host": "observed"}


class AsNewEvents(tuple[object, ...]):
    """Makes a new event of each payload as it is taken out, so that the first that is refused is told."""

    __slots__ = ()

    def __iter__(self) -> Iterator[NewEvent]:
        return map(NewEvent, super().__iter__())


def encoded(events: Sequence[object]) -> Commit | tuple[type, str]:
    """What becomes of them, error included, where ids and times are always the same."""
    ids = iter(range(1, 100))
    with sources(lambda: UUID(int=next(ids)), lambda: AT):
        try:
            return encode_commit("note-1", ANY, events, 200)
        except PerdureError as error:
            return type(error), str(error)


texts = st.one_of(st.text(max_size=60), st.sampled_from(["\0", "\\", "\\u0000", "\\\0", "\x1f", "\ud800", "x" * 300]))
payloads = st.one_of(
    st.builds(Measured, what=texts, value=st.one_of(st.none(), st.floats()), tags=st.lists(texts, max_size=3)),
    st.builds(Measured, what=st.integers()),  # not what is declared
    st.builds(NoEvent),
)


@given(st.lists(payloads, min_size=1, max_size=3), st.booleans(), st.booleans())
def test_a_payload_is_written_or_refused_as_a_new_event_of_it_is(
    given: list[object], is_surrounded: bool, is_observed: bool
) -> None:
    observe(Headers() if is_observed else None)
    try:
        with context(user_id="ann", headers={"host": "a"}) if is_surrounded else nullcontext():
            as_they_are = encoded(given)
            as_new_events = encoded(AsNewEvents(given))
    finally:
        observe(None)

    assert as_they_are == as_new_events


@pytest.mark.parametrize("text", ["\0", "a\0b", "\\\0", "\\\\\0", "\0\\u0000"])
def test_a_nul_is_refused_wherever_it_stands(text: str) -> None:
    assert isinstance(refused := encoded([Measured(what=text)]), tuple)
    assert "NUL" in refused[1]


@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "\\", "u0000", "\x1f"])
def test_what_only_looks_like_a_nul_is_written(text: str) -> None:
    assert isinstance(encoded([Measured(what=text)]), Commit)


def test_the_result_of_a_repeat_is_equal_to_the_first_and_not_unequal() -> None:
    first, repeat = AppendResult("account-1", 1, (1,)), AppendResult("account-1", 1, (1,), is_repeat=True)

    assert first == repeat
    assert not first != repeat  # noqa: SIM202 - `!=` is another method, which msgspec defines itself
    assert first != AppendResult("account-1", 2, (2,))
    assert len({first, repeat}) == 1
