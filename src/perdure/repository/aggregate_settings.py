"""`AggregateSettings`: an aggregate or a decider, with the settings of its repository."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from perdure.aggregate import AggregateRoot
from perdure.checks import check_count, check_flag
from perdure.decider import Decider
from perdure.errors import InvalidArgumentError
from perdure.errors.formats import shown
from perdure.repository.state_codec import StateCodec
from perdure.retry import RetryConfig, checked_retry


@dataclass(frozen=True)
class AggregateSettings:
    """An aggregate or a decider of an `Application`, with the settings of its repository.

    Args:
        aggregate: a class of aggregates, or a decider.
        retry: how its repository tries again after a conflict, unless the call says otherwise.
        snapshot_every: after how many events a snapshot is written; None for no snapshots. See `Repository`.
        queue_commands: whether the commands of this process on one aggregate are queued. See `Repository`.
        cache_size: how many states are kept in memory; None for no cache. See `Repository`.

    Raises:
        InvalidArgumentError: an argument can't be used, or, with snapshots, a field's type can't be stored.
        AggregateDefinitionError: the class has no category; or, with snapshots, ``__init__`` sets an attribute that
            isn't a field.

    Example:
        app = Application(aggregates=[User, AggregateSettings(Stock, snapshot_every=100)])
    """

    aggregate: type[AggregateRoot] | Decider[Any, Any, Any]
    retry: RetryConfig | None = None
    snapshot_every: int | None = None
    queue_commands: bool = True
    cache_size: int | None = None

    def __post_init__(self) -> None:
        aggregate: object = self.aggregate
        if isinstance(aggregate, Decider):
            aggregate_class: type[AggregateRoot] = aggregate.aggregate_class
        elif isinstance(aggregate, type) and issubclass(aggregate, AggregateRoot):
            aggregate_class = aggregate
        else:
            raise InvalidArgumentError(
                "aggregate", f"must be a class of aggregates or a decider, not {shown(aggregate)}"
            )
        aggregate_class.stream_category()
        checked_retry(self.retry)
        check_flag("queue_commands", self.queue_commands)
        if self.cache_size is not None:
            check_count("cache_size", self.cache_size, 1)
        if self.snapshot_every is not None:
            check_count("snapshot_every", self.snapshot_every, 1)
            StateCodec(aggregate_class)  # refuses here what can't be stored, not when the store is open

    @property
    def category(self) -> str:
        """The category of the streams."""
        return self.aggregate.category if isinstance(self.aggregate, Decider) else self.aggregate.stream_category()
