"""The port: what is asked of a kind of projections, so that builds, segments, pauses and switches work for all of them.

The kinds are tables that are folded into (`definition`, `storage`, `batches`), and `handled`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final, NamedTuple, Protocol

from perdure.errors import InvalidArgumentError, PerdureError, ProjectionDefinitionError
from perdure.events import StoredEvent
from perdure.projection import OnFailure
from perdure.projections.state.failures import Failure
from perdure.projections.state.identity import BuildId, Key, KeyCodec
from perdure.projections.state.options import Mode
from perdure.projections.state.scope import Diverted, Scope
from perdure.projections.state.segments import Checkpoint, Segment
from perdure.stores.postgres.connections.database import Connection
from perdure.stores.postgres.sql_files import quote_identifier

Refuse = Callable[[str], PerdureError]
"""Returns the error to raise, given the reason why a projection can't work."""


class NamedTable(Protocol):
    """A table of a projection."""

    @property
    def view(self) -> str:
        """The name for people."""
        ...

    @property
    def name(self) -> str:
        """Its own name."""
        ...


class ProjectionDefinition(Protocol):
    """A projection, checked as a whole, and what follows from its class."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def version(self) -> int:
        """The version of its class."""
        ...

    @property
    def build(self) -> BuildId:
        """Which build it is."""
        ...

    @property
    def on_failure(self) -> OnFailure:
        """What becomes of an event that can't be taken."""
        ...

    @property
    def tables(self) -> Sequence[NamedTable]:
        """Its tables, if it has any."""
        ...

    @property
    def shape(self) -> str:
        """What must not change without a new version, as JSON: a list of `TableShape`."""
        ...

    @property
    def mode(self) -> Mode:
        """Who keeps it."""
        ...

    @property
    def key_codec(self) -> KeyCodec:
        """Tells the keys of its rows apart."""
        ...

    @property
    def is_divisible(self) -> bool:
        """Whether it can be cut into segments."""
        ...


class BuildTables(Protocol):
    """The tables of a build in the database."""

    async def create(self, connection: Connection) -> None:
        """Make the tables, within the caller's transaction. Raises ProjectionDefinitionError."""
        ...


class BatchResult(NamedTuple):
    """What became of a batch."""

    checkpoint: Checkpoint
    """Up to where it is written."""
    done: int
    """How many of its events that is."""
    parked: Sequence[Diverted]
    """What of those was parked."""
    failure: Failure | None
    """The event after those, when it failed."""


Following = Callable[[], Awaitable[Sequence[StoredEvent]]]
"""Waits for the events that follow a batch; none where they aren't read yet."""


class Engine(Protocol):
    """Takes the batches of a build."""

    async def take(
        self, group: Sequence[Segment], events: Sequence[StoredEvent], scope: Scope, then: Following | None = None
    ) -> BatchResult:
        """Take events that follow a checkpoint, and write what comes before the first that fails, all or nothing.

        Args:
            group: segments that stand at the same position.
            events: those that follow it.
            scope: which rows they concern, and what is parked.
            then: the events that will be taken next, so that they can be made ready; None where that isn't known.

        Raises:
            FencedError: the checkpoint isn't where it was, or the segments are somebody else's.
        """
        ...


class _Undivided:
    """No key is known of the rows: there is one, that of all."""

    def hash_of(self, key: Key) -> int:  # noqa: ARG002 - there is but one
        return 0

    def encode_key(self, key: Key) -> str:  # noqa: ARG002 - there is but one
        return "{}"

    def decode_keys(self, keys: Iterable[str]) -> list[Key]:
        return [() for _ in keys]


UNDIVIDED: Final[KeyCodec] = _Undivided()
"""The codec of who has no keys."""


def check_name(name: str, refuse: Refuse, what: str) -> None:
    """Raise what `refuse` returns unless PostgreSQL accepts this name of a table or column."""
    try:
        quote_identifier(name, what)
    except InvalidArgumentError as error:
        raise refuse(str(error)) from error


def taken(name: str, relation: str, schema: str) -> ProjectionDefinitionError:
    """The error for a name that something else has."""
    return ProjectionDefinitionError(
        name,
        f"{relation!r} is there already in schema {schema}, but isn't this projection's: "
        "drop it, or give the projection another table",
    )
