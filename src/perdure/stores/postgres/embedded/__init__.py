"""An embedded PostgreSQL: a real server that lives in the project's folder, shared by the project's processes."""

from perdure.stores.postgres.embedded.server import DIRECTORY_VARIABLE as DIRECTORY_VARIABLE
from perdure.stores.postgres.embedded.server import EmbeddedPostgreSQL as EmbeddedPostgreSQL
