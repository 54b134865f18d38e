"""An aggregate to be observed."""

from perdure.aggregate import AggregateRoot, command
from perdure.commit import AppendResult, Commit
from perdure.errors import DomainError
from perdure.events import event, handles
from perdure.stores.memory import InMemoryEventStore
from perdure.transaction import Transaction


@event("telemetry.counted")
class Counted:
    by: int = 1
    secret: str = ""


class Counter(AggregateRoot, category="counter"):
    total: int = 0

    @command
    def count(self, by: int = 1, secret: str = "") -> None:
        if by < 0:
            raise DomainError(f"not below zero: {secret}")
        self.raise_event(Counted(by=by, secret=secret))

    @handles
    def _counted(self, event: Counted) -> None:
        self.total += event.by


class RivalledStore(InMemoryEventStore):
    """Lets somebody else append first, once."""

    rival = True

    async def append(self, commit: Commit, tx: Transaction | None = None) -> AppendResult:
        if self.rival:
            self.rival = False
            await super().append(self.encode(commit.stream_id, 0, [Counted()]))
        return await super().append(commit, tx)
