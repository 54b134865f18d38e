"""The SQL of projections: a folder of statements for each module that runs them."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Final

from perdure.stores.postgres.sql_files import Statements

_FOLDER: Final = Path(__file__).parent


@lru_cache(maxsize=512)
def statements(folder: str, **names: str) -> Statements:
    """Return the statements of one folder. They are remembered: some callers ask for them with each call.

    Args:
        folder: the folder's name, as ``"segments"``.
        names: the quoted identifiers that replace ``{schema}``, ``{table}`` and the like.
    """
    return Statements(_FOLDER / folder, **names)
