"""The arguments, server and exit status of the demo."""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

import perdure
from examples.streaming.application import app
from examples.streaming.demo.demo import Demo
from examples.streaming.demo.document import write_document
from examples.streaming.demo.generated import generate
from examples.streaming.demo.movielens import SourceError, read_movielens
from examples.streaming.demo.outcome import Outcome
from examples.streaming.demo.report import print_report
from examples.streaming.demo.source import Source

_ON_DISK = "/var/tmp"  # unlike /tmp, which is in memory on many machines

PASSED, DIFFERENT, FAILED, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the demo and return the exit status."""
    options = _parser().parse_args(arguments)
    console = Console(width=None if sys.stdout.isatty() else 120)
    try:
        source = read_movielens(options.data) if options.data else generate(options.seed)
        with _kept() if options.keep else _folder() as folder:
            outcome = asyncio.run(_run(source, console, options.concurrency, folder))
        print_report(console, outcome)
        if options.json:
            write_document(options.json, outcome)
        if options.keep:
            console.print("Inspect it: perdure --app examples.streaming:app doctor", highlight=False)
    except KeyboardInterrupt:
        console.print(f"Stopped. The server is stopped too{'' if options.keep else ', and its data is gone'}.")
        return INTERRUPTED
    except (SourceError, perdure.PerdureError, OSError) as error:
        print(error, file=sys.stderr)
        return FAILED
    return PASSED if outcome.verified else DIFFERENT


async def _run(source: Source, console: Console, concurrency: int, folder: Path) -> Outcome:
    begin = time.perf_counter()
    async with app.connect({"directory": folder}):
        started = time.perf_counter() - begin
        console.print(f"PostgreSQL started in {started:.1f} s, for this run alone.", highlight=False)
        return await Demo(source, app, console, concurrency=concurrency).run()


@contextmanager
def _kept() -> Generator[Path]:
    """Return the default directory of the command line's database, which must not exist yet."""
    folder = Path(".perdure")
    if folder.exists():
        raise FileExistsError(f"{folder} is there already: delete it, or leave --keep out")
    yield folder


@contextmanager
def _folder() -> Generator[Path]:
    """Yield a temporary folder for the data of a new server, so that runs don't share data."""
    parent = os.environ.get("TMPDIR") or _ON_DISK
    with TemporaryDirectory(prefix="perdure-demo-", dir=parent if os.access(parent, os.W_OK) else None) as folder:
        Path(folder).chmod(0o711)  # root starts the server as another user, which must be able to enter
        yield Path(folder) / "server"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.streaming",
        description="Plays years of a video streaming service on an embedded PostgreSQL, and checks every row.",
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="a folder of MovieLens files, instead of made-up data")
    parser.add_argument("--json", type=_new_file, metavar="FILE", help="write the figures and all rows to this file")
    parser.add_argument("--keep", action="store_true", help="keep the database in ./.perdure, to look into it")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="seed of the made-up data (default: 1)")
    parser.add_argument(
        "--concurrency", type=_positive, default=64, metavar="N", help="number of concurrent actions (default: 64)"
    )
    return parser


def _new_file(text: str) -> Path:
    path = Path(text)
    if not path.parent.is_dir():  # fails now, not at the end of the run
        raise argparse.ArgumentTypeError(f"there is no folder {path.parent}")
    return path


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number from 1 on, not {text!r}")
    return int(text)
