"""A counter, on which any number of commands succeed."""

from perdure import AggregateRoot, command, event, handles


@event("counter.counted")
class Counted: ...


class Counter(AggregateRoot, category="counter"):
    counted: int = 0

    @command
    def count(self) -> None:
        self.raise_event(Counted())

    @handles
    def _counted(self, event: Counted) -> None:
        self.counted += 1
