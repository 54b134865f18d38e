"""``make faults``: every fault under load, a line each.

``python -m tests.faults [--seconds S] [name ...]``. Ends with 0 if all is well, 1 if a promise was broken, 3 if a fault
could not be brought about here.
"""

import argparse
import asyncio
import logging
import sys

from perdure.testing.checker import Fault as Broken
from perdure.testing.checker import Report
from tests.faults.catalogue import FAULTS, Fault, struck
from tests.faults.stage import NotRun

HEAD = "fault                              writers  seconds  acknowledged   unknown  lost  doubled   write gap"


def line(fault: Fault, report: Report) -> str:
    """What is said of a fault that was brought about."""
    counts = report.counts
    doubled = counts[Broken.DOUBLED] + counts[Broken.SEEN_TWICE]
    return (
        f"{fault.__doc__:34}{report.writers:8}{report.seconds:9.1f}{report.acknowledged:14}{report.unknown:10}"
        f"{counts[Broken.LOST]:6}{doubled:9}{report.write_gap * 1000:9.0f} ms"
    )


def run(fault: Fault, seconds: float) -> int:
    """Bring it about and tell; returns the exit status."""
    try:
        report = asyncio.run(struck(fault, seconds))
    except NotRun as reason:
        print(f"{fault.__doc__:34}NOT RUN: {reason}", flush=True)
        return 3
    except Exception as error:
        print(f"{fault.__doc__:34}FAILED: {type(error).__name__}: {error}", flush=True)
        logging.getLogger(__name__).exception("%s", fault.__name__)
        return 1
    print(line(fault, report), flush=True)
    if report.violations:
        print(report, flush=True)
        return 1
    return 0


def main() -> int:
    """All faults, or those that are named."""
    names = {fault.__name__: fault for fault in FAULTS}
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description="Faults under load, a line each.")
    parser.add_argument("--seconds", type=float, default=10.0, help="of load for each fault")
    parser.add_argument("names", nargs="*", choices=[[], *names], metavar="name", help=", ".join(names))
    asked = parser.parse_args()
    print(HEAD, flush=True)
    statuses = [run(names[name], asked.seconds) for name in asked.names or names]
    return 1 if 1 in statuses else max(statuses)


if __name__ == "__main__":
    logging.getLogger("perdure").setLevel(logging.CRITICAL)  # what it warns of is what is brought about
    sys.exit(main())
