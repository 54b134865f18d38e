"""An embedded PostgreSQL: a real server that lives in the project's folder, shared by the project's processes."""

from perdure.stores.postgres.embedded.server import EmbeddedPostgreSQL as EmbeddedPostgreSQL

__all__ = ["EmbeddedPostgreSQL"]
