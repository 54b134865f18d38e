"""Aggregates: state derived from events, and commands that raise new events."""

from perdure.aggregate.commands import adopt as adopt
from perdure.aggregate.commands import command as command
from perdure.aggregate.commands import decide_again as decide_again
from perdure.aggregate.root import AggregateRoot as AggregateRoot
from perdure.aggregate.uncommitted import PendingAppend as PendingAppend
from perdure.aggregate.uncommitted import RecordedCommand as RecordedCommand
from perdure.aggregate.uncommitted import Uncommitted as Uncommitted
