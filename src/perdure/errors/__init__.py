"""The tree of errors.

Every error that Perdure raises is a `PerdureError`. It carries its data as attributes, and its message says what
happened and what to do next. `DomainError`, the base of a user's own business rules, is outside the tree, so that
``except PerdureError`` never swallows a business rule.
"""

from perdure.errors.aggregates import AggregateBusyError as AggregateBusyError
from perdure.errors.aggregates import AggregateDefinitionError as AggregateDefinitionError
from perdure.errors.aggregates import AggregateNotFoundError as AggregateNotFoundError
from perdure.errors.aggregates import UnhandledEventError as UnhandledEventError
from perdure.errors.aggregates import UnknownAggregateError as UnknownAggregateError
from perdure.errors.appends import AggregateExistsError as AggregateExistsError
from perdure.errors.appends import CommandIdReuseError as CommandIdReuseError
from perdure.errors.appends import ConflictError as ConflictError
from perdure.errors.appends import EventDifference as EventDifference
from perdure.errors.appends import EventIdReuseError as EventIdReuseError
from perdure.errors.appends import OptimisticConcurrencyError as OptimisticConcurrencyError
from perdure.errors.appends import OutcomeUnknownError as OutcomeUnknownError
from perdure.errors.appends import StoreOverloadedError as StoreOverloadedError
from perdure.errors.arguments import DuplicateEventTypeError as DuplicateEventTypeError
from perdure.errors.arguments import EventDefinitionError as EventDefinitionError
from perdure.errors.arguments import EventEncodingError as EventEncodingError
from perdure.errors.arguments import InvalidArgumentError as InvalidArgumentError
from perdure.errors.arguments import InvalidStreamIdError as InvalidStreamIdError
from perdure.errors.arguments import PayloadTooLargeError as PayloadTooLargeError
from perdure.errors.arguments import ReservedCategoryError as ReservedCategoryError
from perdure.errors.arguments import UnregisteredEventError as UnregisteredEventError
from perdure.errors.arguments import UpcasterDefinitionError as UpcasterDefinitionError
from perdure.errors.builds import BuildStateError as BuildStateError
from perdure.errors.builds import SwitchBlockedError as SwitchBlockedError
from perdure.errors.builds import UnknownBuildError as UnknownBuildError
from perdure.errors.builds import ViewInUseError as ViewInUseError
from perdure.errors.evolution import EvolutionError as EvolutionError
from perdure.errors.evolution import UnreadableEventsError as UnreadableEventsError
from perdure.errors.read_models import ChildNotLoadedError as ChildNotLoadedError
from perdure.errors.read_models import EventParkedError as EventParkedError
from perdure.errors.read_models import InlineProjectionError as InlineProjectionError
from perdure.errors.read_models import ProjectionDefinitionError as ProjectionDefinitionError
from perdure.errors.read_models import ProjectionPausedError as ProjectionPausedError
from perdure.errors.read_models import ProjectionRowError as ProjectionRowError
from perdure.errors.read_models import ProjectionShapeError as ProjectionShapeError
from perdure.errors.read_models import ProjectionTimeoutError as ProjectionTimeoutError
from perdure.errors.read_models import ProjectionTransactionError as ProjectionTransactionError
from perdure.errors.read_models import UniqueViolationError as UniqueViolationError
from perdure.errors.read_models import UnknownProjectionError as UnknownProjectionError
from perdure.errors.read_models import UserCodeError as UserCodeError
from perdure.errors.reads import EventDecodingError as EventDecodingError
from perdure.errors.reads import FenceHolder as FenceHolder
from perdure.errors.reads import LogHeldBackError as LogHeldBackError
from perdure.errors.reads import UnknownEventTypeError as UnknownEventTypeError
from perdure.errors.reads import UnknownEventVersionError as UnknownEventVersionError
from perdure.errors.roots import DomainError as DomainError
from perdure.errors.roots import PerdureError as PerdureError
from perdure.errors.schema import LockHolder as LockHolder
from perdure.errors.schema import NamespaceSharedError as NamespaceSharedError
from perdure.errors.schema import SchemaError as SchemaError
from perdure.errors.schema import SchemaLockedError as SchemaLockedError
from perdure.errors.schema import SchemaOutdatedError as SchemaOutdatedError
from perdure.errors.schema import SchemaTooNewError as SchemaTooNewError
from perdure.errors.schema import SchemaUnknownError as SchemaUnknownError
from perdure.errors.stores import AuthenticationError as AuthenticationError
from perdure.errors.stores import BackgroundTaskError as BackgroundTaskError
from perdure.errors.stores import ConfigurationError as ConfigurationError
from perdure.errors.stores import DatabaseError as DatabaseError
from perdure.errors.stores import DeadlockError as DeadlockError
from perdure.errors.stores import EmbeddedServerError as EmbeddedServerError
from perdure.errors.stores import LogDivergedError as LogDivergedError
from perdure.errors.stores import MissingExtraError as MissingExtraError
from perdure.errors.stores import ReadOnlyStoreError as ReadOnlyStoreError
from perdure.errors.stores import ServersUnavailableError as ServersUnavailableError
from perdure.errors.stores import ServiceInterruptedError as ServiceInterruptedError
from perdure.errors.stores import StoreClosedError as StoreClosedError
from perdure.errors.stores import StoreUnavailableError as StoreUnavailableError
from perdure.errors.stores import TransactionEndedError as TransactionEndedError
from perdure.errors.stores import TransactionError as TransactionError
from perdure.errors.stores import UnsupportedOperationError as UnsupportedOperationError
from perdure.errors.stores import WrongContextError as WrongContextError
