"""What stands before every command."""

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
        """Those that choose what to look at, as they were typed, to be typed again; a password is left out."""
        given = {"--app": self.app, "--database": self.database and masked_url(self.database), "--schema": self.schema}
        return "".join(f" {name} {shlex.quote(value)}" for name, value in given.items() if value)
