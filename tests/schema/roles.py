"""Roles of the server for the length of a test."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote, urlsplit
from uuid import uuid4

from tests.stores.postgres.races import other_connection


@asynccontextmanager
async def new_role(url: str, options: str = "login", name: str | None = None) -> AsyncIterator[tuple[str, str]]:
    """A new role's name, and the URL of the database for it."""
    name = name or f"perdure_test_{uuid4().hex[:12]}"
    quoted = '"' + name.replace('"', '""') + '"'
    async with other_connection(url) as connection:
        await connection.execute(f"create role {quoted} {options}")
        try:
            yield name, url_of(url, name)
        finally:
            await connection.execute(f"drop owned by {quoted} cascade")
            await connection.execute(f"drop role {quoted}")


def url_of(url: str, role: str, password: str = "") -> str:
    """The URL of a database for another user."""
    parts = urlsplit(url)
    user = quote(role, safe="") + (f":{quote(password, safe='')}" if password else "")
    return parts._replace(netloc=f"{user}@{parts.netloc.rpartition('@')[2]}").geturl()
