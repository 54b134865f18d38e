"""What type checkers see of the errors. `make types` checks this file; nothing runs it."""

from typing import assert_type
from uuid import UUID

from perdure.errors import (
    DomainError,
    EventIdReuseError,
    LogDivergedError,
    OptimisticConcurrencyError,
    OutcomeUnknownError,
    PerdureError,
)


def errors_carry_typed_data(
    conflict: OptimisticConcurrencyError,
    reuse: EventIdReuseError,
    unknown: OutcomeUnknownError,
    diverged: LogDivergedError,
) -> None:
    assert_type(conflict.stream_id, str)
    assert_type(conflict.actual_version, int)
    assert_type(reuse.event_ids, tuple[UUID, ...])
    assert_type(unknown.event_ids, tuple[UUID, ...])
    assert_type(diverged.found, UUID | None)


def a_broken_rule_is_no_perdure_error(rule: type[DomainError]) -> type[PerdureError]:
    return rule  # type: ignore[return-value] # pyright: ignore[reportReturnType] - the point: the two trees are apart
