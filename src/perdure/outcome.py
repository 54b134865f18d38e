"""`AppendOutcome`: what is known of an append whose answer may get lost, and which is then sent again.

An append has one of three results: it is written, it isn't written, or that is unknown. The third needs care, because
an append may be sent several times. A later attempt that wrote nothing says nothing about an earlier one that was never
answered. So an unknown outcome persists until an attempt settles it. Every store looks event ids up before it refuses
an append that it may have seen before, which gives a repeat one of two definite answers:

- The ids are found: an earlier attempt was written, and the append is committed.
- The ids aren't found, and the append can't be written any more (a conflict, or its ids belong to other events). No
  attempt was written, and none will be.

                send           commit
    NOT_SENT ─────────▶ SENT ─────────────▶ COMMITTED
        ▲               │ ││                    ▲
        └nothing written┘ │└─────refuse────▶ REFUSED
                          │                     ▲
                 no answer│       commit, refuse│
                          ▼       send          │
                       UNKNOWN ─────────────▶ RESENT
                          ▲                     │
                          └──nothing written or─┘
                                no answer

An attempt may also end by an error that no store foresees, such as a cancellation. Then the append may be written, too
(`INTERRUPTED`). The caller gets that error as it is, because it doesn't say that nothing was written.

This is pure: it does no I/O and knows no time. Group commit, appends to several streams, repositories and command
queues each drive it by their own attempts, pauses and deadlines.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Final, TypeVar
from uuid import UUID

from perdure.errors import (
    CommandIdReuseError,
    EventIdReuseError,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
    PerdureError,
)

E = TypeVar("E", bound=BaseException)


class OutcomeState(Enum):
    """What is known of an append."""

    NOT_SENT = "not sent"
    """Nothing is written: no attempt was made, or each attempt is known to have written nothing."""
    SENT = "sent"
    """The first attempt is under way, or the first one after attempts that wrote nothing."""
    UNKNOWN = "unknown"
    """An attempt was never answered, so the append may be written. Sending the same event ids again settles it."""
    RESENT = "resent"
    """An attempt is under way, and an earlier one may have been written."""
    INTERRUPTED = "interrupted"
    """An attempt ended by an error that no store foresees, so the append may be written."""
    COMMITTED = "committed"
    """The append is written, once."""
    REFUSED = "refused"
    """The store looked the event ids up: no attempt was written. Only another send could change that."""


_NOT_SENT: Final = OutcomeState.NOT_SENT
_SENT: Final = OutcomeState.SENT
_UNKNOWN: Final = OutcomeState.UNKNOWN
_RESENT: Final = OutcomeState.RESENT
_INTERRUPTED: Final = OutcomeState.INTERRUPTED
_COMMITTED: Final = OutcomeState.COMMITTED
_REFUSED: Final = OutcomeState.REFUSED


class AppendOutcome:
    """The outcome of one append, over all its attempts.

    Every attempt begins with `send`, and ends with one of `commit`, `refuse`, `write_nothing` and `lose`, or with
    `fail`, which chooses by the error. What is decided again is another append, with its own outcome.

    Attributes:
        state: what is known now.

    Example:
        async def append(commit: Commit, deadline: float) -> AppendResult:
            outcome = AppendOutcome()
            while True:
                outcome.send()
                try:
                    return await store.append(commit)
                except Exception as error:
                    outcome.fail(error)
                    if not outcome.must_repeat or time.monotonic() > deadline:
                        raise outcome.reported(error)
    """

    __slots__ = ("_event_ids", "state")

    def __init__(self) -> None:
        self.state = _NOT_SENT
        self._event_ids: Sequence[UUID] = ()

    @property
    def may_be_written(self) -> bool:
        """Whether the append may be written without an acknowledgement."""
        return self.state in (_SENT, _UNKNOWN, _RESENT, _INTERRUPTED)

    @property
    def must_repeat(self) -> bool:
        """Whether the same events must be sent again before the outcome is known."""
        return self.state is _UNKNOWN

    @property
    def must_look_up(self) -> bool:
        """Whether the event ids must be looked up by the next attempt, or by the one under way."""
        return self.state in (_UNKNOWN, _RESENT, _INTERRUPTED)

    def send(self) -> None:
        """Begin an attempt. What was committed stays committed, because its ids are found."""
        if self.state in (_NOT_SENT, _REFUSED):
            self.state = _SENT
        elif self.state in (_UNKNOWN, _INTERRUPTED):
            self.state = _RESENT

    def commit(self) -> None:
        """End an attempt that was acknowledged: it wrote the append, or found it written."""
        self.state = _COMMITTED

    def refuse(self) -> None:
        """End an attempt that looked the event ids up, found none, and wrote nothing."""
        if self.state is not _COMMITTED:
            self.state = _REFUSED

    def write_nothing(self) -> None:
        """End an attempt that is known to have written nothing. It says nothing about an earlier one."""
        if self.state is _SENT:
            self.state = _NOT_SENT
        elif self.state is _RESENT:
            self.state = _UNKNOWN

    def lose(self, event_ids: Sequence[UUID]) -> None:
        """End an attempt that was never answered. Nothing changes if none was under way.

        Args:
            event_ids: the ids of its events.
        """
        if self.state in (_SENT, _RESENT):
            self.state = _UNKNOWN
            self._event_ids = event_ids

    def fail(self, error: BaseException) -> None:
        """End an attempt that raised an error. The error's class decides the outcome of the attempt."""
        if isinstance(error, OutcomeUnknownError):
            self.lose(error.event_ids)
        elif isinstance(error, OptimisticConcurrencyError | EventIdReuseError | CommandIdReuseError):
            self.refuse()
        elif isinstance(error, PerdureError):
            self.write_nothing()
        elif self.state is _RESENT:
            self.state = _UNKNOWN
        elif self.state is _SENT:
            self.state = _INTERRUPTED

    def reported(self, error: E, event_ids: Sequence[UUID] | None = None) -> E | OutcomeUnknownError:
        """Return the error for a caller that stops waiting because of `error`.

        That is an OutcomeUnknownError, caused by `error`, where `error` might be taken for "nothing was written" and
        the append may be written; else `error` itself.

        Args:
            error: what ended the last attempt, or the wait.
            event_ids: the ids of the caller's own events; by default those of the attempt that was never answered.
        """
        is_own = event_ids is None and isinstance(error, OutcomeUnknownError)
        is_bug = self.state is _INTERRUPTED and not isinstance(error, PerdureError)
        if is_own or is_bug or not self.may_be_written:
            return error
        unknown = OutcomeUnknownError(self._event_ids if event_ids is None else event_ids)
        unknown.__cause__ = error
        return unknown
