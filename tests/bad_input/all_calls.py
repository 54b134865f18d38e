"""All tables in one."""

from typing import Final

from tests.bad_input.application_calls import APPLICATION
from tests.bad_input.definition_calls import DEFINITIONS
from tests.bad_input.message_calls import MESSAGES
from tests.bad_input.opening_calls import OPENING
from tests.bad_input.process_calls import PROCESSES
from tests.bad_input.projection_calls import DEFINED, RUN
from tests.bad_input.reaction_calls import DEFINED as DEFINED_REACTIONS
from tests.bad_input.reaction_calls import RUN as RUN_REACTIONS
from tests.bad_input.repository_calls import REPOSITORIES
from tests.bad_input.schema_calls import UPKEEP
from tests.bad_input.store_calls import STORE
from tests.bad_input.table import Table
from tests.bad_input.testing_calls import TESTING

ON_A_STORE: Final[Table] = {**STORE, **REPOSITORIES}
"""Calls that a store answers: made with each of our stores, in every state."""
ALONE: Final[Table] = {**DEFINITIONS, **OPENING, **TESTING, **UPKEEP, **APPLICATION, **MESSAGES}
"""Calls that need no database."""
PROJECTIONS: Final[Table] = {**DEFINED, **RUN, **PROCESSES, **DEFINED_REACTIONS, **RUN_REACTIONS}
ALL: Final[Table] = {**ON_A_STORE, **ALONE, **PROJECTIONS}
