"""The command line as a process of its own, apart from the terminal of the tests."""

import asyncio
import contextlib
import os
import signal
import subprocess

from tests.cli.calling import COMMAND, environment


def run(*arguments: str, url: str | None = None, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, *arguments],
        env=environment(url, **variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def started(*arguments: str, url: str | None = None, **variables: str) -> "subprocess.Popen[str]":
    """Start it apart from the terminal of the tests."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        env=environment(url, **variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def end(process: "subprocess.Popen[str] | subprocess.Popen[bytes]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)  # with psql
    process.wait()


async def called(*arguments: str, url: str | None = None, **variables: str) -> "subprocess.CompletedProcess[str]":
    return await asyncio.to_thread(run, *arguments, url=url, **variables)
