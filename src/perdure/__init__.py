"""Perdure: event sourcing for Python. Async, typed, PostgreSQL first.

Start with `connect`, which opens an event store, and `event`, which makes a class an event. An `AggregateRoot` raises
events in ``@command`` methods and applies them in ``@handles`` methods; a `Repository` loads and saves it. A `Decider`
does the same with functions. A `TableProjection` folds events into rows of a table, a `SQLProjection` runs its own SQL,
and a `Projection` writes to other systems. A `ProjectionService` keeps them up to date. All errors are `PerdureError`.

This module has every name that users need. A name is loaded at its first use, so that ``import perdure`` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

# Not lazy like the others: a later import of the module `perdure.context` would replace the function.
from perdure.context import context as context

if TYPE_CHECKING:
    from perdure.aggregate import AggregateRoot as AggregateRoot
    from perdure.aggregate import command as command
    from perdure.application import Application as Application
    from perdure.causation import CausedEvent as CausedEvent
    from perdure.children import ChildRows as ChildRows
    from perdure.children import ChildTable as ChildTable
    from perdure.children import child_table as child_table
    from perdure.commit import ANY as ANY
    from perdure.commit import NO_STREAM as NO_STREAM
    from perdure.commit import STREAM_EXISTS as STREAM_EXISTS
    from perdure.commit import AppendResult as AppendResult
    from perdure.commit import ExpectedVersion as ExpectedVersion
    from perdure.commit import StreamAppend as StreamAppend
    from perdure.context import current_context as current_context
    from perdure.decider import Decider as Decider
    from perdure.errors import AggregateBusyError as AggregateBusyError
    from perdure.errors import AggregateDefinitionError as AggregateDefinitionError
    from perdure.errors import AggregateExistsError as AggregateExistsError
    from perdure.errors import AggregateNotFoundError as AggregateNotFoundError
    from perdure.errors import AuthenticationError as AuthenticationError
    from perdure.errors import BackgroundTaskError as BackgroundTaskError
    from perdure.errors import BrokerUnavailableError as BrokerUnavailableError
    from perdure.errors import BuildStateError as BuildStateError
    from perdure.errors import ChildNotLoadedError as ChildNotLoadedError
    from perdure.errors import CommandIdReuseError as CommandIdReuseError
    from perdure.errors import ConfigurationError as ConfigurationError
    from perdure.errors import ConflictError as ConflictError
    from perdure.errors import DatabaseError as DatabaseError
    from perdure.errors import DeadlockError as DeadlockError
    from perdure.errors import DomainError as DomainError
    from perdure.errors import DuplicateEventTypeError as DuplicateEventTypeError
    from perdure.errors import EmbeddedServerError as EmbeddedServerError
    from perdure.errors import EventDecodingError as EventDecodingError
    from perdure.errors import EventDefinitionError as EventDefinitionError
    from perdure.errors import EventEncodingError as EventEncodingError
    from perdure.errors import EventIdReuseError as EventIdReuseError
    from perdure.errors import EventParkedError as EventParkedError
    from perdure.errors import EvolutionError as EvolutionError
    from perdure.errors import FenceHolder as FenceHolder
    from perdure.errors import HistoryRolledBackError as HistoryRolledBackError
    from perdure.errors import InlineProjectionError as InlineProjectionError
    from perdure.errors import InvalidArgumentError as InvalidArgumentError
    from perdure.errors import InvalidStreamIdError as InvalidStreamIdError
    from perdure.errors import LockHolder as LockHolder
    from perdure.errors import LogDivergedError as LogDivergedError
    from perdure.errors import LogHeldBackError as LogHeldBackError
    from perdure.errors import MissingExtraError as MissingExtraError
    from perdure.errors import NamespaceSharedError as NamespaceSharedError
    from perdure.errors import OptimisticConcurrencyError as OptimisticConcurrencyError
    from perdure.errors import OutcomeUnknownError as OutcomeUnknownError
    from perdure.errors import PayloadTooLargeError as PayloadTooLargeError
    from perdure.errors import PerdureError as PerdureError
    from perdure.errors import ProjectionDefinitionError as ProjectionDefinitionError
    from perdure.errors import ProjectionPausedError as ProjectionPausedError
    from perdure.errors import ProjectionRowError as ProjectionRowError
    from perdure.errors import ProjectionShapeError as ProjectionShapeError
    from perdure.errors import ProjectionTimeoutError as ProjectionTimeoutError
    from perdure.errors import ProjectionTransactionError as ProjectionTransactionError
    from perdure.errors import ReactionDefinitionError as ReactionDefinitionError
    from perdure.errors import ReactionKeyError as ReactionKeyError
    from perdure.errors import ReadOnlyStoreError as ReadOnlyStoreError
    from perdure.errors import ReservedCategoryError as ReservedCategoryError
    from perdure.errors import SchemaError as SchemaError
    from perdure.errors import SchemaLockedError as SchemaLockedError
    from perdure.errors import SchemaOutdatedError as SchemaOutdatedError
    from perdure.errors import SchemaTooNewError as SchemaTooNewError
    from perdure.errors import SchemaUnknownError as SchemaUnknownError
    from perdure.errors import ServersUnavailableError as ServersUnavailableError
    from perdure.errors import ServiceInterruptedError as ServiceInterruptedError
    from perdure.errors import StaleVersionError as StaleVersionError
    from perdure.errors import StoreClosedError as StoreClosedError
    from perdure.errors import StoreOverloadedError as StoreOverloadedError
    from perdure.errors import StoreUnavailableError as StoreUnavailableError
    from perdure.errors import SwitchBlockedError as SwitchBlockedError
    from perdure.errors import TransactionEndedError as TransactionEndedError
    from perdure.errors import TransactionError as TransactionError
    from perdure.errors import UnconfirmedMessagesError as UnconfirmedMessagesError
    from perdure.errors import UnhandledEventError as UnhandledEventError
    from perdure.errors import UniqueViolationError as UniqueViolationError
    from perdure.errors import UnknownAggregateError as UnknownAggregateError
    from perdure.errors import UnknownBuildError as UnknownBuildError
    from perdure.errors import UnknownEventTypeError as UnknownEventTypeError
    from perdure.errors import UnknownEventVersionError as UnknownEventVersionError
    from perdure.errors import UnknownProjectionError as UnknownProjectionError
    from perdure.errors import UnknownTimerError as UnknownTimerError
    from perdure.errors import UnpublishableMessageError as UnpublishableMessageError
    from perdure.errors import UnreadableEventsError as UnreadableEventsError
    from perdure.errors import UnregisteredEventError as UnregisteredEventError
    from perdure.errors import UnsupportedOperationError as UnsupportedOperationError
    from perdure.errors import UpcasterDefinitionError as UpcasterDefinitionError
    from perdure.errors import UserCodeError as UserCodeError
    from perdure.errors import ViewInUseError as ViewInUseError
    from perdure.errors import WaitError as WaitError
    from perdure.errors import WrongContextError as WrongContextError
    from perdure.events import EventMetadata as EventMetadata
    from perdure.events import NewEvent as NewEvent
    from perdure.events import StoredEvent as StoredEvent
    from perdure.events import check_evolution as check_evolution
    from perdure.events import event as event
    from perdure.events import field as field
    from perdure.events import handles as handles
    from perdure.events import upcast as upcast
    from perdure.evolution import CheckedType as CheckedType
    from perdure.evolution import EvolutionReport as EvolutionReport
    from perdure.evolution import check_stored_events as check_stored_events
    from perdure.log import NOW as NOW
    from perdure.message import Message as Message
    from perdure.message_publisher import MessagePublisher as MessagePublisher
    from perdure.message_publisher import send_by_key as send_by_key
    from perdure.page_reader import StoredType as StoredType
    from perdure.projection import Projection as Projection
    from perdure.projection import ProjectionTransaction as ProjectionTransaction
    from perdure.projection import SQLProjection as SQLProjection
    from perdure.projection import TableProjection as TableProjection
    from perdure.projections.check import ProjectionCheck as ProjectionCheck
    from perdure.projections.check import check_projection as check_projection
    from perdure.projections.inline_store import InlineProjections as InlineProjections
    from perdure.projections.live import LiveProjection as LiveProjection
    from perdure.projections.operations import ParkedEvent as ParkedEvent
    from perdure.projections.operations import ProjectionAction as ProjectionAction
    from perdure.projections.operations import ProjectionOperations as ProjectionOperations
    from perdure.projections.replay import replay as replay
    from perdure.projections.service import ProjectionService as ProjectionService
    from perdure.projections.state.builds import TableDifference as TableDifference
    from perdure.projections.state.failures import EventFailure as EventFailure
    from perdure.projections.state.status import ProjectionStatus as ProjectionStatus
    from perdure.projections.state.status import SegmentStatus as SegmentStatus
    from perdure.projections.timers.operations import ProcessTimer as ProcessTimer
    from perdure.projections.timers.operations import TimerOperations as TimerOperations
    from perdure.projections.timers.operations import TimerStatus as TimerStatus
    from perdure.reaction import Delivery as Delivery
    from perdure.reaction import Reaction as Reaction
    from perdure.relay import Relay as Relay
    from perdure.repository import AggregateSettings as AggregateSettings
    from perdure.repository import DeciderRepository as DeciderRepository
    from perdure.repository import Repository as Repository
    from perdure.repository import RetryConfig as RetryConfig
    from perdure.repository import execute_all as execute_all
    from perdure.repository import save_all as save_all
    from perdure.row_query import RowPage as RowPage
    from perdure.store import EventStore as EventStore
    from perdure.stores.connect import connect as connect
    from perdure.stores.memory import InMemoryEventStore as InMemoryEventStore
    from perdure.stores.postgres.store import PostgreSQLEventStore as PostgreSQLEventStore
    from perdure.stores.postgres.transactions.joined_transaction import JoinedTransaction as JoinedTransaction
    from perdure.stores.postgres.transactions.transaction import PostgreSQLTransaction as PostgreSQLTransaction
    from perdure.subscription import Subscription as Subscription
    from perdure.transaction import Transaction as Transaction

_NAMES = {
    "aggregate": "AggregateRoot command",
    "application": "Application",
    "causation": "CausedEvent",
    "children": "ChildRows ChildTable child_table",
    "commit": "ANY AppendResult ExpectedVersion NO_STREAM STREAM_EXISTS StreamAppend",
    "context": "current_context",
    "decider": "Decider",
    "errors": """
        AggregateBusyError AggregateDefinitionError AggregateExistsError AggregateNotFoundError
        AuthenticationError BackgroundTaskError BrokerUnavailableError BuildStateError ChildNotLoadedError
        CommandIdReuseError ConfigurationError ConflictError DatabaseError DeadlockError DomainError
        DuplicateEventTypeError EmbeddedServerError EventDecodingError EventDefinitionError EventEncodingError
        EventIdReuseError EventParkedError EvolutionError FenceHolder HistoryRolledBackError
        InlineProjectionError InvalidArgumentError InvalidStreamIdError LockHolder LogDivergedError
        LogHeldBackError MissingExtraError NamespaceSharedError OptimisticConcurrencyError OutcomeUnknownError
        PayloadTooLargeError PerdureError ProjectionDefinitionError ProjectionPausedError ProjectionRowError
        ProjectionShapeError ProjectionTimeoutError ProjectionTransactionError ReactionDefinitionError
        ReactionKeyError ReadOnlyStoreError ReservedCategoryError SchemaError SchemaLockedError
        SchemaOutdatedError SchemaTooNewError SchemaUnknownError ServersUnavailableError ServiceInterruptedError
        StaleVersionError StoreClosedError StoreOverloadedError StoreUnavailableError SwitchBlockedError
        TransactionEndedError TransactionError UnconfirmedMessagesError UnhandledEventError UniqueViolationError
        UnknownAggregateError UnknownBuildError UnknownEventTypeError UnknownEventVersionError
        UnknownProjectionError UnknownTimerError UnpublishableMessageError UnreadableEventsError
        UnregisteredEventError UnsupportedOperationError UpcasterDefinitionError UserCodeError ViewInUseError
        WaitError WrongContextError
    """,
    "events": "EventMetadata NewEvent StoredEvent check_evolution event field handles upcast",
    "evolution": "CheckedType EvolutionReport check_stored_events",
    "log": "NOW",
    "message": "Message",
    "message_publisher": "MessagePublisher send_by_key",
    "page_reader": "StoredType",
    "projection": "Projection ProjectionTransaction SQLProjection TableProjection",
    "projections.check": "ProjectionCheck check_projection",
    "projections.inline_store": "InlineProjections",
    "projections.live": "LiveProjection",
    "projections.operations": "ParkedEvent ProjectionAction ProjectionOperations",
    "projections.replay": "replay",
    "projections.service": "ProjectionService",
    "projections.state.builds": "TableDifference",
    "projections.state.failures": "EventFailure",
    "projections.state.status": "ProjectionStatus SegmentStatus",
    "projections.timers.operations": "ProcessTimer TimerOperations TimerStatus",
    "reaction": "Delivery Reaction",
    "relay": "Relay",
    "repository": "AggregateSettings DeciderRepository Repository RetryConfig execute_all save_all",
    "row_query": "RowPage",
    "store": "EventStore",
    "stores.connect": "connect",
    "stores.memory": "InMemoryEventStore",
    "stores.postgres.store": "PostgreSQLEventStore",
    "stores.postgres.transactions.joined_transaction": "JoinedTransaction",
    "stores.postgres.transactions.transaction": "PostgreSQLTransaction",
    "subscription": "Subscription",
    "transaction": "Transaction",
}
"""The names of each module."""
_MODULES = {name: module for module, names in _NAMES.items() for name in names.split()}

__all__ = [
    "ANY",
    "NOW",
    "NO_STREAM",
    "STREAM_EXISTS",
    "AggregateBusyError",
    "AggregateDefinitionError",
    "AggregateExistsError",
    "AggregateNotFoundError",
    "AggregateRoot",
    "AggregateSettings",
    "AppendResult",
    "Application",
    "AuthenticationError",
    "BackgroundTaskError",
    "BrokerUnavailableError",
    "BuildStateError",
    "CausedEvent",
    "CheckedType",
    "ChildNotLoadedError",
    "ChildRows",
    "ChildTable",
    "CommandIdReuseError",
    "ConfigurationError",
    "ConflictError",
    "DatabaseError",
    "DeadlockError",
    "Decider",
    "DeciderRepository",
    "Delivery",
    "DomainError",
    "DuplicateEventTypeError",
    "EmbeddedServerError",
    "EventDecodingError",
    "EventDefinitionError",
    "EventEncodingError",
    "EventFailure",
    "EventIdReuseError",
    "EventMetadata",
    "EventParkedError",
    "EventStore",
    "EvolutionError",
    "EvolutionReport",
    "ExpectedVersion",
    "FenceHolder",
    "HistoryRolledBackError",
    "InMemoryEventStore",
    "InlineProjectionError",
    "InlineProjections",
    "InvalidArgumentError",
    "InvalidStreamIdError",
    "JoinedTransaction",
    "LiveProjection",
    "LockHolder",
    "LogDivergedError",
    "LogHeldBackError",
    "Message",
    "MessagePublisher",
    "MissingExtraError",
    "NamespaceSharedError",
    "NewEvent",
    "OptimisticConcurrencyError",
    "OutcomeUnknownError",
    "ParkedEvent",
    "PayloadTooLargeError",
    "PerdureError",
    "PostgreSQLEventStore",
    "PostgreSQLTransaction",
    "ProcessTimer",
    "Projection",
    "ProjectionAction",
    "ProjectionCheck",
    "ProjectionDefinitionError",
    "ProjectionOperations",
    "ProjectionPausedError",
    "ProjectionRowError",
    "ProjectionService",
    "ProjectionShapeError",
    "ProjectionStatus",
    "ProjectionTimeoutError",
    "ProjectionTransaction",
    "ProjectionTransactionError",
    "Reaction",
    "ReactionDefinitionError",
    "ReactionKeyError",
    "ReadOnlyStoreError",
    "Relay",
    "Repository",
    "ReservedCategoryError",
    "RetryConfig",
    "RowPage",
    "SQLProjection",
    "SchemaError",
    "SchemaLockedError",
    "SchemaOutdatedError",
    "SchemaTooNewError",
    "SchemaUnknownError",
    "SegmentStatus",
    "ServersUnavailableError",
    "ServiceInterruptedError",
    "StaleVersionError",
    "StoreClosedError",
    "StoreOverloadedError",
    "StoreUnavailableError",
    "StoredEvent",
    "StoredType",
    "StreamAppend",
    "Subscription",
    "SwitchBlockedError",
    "TableDifference",
    "TableProjection",
    "TimerOperations",
    "TimerStatus",
    "Transaction",
    "TransactionEndedError",
    "TransactionError",
    "UnconfirmedMessagesError",
    "UnhandledEventError",
    "UniqueViolationError",
    "UnknownAggregateError",
    "UnknownBuildError",
    "UnknownEventTypeError",
    "UnknownEventVersionError",
    "UnknownProjectionError",
    "UnknownTimerError",
    "UnpublishableMessageError",
    "UnreadableEventsError",
    "UnregisteredEventError",
    "UnsupportedOperationError",
    "UpcasterDefinitionError",
    "UserCodeError",
    "ViewInUseError",
    "WaitError",
    "WrongContextError",
    "check_evolution",
    "check_projection",
    "check_stored_events",
    "child_table",
    "command",
    "connect",
    "context",
    "current_context",
    "event",
    "execute_all",
    "field",
    "handles",
    "replay",
    "save_all",
    "send_by_key",
    "upcast",
]

if not TYPE_CHECKING:  # or a misspelt name would pass every type checker

    def __getattr__(name: str) -> Any:
        if name not in _MODULES:
            raise AttributeError(f"module 'perdure' has no attribute {name!r}")
        value = getattr(import_module(f"perdure.{_MODULES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
