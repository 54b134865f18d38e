"""Where the command line begins: with an answer even if its libraries aren't installed."""

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
        print(advice, file=sys.stderr)  # noqa: T201 - there is nothing yet to print it better
        return 1
    from perdure.cli.program import run

    if arguments is not None:
        return run(arguments)
    # All that ends it does what Ctrl-C does, which a script's "&" would ignore: no embedded server is left behind.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, _interrupt)
    return run(sys.argv[1:])


def _interrupt(*_: object) -> None:
    signal.raise_signal(signal.SIGINT)
