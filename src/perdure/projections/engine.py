"""The engine port: how a projection creates its tables and processes a batch of events.

Builds, segments, pauses and switches work on this port, so they are the same for every engine. The engines are
`engines.table`, which folds events into rows; `engines.custom`, whose handlers write themselves; and `engines.inline`,
whose rows are written by the appends.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple, Protocol

import asyncpg

from perdure.declaration import OnFailure
from perdure.errors import InvalidArgumentError, PerdureError, ProjectionDefinitionError
from perdure.events import StoredEvent
from perdure.projections.sql import statements
from perdure.projections.state.failures import Failure
from perdure.projections.state.identity import BuildId, Key, KeyCodec
from perdure.projections.state.options import Kind, Mode, Start
from perdure.projections.state.parked_events import BlockedKeys
from perdure.projections.state.scope import DivertedEvent, Scope
from perdure.projections.state.segments import Checkpoint, Segment
from perdure.retry import RetryConfig
from perdure.stores.postgres.connections.database import Connection
from perdure.stores.postgres.sql_files import quote_identifier
from perdure.tasks import Tasks

_CHECK_CONSTRAINTS: Final = statements("engine")["check_constraints"]

Refuse = Callable[[str], PerdureError]
"""Returns the error to raise, given the reason why a projection can't work."""


class NamedTable(Protocol):
    """A table of a projection."""

    @property
    def view(self) -> str:
        """The name under which users query it."""
        ...

    @property
    def name(self) -> str:
        """The name of the table itself, with the version and build."""
        ...


class ProjectionDefinition(Protocol):
    """A projection whose class was checked, and what follows from the class."""

    @property
    def name(self) -> str:
        """The projection's name."""
        ...

    @property
    def version(self) -> int:
        """The version of its class."""
        ...

    @property
    def build(self) -> BuildId:
        """The build."""
        ...

    @property
    def kind(self) -> Kind:
        """What it is."""
        ...

    @property
    def start(self) -> Start:
        """The position after which it begins, or `NOW`."""
        ...

    @property
    def on_failure(self) -> OnFailure:
        """What happens to an event that can't be processed."""
        ...

    @property
    def retry(self) -> RetryConfig | None:
        """How often an event that fails is tried; None: as the service says."""
        ...

    @property
    def tables(self) -> Sequence[NamedTable]:
        """The tables of the build."""
        ...

    @property
    def shape(self) -> str:
        """What can't change without a new version, as JSON: a list of `TableShape`."""
        ...

    @property
    def mode(self) -> Mode:
        """What keeps the projection up to date."""
        ...

    @property
    def key_codec(self) -> KeyCodec:
        """The codec of the keys of its rows."""
        ...

    @property
    def is_divisible(self) -> bool:
        """Whether it can be divided into segments."""
        ...


class BuildTables(Protocol):
    """The tables of a build in the database."""

    async def create(self, connection: Connection) -> None:
        """Create the tables, in the caller's transaction. Raise ProjectionDefinitionError if that can't be done."""
        ...


class NoTables:
    """The tables of a build that has none."""

    async def create(self, connection: Connection) -> None:
        """Do nothing."""


class BatchResult(NamedTuple):
    """The outcome of a batch."""

    checkpoint: Checkpoint
    """The position up to which it was written."""
    done: int
    """How many of its events were written."""
    parked: Sequence[DivertedEvent]
    """The events among those that were parked."""
    failure: Failure | None
    """The event after those, if it failed."""


class Engine(Protocol):
    """Processes the events of one build."""

    async def process(self, group: Sequence[Segment], events: Sequence[StoredEvent], scope: Scope) -> BatchResult:
        """Process a batch of the log: write what comes before the first event that fails, all or nothing.

        Args:
            group: segments at the same position.
            events: the events that follow this position.
            scope: which rows they concern, and what is parked.

        Raises:
            FencedError: the checkpoint has moved, or the segments belong to another runner.
        """
        ...

    async def retry_parked(self, blocked: BlockedKeys, segments: Sequence[Segment]) -> None:
        """Retry a batch of the parked events of the next key that was asked for, if one of the segments holds it.

        One batch only, so that the runner can renew its leases and process the log meanwhile.

        Args:
            blocked: what is asked for; a key leaves it once none of its events can be retried.
            segments: the segments of this runner.

        Raises:
            FencedError: the segment belongs to another runner, or an event was skipped meanwhile.
            LogDivergedError: the log holds another event at the position of a parked one.
        """
        ...

    @property
    def reached(self) -> int:
        """Up to where everything of the last batch has begun, so that the next one should hold further events.

        0 if an engine ends what it begins within the batch.
        """
        return 0

    def assign(
        self,
        segments: Sequence[Segment],  # noqa: ARG002 - by default nothing outlasts a batch
        surplus: Sequence[Segment],
    ) -> Sequence[Segment]:
        """Take note of which segments this runner has, as the database has them now. Called between two batches.

        Args:
            segments: the segments.
            surplus: those of them that it is to release: begin nothing more for them.

        Returns:
            Those of the surplus for which nothing is under way.
        """
        return surplus

    def stop(self) -> None:
        """Begin nothing more, so that the batch under way ends soon."""
        return None  # noqa: RET501 - a body, or type checkers take it for abstract

    async def leave(self, timeout: float) -> int:  # noqa: ARG002 - by default nothing outlasts a batch
        """End what is still under way, within so many seconds, or else cut it off.

        Returns:
            The last position after the checkpoints for which something was begun that may have had an effect.
        """
        return 0


class FailureReporter(Protocol):
    """Reports failures that an engine handles by itself."""

    def failed(self, failure: Failure, attempts: int, most: int | None) -> None:
        """An event failed."""
        ...

    def parks(self, failure: Failure, attempts: int) -> None:
        """An event is parked until an operator asks for a retry."""
        ...


class EngineHost(NamedTuple):
    """What an engine may use of the runner that it works for."""

    tasks: Tasks
    """The owner of tasks that outlast a batch."""
    reporter: FailureReporter
    refresh: Callable[[], None]
    """Has the runner read soon which events are parked."""


class _Undivided:
    """The key codec of projections without keys: all rows have the same key."""

    def hash_of(self, key: Key) -> int:  # noqa: ARG002 - there is only one key
        return 0

    def encode_key(self, key: Key) -> str:  # noqa: ARG002 - there is only one key
        return "{}"

    def decode_keys(self, keys: Iterable[str]) -> list[Key]:
        return [() for _ in keys]


UNDIVIDED: Final[KeyCodec] = _Undivided()
"""The codec of projections without keys."""


def check_name(name: str, refuse: Refuse, what: str) -> None:
    """Raise what `refuse` returns unless PostgreSQL accepts this name of a table or column."""
    try:
        quote_identifier(name, what)
    except InvalidArgumentError as error:
        raise refuse(str(error)) from error


@contextmanager
def refusing_taken(projection: str, relation: str, schema: str) -> Generator[None]:
    """Raise ProjectionDefinitionError if the block creates a relation whose name is taken."""
    try:
        yield
    except asyncpg.DuplicateTableError as error:
        raise ProjectionDefinitionError(
            projection,
            f"{relation!r} exists already in schema {schema}, but isn't this projection's: "
            "drop it, or give the projection another table",
        ) from error


async def check_constraints(connection: Connection) -> None:
    """Check the deferred constraints of the caller's transaction now, not only at its end."""
    await connection.execute(_CHECK_CONSTRAINTS)
