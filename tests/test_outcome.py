"""What is known of an append whose attempts may be answered, refused or lost, against a store that knows the truth."""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Final
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from perdure.errors import (
    DatabaseError,
    EventIdReuseError,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
    PerdureError,
    StoreClosedError,
    StoreOverloadedError,
    StoreUnavailableError,
)
from perdure.outcome import AppendOutcome, OutcomeState

IDS: Final = (UUID(int=1), UUID(int=2))
NO_WRITE: Final = (
    StoreUnavailableError("down"),
    StoreOverloadedError("a stream was locked", 1),
    StoreClosedError(),
    DatabaseError("refused", "23514"),
)


class Fate(Enum):
    """What becomes of an attempt, and what its sender learns of it."""

    ANSWERED = "the server answers"
    UNREACHED = "it never reaches the server, and the sender knows"
    LOCKED = "the server gives it up, since a stream is locked, and says so"
    CLOSED = "the store is closed before it is sent"
    FORBIDDEN = "the server rolls it back, and says why"
    LOST_BEFORE = "it is lost before it reaches the server"
    LOST_AFTER = "it is written as far as it can be, and the answer is lost"
    LOST_MEANWHILE = "its connection is lost, and the server goes on with it"
    CANCELLED = "the sender is cancelled, and the server goes on with it"
    BROKEN = "a bug ends it after it was written"


class World(Enum):
    """What happens between two attempts."""

    CONFLICT = "another writer takes its version"
    REUSE = "another writer takes one of its ids"
    SERVER_ENDS = "the server ends what it still had under way"


Step = Fate | World
steps: st.SearchStrategy[list[Step]] = st.lists(st.sampled_from([*Fate, *World]), max_size=12)


class Server:
    """Has the truth: whether the append is written. It writes it once, and looks ids up before it refuses."""

    def __init__(self) -> None:
        self.is_written = False
        self.is_under_way = False
        self.refusal: PerdureError | None = None

    def step(self, what: World) -> None:
        if what is World.SERVER_ENDS:
            if self.is_under_way:
                self.write()
            self.is_under_way = False
        elif not self.is_written and not self.is_under_way and self.refusal is None:
            conflict = OptimisticConcurrencyError("note-1", 0, 1)
            self.refusal = conflict if what is World.CONFLICT else EventIdReuseError("note-1", IDS)

    def write(self) -> None:
        self.is_written = self.is_written or self.refusal is None

    def attempt(self, outcome: AppendOutcome, fate: Fate) -> Fate:
        """Make an attempt, and return what became of it."""
        if self.is_under_way and fate in (Fate.ANSWERED, Fate.FORBIDDEN, Fate.LOST_AFTER, Fate.BROKEN):
            fate = Fate.LOCKED  # by the attempt that is still under way
        outcome.send()
        error = self._answer(fate)
        if error is None:
            outcome.commit()
        else:
            outcome.fail(error)
        return fate

    def _answer(self, fate: Fate) -> BaseException | None:
        if fate in (Fate.UNREACHED, Fate.LOCKED, Fate.CLOSED, Fate.FORBIDDEN):
            # An append that is written already is found before anything can forbid it.
            is_found = fate is Fate.FORBIDDEN and self.is_written
            return (
                None if is_found else NO_WRITE[(Fate.UNREACHED, Fate.LOCKED, Fate.CLOSED, Fate.FORBIDDEN).index(fate)]
            )
        if fate in (Fate.ANSWERED, Fate.LOST_AFTER, Fate.BROKEN):
            self.write()
        elif fate in (Fate.LOST_MEANWHILE, Fate.CANCELLED):
            self.is_under_way = True
        if fate is Fate.CANCELLED:
            return KeyboardInterrupt()  # as asyncio.CancelledError, which isn't a PerdureError either
        if fate is Fate.BROKEN:
            return ZeroDivisionError()
        if fate is not Fate.ANSWERED:
            return OutcomeUnknownError(IDS)
        return None if self.is_written else self.refusal


def check(make: Callable[[], AppendOutcome], sequence: Sequence[Step]) -> None:
    """Let the steps happen, and hold what the outcome says against the truth after each of them."""
    outcome, server = make(), Server()
    is_unanswered = False
    for step in sequence:
        if isinstance(step, World):
            server.step(step)
            continue
        fate = server.attempt(outcome, step)
        is_settled = outcome.state in (OutcomeState.COMMITTED, OutcomeState.REFUSED)
        is_lost = fate in (Fate.LOST_BEFORE, Fate.LOST_AFTER, Fate.LOST_MEANWHILE)
        is_unanswered = not is_settled and (is_unanswered or is_lost)
        check_truth(outcome, server)
        check_reports(outcome, is_unanswered=is_unanswered)
    check_end(outcome, server)


def check_truth(outcome: AppendOutcome, server: Server) -> None:
    if outcome.state is OutcomeState.COMMITTED:
        assert server.is_written, "committed, but it isn't written"
    if not outcome.may_be_written and outcome.state is not OutcomeState.COMMITTED:
        assert not server.is_written, "not written, it says, but it is"
        assert not server.is_under_way, "not written, it says, but it may be any moment"
    if outcome.state is OutcomeState.NOT_SENT:
        assert not outcome.must_look_up
    if outcome.must_repeat:
        assert outcome.must_look_up


def check_reports(outcome: AppendOutcome, *, is_unanswered: bool) -> None:
    for error in NO_WRITE:
        reported = outcome.reported(error)
        if outcome.may_be_written:
            assert isinstance(reported, OutcomeUnknownError), "an older unknown outcome was forgotten"
            assert reported.__cause__ is error
        else:
            assert reported is error
        if is_unanswered:
            assert outcome.must_repeat, "an unanswered attempt must be repeated"
            assert isinstance(reported, OutcomeUnknownError)
            assert reported.event_ids == IDS


def check_end(outcome: AppendOutcome, server: Server) -> None:
    """However it went, one repeat that is answered tells the truth."""
    server.step(World.SERVER_ENDS)
    server.attempt(outcome, Fate.ANSWERED)
    expected = OutcomeState.COMMITTED if server.is_written else OutcomeState.REFUSED
    assert outcome.state is expected
    check_truth(outcome, server)


@given(steps)
def test_an_outcome_never_says_more_than_is_true_and_keeps_an_older_unknown_outcome(sequence: list[Step]) -> None:
    check(AppendOutcome, sequence)


class Forgetful(AppendOutcome):
    """Judges by the last attempt alone."""

    __slots__ = ()

    def send(self) -> None:
        self.state = OutcomeState.SENT


class Trusting(AppendOutcome):
    """Takes a lost connection for a failure."""

    __slots__ = ()

    def lose(self, event_ids: Sequence[UUID]) -> None:
        self.write_nothing()


class Careless(AppendOutcome):
    """Takes any error that isn't an unknown outcome for "nothing was written"."""

    __slots__ = ()

    def fail(self, error: BaseException) -> None:
        if isinstance(error, OutcomeUnknownError):
            self.lose(error.event_ids)
        else:
            self.write_nothing()


class Hopeful(AppendOutcome):
    """Takes any refusal for a definite answer."""

    __slots__ = ()

    def write_nothing(self) -> None:
        self.refuse()


@pytest.mark.parametrize("naive", [Forgetful, Trusting, Careless, Hopeful])
def test_a_simpler_machine_breaks_the_property(naive: type[AppendOutcome]) -> None:
    @settings(database=None, max_examples=1000, report_multiple_bugs=False)
    @given(steps)
    def holds(sequence: list[Step]) -> None:
        check(naive, sequence)

    with pytest.raises(AssertionError):
        holds()


def test_an_error_names_the_callers_own_events_even_while_they_are_under_way() -> None:
    outcome = AppendOutcome()
    outcome.send()
    error = StoreClosedError()

    reported = outcome.reported(error, IDS[:1])

    assert isinstance(reported, OutcomeUnknownError)
    assert (reported.event_ids, reported.__cause__) == (IDS[:1], error)


def test_an_unforeseen_error_is_reported_as_it_is() -> None:
    outcome, error = AppendOutcome(), ZeroDivisionError()
    outcome.send()
    outcome.fail(error)

    assert (outcome.may_be_written, outcome.must_repeat) == (True, False)
    assert outcome.reported(error) is error


def test_an_unforeseen_error_does_not_hide_an_older_attempt_that_is_unanswered() -> None:
    outcome, error = AppendOutcome(), ZeroDivisionError()
    outcome.send()
    outcome.fail(OutcomeUnknownError(IDS))
    outcome.send()
    outcome.fail(error)

    assert outcome.must_repeat
    assert isinstance(outcome.reported(error), OutcomeUnknownError)
