"""Waits until the views of a projection show events, whichever process writes the rows.

Only the database says that they do: one statement reads the shown build, its position and its parked events in one
snapshot. A runner in this process knows how far it is. So while it is behind, callers wait for its announcements and
don't ask. In the usual case, a caller asks once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, TypeAlias
from weakref import WeakKeyDictionary, WeakValueDictionary

from perdure.checks import check_count, check_seconds, check_text
from perdure.commit import AppendResult
from perdure.errors import (
    InvalidArgumentError,
    LogDivergedError,
    PerdureError,
    ProjectionTimeoutError,
    UnknownProjectionError,
)
from perdure.errors.formats import shown
from perdure.log import ChangeSignal
from perdure.projections.state.shown_rows import ShownRows, read_names, read_runner_error, read_shown_rows
from perdure.stores.postgres.connections.database import Database

Saved: TypeAlias = AppendResult | int | Sequence[AppendResult | int | None] | None
"""What a caller waits for: the result of an append or a command, a position of the log, or a list of those."""

_FIRST_PAUSE: Final = 0.002
_LONGEST_PAUSE: Final = 0.02
"""Seconds between two readings while another process writes the rows."""
_LONGEST_SILENCE: Final = 1.0
"""Seconds after which the database is read even though a runner here says that it is behind."""
_LAST_READING: Final = 1.0
"""Seconds that the reading after the time-out may take."""


class LocalRunner(Protocol):
    """A runner in this process, as those see it that wait for its rows."""

    @property
    def changes(self) -> ChangeSignal:
        """Announces progress and errors."""
        ...

    @property
    def diverged(self) -> LogDivergedError | None:
        """Set while the log lacks the event of a checkpoint: the rows may show events that are gone."""
        ...

    @property
    def error_text(self) -> str | None:
        """What holds it up, if it is an error."""
        ...

    def is_behind(self, position: int) -> bool:
        """Return whether it leases rows that haven't reached the position, and goes on with them."""
        ...


class LocalRunners:
    """The runners of one projection in this process, of all services and builds.

    Attributes:
        changes: Announces whatever one of them announces, and that one was added or removed.
    """

    def __init__(self) -> None:
        self.changes = ChangeSignal()
        self._runners: list[LocalRunner] = []

    def add(self, runner: LocalRunner) -> None:
        """Add a runner that begins."""
        self._runners.append(runner)
        runner.changes.listeners.append(self._announced)
        self.changes.announce()

    def remove(self, runner: LocalRunner) -> None:
        """Remove a runner that has ended."""
        if runner in self._runners:
            self._runners.remove(runner)
            runner.changes.listeners.remove(self._announced)
            self.changes.announce()

    def are_behind(self, position: int) -> bool:
        """Return whether there are any, and none of them has reached the position."""
        return bool(self._runners) and all(runner.is_behind(position) for runner in self._runners)

    @property
    def diverged(self) -> LogDivergedError | None:
        """Set while one of them finds that the log lacks the event of a checkpoint."""
        return next((runner.diverged for runner in self._runners if runner.diverged), None)

    @property
    def error_text(self) -> str | None:
        """What holds one of them up, if it is an error."""
        return next((runner.error_text for runner in self._runners if runner.error_text), None)

    def _announced(self, *, is_certain: bool) -> None:  # noqa: ARG002 - a listener gets it
        self.changes.announce()


_local: WeakKeyDictionary[Database, WeakValueDictionary[str, LocalRunners]] = WeakKeyDictionary()


def local_runners(database: Database, name: str) -> LocalRunners:
    """Return the runners of a projection of that name in this process. They last as long as anything holds them."""
    return _local.setdefault(database, WeakValueDictionary()).setdefault(name, LocalRunners())


async def wait_until_shown(
    database: Database, name: str, saved: Saved, timeout: float, known: Iterable[str] = ()
) -> None:
    """Wait until the views of a projection show what was saved.

    The outcome is that of the build which the views show at that moment.

    Args:
        database: the database of the store.
        name: the name of the projection.
        saved: the events; nothing returns at once.
        timeout: how many seconds to wait at most.
        known: the projections that the caller's code has. One that was never set up is waited for.

    Raises:
        InvalidArgumentError: `saved` is something else.
        EventParkedError: one of the events is parked, or waits behind a parked one.
        ProjectionTimeoutError: the rows didn't reach the last position in time.
        ProjectionPausedError: a segment is paused before the last position.
        LogDivergedError: the log lacks the event of a checkpoint.
        UnknownProjectionError: there is no projection of that name.
    """
    check_seconds("timeout", timeout)
    if positions := positions_of(saved):
        try:
            check_text("name", name)
        except InvalidArgumentError:
            raise await _unknown(database, name, known) from None
        await _Wait(database, name, positions, list(known)).run(timeout)


async def _unknown(database: Database, name: str, known: Iterable[str]) -> UnknownProjectionError:
    return UnknownProjectionError(name, sorted({*known, *await read_names(database)}), in_database=True)


def positions_of(saved: Saved) -> list[int]:
    """Return the positions to wait for, in ascending order. Raises InvalidArgumentError if it can't be any."""
    listed: Sequence[object] = saved if isinstance(saved, list | tuple) else [saved]
    positions = set[int]()
    for one in listed:
        if isinstance(one, AppendResult):
            positions.update(one.global_positions)
        elif isinstance(one, int):
            check_count("saved", one)
            positions.add(one)
        elif one is not None:
            raise InvalidArgumentError(
                "saved", f"must be the result of a save, a position of the log, or a list of those, not {shown(one)}"
            )
    return sorted(positions)


class _Wait:
    """One caller that waits."""

    def __init__(self, database: Database, name: str, positions: list[int], known: list[str]) -> None:
        self._database = database
        self._name = name
        self._positions = positions
        self._last = positions[-1]
        self._known = known
        self._here = local_runners(database, name)
        self._reached = 0

    async def run(self, timeout: float) -> None:
        clock = asyncio.get_running_loop().time
        deadline = clock() + timeout
        ask_at, pause = clock() + _LONGEST_SILENCE, _FIRST_PAUSE
        while (now := clock()) < deadline:
            seen = self._here.changes.count
            if now < ask_at and self._here.are_behind(self._last):
                await self._here.changes.wait(seen, min(ask_at, deadline) - now)
                continue
            if await self._is_shown(deadline):
                return
            ask_at = clock() + _LONGEST_SILENCE
            if not self._here.are_behind(self._last):
                await self._here.changes.wait(seen, max(0.0, min(pause, deadline - clock())))
                pause = min(pause * 2, _LONGEST_PAUSE)
        try:
            async with asyncio.timeout(_LAST_READING):
                rows = await self._read()
                if rows.shows(self._last):
                    return
                cause = self._here.error_text or await read_runner_error(self._database, self._name)
        except TimeoutError:
            raise self._late(timeout, "the database, which doesn't answer") from None
        except PerdureError as error:
            if not error.is_transient:
                raise
            raise self._late(timeout, str(error)) from error
        raise rows.parked or self._late(timeout, cause)

    async def _is_shown(self, deadline: float) -> bool:
        try:
            async with asyncio.timeout_at(deadline):
                return (await self._read()).shows(self._last)
        except TimeoutError:
            return False
        except PerdureError as error:
            if not error.is_transient:
                raise
            return False  # what may pass is waited out

    async def _read(self) -> ShownRows:
        """Read what is shown, and raise what only an operator can end."""
        rows = await read_shown_rows(self._database, self._name, self._positions)
        self._reached = rows.global_position
        if not rows.is_known and self._name not in self._known:
            raise await _unknown(self._database, self._name, self._known)
        if error := rows.obstacle(self._last):
            raise error
        if rows.global_position < self._last and (diverged := self._here.diverged):
            raise diverged
        return rows

    def _late(self, timeout: float, cause: str | None) -> ProjectionTimeoutError:
        return ProjectionTimeoutError(self._name, self._last, self._reached, timeout, cause)
