"""The entry point of the command line. It works even if the libraries aren't installed, and says what to install."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

_LIBRARIES: Final = ("click", "rich")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line, and return its exit status."""
    if not all(map(find_spec, _LIBRARIES)):
        advice = "Error: the command line isn't installed.\nNext: pip install 'perdure[cli]'"
        print(advice, file=sys.stderr)  # noqa: T201 - rich may be what is missing
        return 1
    from perdure.cli.program import run

    if arguments is not None:
        return run(arguments)
    # Every ending signal acts as Ctrl-C, so that no embedded server is left running. A script's "&" ignores SIGINT.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _interrupt)
    return run(sys.argv[1:])


def _interrupt(*_: object) -> None:
    signal.raise_signal(signal.SIGINT)
