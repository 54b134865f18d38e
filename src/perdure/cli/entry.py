"""Where the command line begins: with an answer even if its libraries aren't installed."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

_LIBRARIES: Final = ("click", "rich")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit status."""
    if not all(map(find_spec, _LIBRARIES)):
        advice = "Error: the command line isn't installed.\nNext: pip install 'perdure[cli]'"
        print(advice, file=sys.stderr)  # noqa: T201 - there is nothing yet to print it better
        return 1
    from perdure.cli.program import run

    return run(sys.argv[1:] if arguments is None else arguments)
