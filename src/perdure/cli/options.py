"""The options of the program, which come before the command."""

from __future__ import annotations

import shlex
from typing import NamedTuple

from perdure.errors.mask import masked_url


class Options(NamedTuple):
    """The options of the program."""

    app: str | None = None
    database: str | None = None
    schema: str | None = None
    json: bool = False

    def repeated(self) -> str:
        """Return the options that choose application, database and schema as command-line text, without a password."""
        given = {"--app": self.app, "--database": self.database and masked_url(self.database), "--schema": self.schema}
        return "".join(f" {name} {shlex.quote(value)}" for name, value in given.items() if value)
