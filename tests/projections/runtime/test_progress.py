"""Waiting for rows: when the database is asked, and what its answer comes to."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from perdure.errors import (
    DatabaseError,
    EventParkedError,
    LogDivergedError,
    ProjectionPausedError,
    ProjectionTimeoutError,
    StoreUnavailableError,
)
from perdure.log import ChangeSignal
from perdure.projections.runtime import progress
from perdure.projections.runtime.progress import local_runners, wait_until_shown
from perdure.projections.state.shown_rows import ShownRows
from perdure.stores.postgres.connections.database import Database

NAME = "pages"
LONG = 3600
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PAUSED = ProjectionPausedError(NAME, 3, "an operator paused it")
PARKED = EventParkedError(NAME, 5, failed_position=5, key="{}", error="ValueError: bad", parked_at=NOW)
DUE = EventParkedError(NAME, 5, failed_position=5, key="{}", error=None, parked_at=NOW, is_retry_due=True)


def at(position: int, pause: ProjectionPausedError | None = None, parked: EventParkedError | None = None) -> ShownRows:
    return ShownRows(True, position, pause, parked)


class Script:
    """What the database answers: one thing after the other, and then the last one again."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.database = Database("postgresql://nowhere/none")
        self.asked = 0
        self.answers: list[ShownRows | Exception] = []
        monkeypatch.setattr(progress, "read_shown_rows", self._read)
        monkeypatch.setattr(progress, "read_runner_error", self._error)

    async def _read(self, database: Database, name: str, positions: Sequence[int]) -> ShownRows:
        assert (database, name, positions) == (self.database, NAME, [5])
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _error(self, *_: object) -> str:
        return "the disk is full"

    async def wait(self, *answers: ShownRows | Exception, timeout: float = LONG) -> None:
        self.answers = list(answers)
        await wait_until_shown(self.database, NAME, 5, timeout)


class Here:
    """A runner in this process."""

    def __init__(self, position: int) -> None:
        self.changes = ChangeSignal()
        self.position = position
        self.diverged: LogDivergedError | None = None
        self.error_text: str | None = None

    def is_behind(self, position: int) -> bool:
        return self.position < position and self.diverged is None


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    return Script(monkeypatch)


async def test_it_ends_when_the_database_says_that_the_position_is_reached(script: Script) -> None:
    await script.wait(at(0), at(4), at(5))

    assert script.asked == 3


async def test_the_database_is_asked_once_when_the_runner_here_has_reached_the_position(script: Script) -> None:
    here = Here(3)
    runners = local_runners(script.database, NAME)
    runners.add(here)
    waiting = asyncio.create_task(script.wait(at(5)))
    await asyncio.sleep(0)
    here.position = 4
    here.changes.announce()
    for _ in range(5):
        await asyncio.sleep(0)
    assert script.asked == 0
    here.position = 5
    here.changes.announce()
    await waiting

    assert script.asked == 1


async def test_the_word_of_the_runner_here_is_not_enough(script: Script) -> None:
    """It may be a build that the views don't show, or have written to a server that has failed since."""
    runners = local_runners(script.database, NAME)
    runners.add(Here(5))
    await script.wait(at(4), at(5))

    assert script.asked == 2


async def test_a_silent_runner_does_not_keep_the_database_from_being_asked(
    script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "_LONGEST_SILENCE", 0.001)
    runners = local_runners(script.database, NAME)
    runners.add(Here(3))
    await script.wait(at(3), at(5))


async def test_a_runner_that_was_removed_holds_no_caller_up(script: Script) -> None:
    here = Here(3)
    runners = local_runners(script.database, NAME)
    runners.add(here)
    waiting = asyncio.create_task(script.wait(at(5)))
    await asyncio.sleep(0)
    runners.remove(here)
    runners.remove(here)
    await waiting

    assert here.changes.listeners == []


@pytest.mark.parametrize("reached", [at(5, PAUSED), at(6)])
async def test_a_position_that_is_reached_counts_whatever_is_wrong_now(script: Script, reached: ShownRows) -> None:
    here = Here(5)
    here.diverged = LogDivergedError("projection 'pages'", 3, None, None)
    runners = local_runners(script.database, NAME)
    runners.add(here)
    await script.wait(reached, timeout=0)


async def test_it_says_how_far_the_rows_are_and_why_when_time_is_up(script: Script) -> None:
    with pytest.raises(ProjectionTimeoutError, match="the disk is full") as caught:
        await script.wait(at(2), timeout=0)

    assert (caught.value.reached, caught.value.global_position) == (2, 5)


async def test_a_pause_before_the_position_ends_it_at_once(script: Script) -> None:
    with pytest.raises(ProjectionPausedError):
        await script.wait(at(1), at(2, PAUSED))


async def test_a_log_that_lacks_the_event_of_a_checkpoint_ends_it_at_once(script: Script) -> None:
    here = Here(2)
    here.diverged = LogDivergedError("projection 'pages'", 3, None, None)
    runners = local_runners(script.database, NAME)
    runners.add(here)
    with pytest.raises(LogDivergedError):
        await script.wait(at(2))


async def test_a_parked_event_ends_it_at_once(script: Script) -> None:
    with pytest.raises(EventParkedError):
        await script.wait(at(4), at(5, parked=PARKED))


async def test_a_retry_that_is_due_is_waited_for(script: Script) -> None:
    await script.wait(at(5, parked=DUE), at(5))

    with pytest.raises(EventParkedError):
        await script.wait(at(5, parked=DUE), timeout=0)


async def test_an_outage_is_waited_out_and_other_errors_are_raised(script: Script) -> None:
    await script.wait(StoreUnavailableError("it restarts"), at(5))

    with pytest.raises(ProjectionTimeoutError, match="held up by: it restarts") as caught:
        await script.wait(StoreUnavailableError("it restarts"), timeout=0)
    assert isinstance(caught.value.__cause__, StoreUnavailableError)
    with pytest.raises(DatabaseError):
        await script.wait(DatabaseError("no table", "42P01"))
