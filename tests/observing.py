"""An observer that keeps what it is told."""

from collections.abc import Iterator
from contextlib import contextmanager

from perdure.observation import Fact, Observer, Operation, observe


class Recorder(Observer):
    def __init__(self) -> None:
        self.ended_operations: list[tuple[Operation, BaseException | None]] = []
        self.facts: list[Fact] = []

    def began(self, operation: Operation) -> Operation:
        return operation

    def ended(self, operation: Operation, mark: Operation, error: BaseException | None) -> None:
        assert mark is operation
        self.ended_operations.append((operation, error))

    def happened(self, fact: Fact) -> None:
        self.facts.append(fact)

    @property
    def operations(self) -> list[Operation]:
        return [operation for operation, _ in self.ended_operations]


@contextmanager
def observed(by: Observer) -> Iterator[None]:
    observe(by)
    try:
        yield
    finally:
        observe(None)
