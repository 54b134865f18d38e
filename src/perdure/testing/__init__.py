"""Tools to test applications built on Perdure. They work with any test framework."""

from perdure.testing.clock import FixedClock as FixedClock
from perdure.testing.clock import controlled as controlled
from perdure.testing.clock import sequential_ids as sequential_ids
from perdure.testing.outcome import DeciderOutcome as DeciderOutcome
from perdure.testing.outcome import Outcome as Outcome
from perdure.testing.projections import fold as fold
from perdure.testing.projections import fold_tables as fold_tables
from perdure.testing.publisher import InMemoryPublisher as InMemoryPublisher
from perdure.testing.scenario import DeciderScenario as DeciderScenario
from perdure.testing.scenario import Scenario as Scenario
from perdure.testing.scenario import given as given
from perdure.testing.stored import append_stored as append_stored
from perdure.testing.stored import stored_event as stored_event
from perdure.testing.timers import advance_timers as advance_timers
