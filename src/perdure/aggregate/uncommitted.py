"""What an aggregate has decided and no store has taken yet. Its repository works with it; users rarely need it."""

from __future__ import annotations

from bisect import bisect, insort
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from perdure.context import Context
from perdure.events import NewEvent


class RecordedCommand(NamedTuple):
    """A command as it was called, so that it can be decided again on fresh state."""

    method: Callable[..., object]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    context: Context
    """In force when it was called: what it raises when decided again belongs to the same request."""
    from_version: int
    """The aggregate's version before it."""
    to_version: int
    """The aggregate's version after it: its events lie between."""


class Undo:
    """What a running command found, so that nothing of it stays when it raises."""

    __slots__ = ("event_count", "state", "version")

    def __init__(self, version: int, event_count: int, state: dict[str, Any]) -> None:
        self.version = version
        self.event_count = event_count
        self.state = state


class Uncommitted:
    """Events and commands of one aggregate, in order, since the version that the store knows of.

    Attributes:
        events: to be appended.
        commands: what was called, outermost calls only.
        running: one for each command that is under way, outermost first.
        applying: whether a handler is under way.
        held: whether a repository may replace the state at any moment, so that nobody may change it.
        sent: for each append that may be written without our knowing, the version of its last event, oldest first.
        sent_with: the streams of that append, if it was to several: only as a whole may it be repeated.
    """

    __slots__ = ("applying", "commands", "events", "held", "running", "sent", "sent_with")

    def __init__(self) -> None:
        self.events: list[NewEvent] = []
        self.commands: list[RecordedCommand] = []
        self.running: list[Undo] = []
        self.applying = False
        self.held = False
        self.sent: list[int] = []
        self.sent_with: frozenset[str] = frozenset()

    @property
    def decided_by_commands(self) -> bool:
        """Whether commands produced all the events, so that they can be decided again."""
        return sum(one.to_version - one.from_version for one in self.commands) == len(self.events)

    def drop(self, count: int, version: int) -> None:
        """Forget the first events, which are stored now, and the commands up to that version of the aggregate."""
        del self.events[:count]
        self.commands = [one for one in self.commands if one.to_version > version]
        self._keep(self.sent[bisect(self.sent, version) :])

    def doubt(self, version: int, streams: frozenset[str] = frozenset()) -> bool:
        """The append of the events up to that version may be written. Returns False where that was known.

        Args:
            version: that of the last event of the append.
            streams: all streams of the append, if only as a whole it may be repeated.
        """
        if version in self.sent:
            return False
        insort(self.sent, version)
        self.sent_with = streams or self.sent_with
        return True

    def was_not_written(self, version: int) -> None:
        """The append of the events up to that version wasn't written, and none of the later ones was."""
        self._keep([one for one in self.sent if one < version])

    def doubt_no_longer(self) -> None:
        """It is known what became of the appends that were sent."""
        self._keep([])

    def _keep(self, sent: list[int]) -> None:
        self.sent = sent
        if not sent:
            self.sent_with = frozenset()
