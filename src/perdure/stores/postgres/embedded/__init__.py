"""The embedded PostgreSQL: a real server in the folder of a project, shared by the processes of the project."""

from perdure.stores.postgres.embedded.server import DIRECTORY_VARIABLE as DIRECTORY_VARIABLE
from perdure.stores.postgres.embedded.server import EmbeddedPostgreSQL as EmbeddedPostgreSQL
