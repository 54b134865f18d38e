"""The arguments of a run, and what it leaves behind."""

import argparse
import asyncio
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.driver import measure
from benchmarks.machine import this_machine
from benchmarks.outcome import Measured
from benchmarks.report.document import Document, document, write
from benchmarks.report.plots import write_plots
from benchmarks.report.text import text_of
from benchmarks.server import embedded
from benchmarks.sizes import FULL, QUICK
from benchmarks.systems import OURS, peers
from benchmarks.workloads import ALL_WORKLOADS, WORKLOADS
from benchmarks.workloads.demo import DATA_VARIABLE
from benchmarks.workloads.workload import VerificationError, Workload


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks, and return the exit status: 0 unless a figure counts for nothing."""
    options = _parser().parse_args(arguments)
    try:
        found = asyncio.run(_run(options))
    except VerificationError as error:
        print(f"not verified: {error}", file=sys.stderr)
        return 1
    text = text_of(found)
    print(text)
    options.out.mkdir(parents=True, exist_ok=True)
    write(options.out / "results.json", found)
    (options.out / "results.md").write_text(f"# Results\n\n{text}", encoding="utf-8")
    write_plots(options.out, found)
    print(f"written to {options.out}: results.json, results.md, plots")
    return 0


async def _run(options: argparse.Namespace) -> Document:
    sizes = QUICK if options.quick else FULL
    if options.repeats:
        sizes = sizes._replace(repeats=options.repeats)
    workloads = _chosen(options)
    systems = (*OURS, *peers()) if options.peers else OURS
    measured = Measured([])
    async with embedded() as server:
        machine = this_machine(server, systems)
        for workload in workloads:
            print(f"{workload.key}: {workload.title}", file=sys.stderr)
            measured.series += await measure(workload, systems, sizes, server, _tell)
    return document(machine, shlex.join(["python", "-m", "benchmarks", *sys.argv[1:]]), measured)


def _chosen(options: argparse.Namespace) -> list[type[Workload]]:
    asked = {"W8": options.growth, "W9": options.demo, "W10": options.scale}
    keys = (
        options.only
        or [key for key, is_retry_requested in asked.items() if is_retry_requested]
        or [one.key for one in WORKLOADS]
    )
    return [one for one in ALL_WORKLOADS if one.key in keys]


def _tell(what: str) -> None:
    print(f"  {what}", file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="How fast Perdure is, beside others.")
    parser.add_argument("--peers", action="store_true", help="measure the other stores, too; they must be installed")
    parser.add_argument("--growth", action="store_true", help="only W8: a store of 5 million events")
    parser.add_argument("--demo", action="store_true", help=f"only W9: the demo, on the files in {DATA_VARIABLE}")
    parser.add_argument("--scale", action="store_true", help="only W10: a projection of a million events")
    parser.add_argument("--quick", action="store_true", help="see that it works; the figures mean little")
    keys = [workload.key for workload in ALL_WORKLOADS]
    parser.add_argument("--only", nargs="+", choices=keys, metavar="KEY", help=f"these workloads: {' '.join(keys)}")
    parser.add_argument("--repeats", type=int, metavar="N", help="how often each system does each thing")
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"), metavar="DIR", help="where results go")
    return parser
