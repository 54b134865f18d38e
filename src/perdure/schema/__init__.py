"""The upkeep of a store's schema, for who operates it: plan, apply, print, verify, renumber, and who may do what.

Every function takes the URL of the database, and finds one as `perdure.connect` does when it is given none.
"""

from perdure.schema.upkeep import apply as apply
from perdure.schema.upkeep import grant as grant
from perdure.schema.upkeep import grant_script as grant_script
from perdure.schema.upkeep import grants as grants
from perdure.schema.upkeep import plan as plan
from perdure.schema.upkeep import renumber as renumber
from perdure.schema.upkeep import revoke as revoke
from perdure.schema.upkeep import revoke_script as revoke_script
from perdure.schema.upkeep import script as script
from perdure.schema.upkeep import verify as verify
from perdure.stores.postgres.drift import Drift as Drift
from perdure.stores.postgres.plan import Plan as Plan
from perdure.stores.postgres.plan import PlannedMigration as PlannedMigration
from perdure.stores.postgres.plan import PlannedStatement as PlannedStatement
from perdure.stores.postgres.roles import Grant as Grant
from perdure.stores.postgres.roles import RoleKind as RoleKind
