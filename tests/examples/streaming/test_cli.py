"""The demo as people run it, from the command line to the exit status."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from examples.streaming.demo import cli, demo
from examples.streaming.demo.cli import main
from examples.streaming.demo.read_models import read_titles
from examples.streaming.demo.recomputation import Row
from perdure import PostgreSQLEventStore
from tests.examples.streaming.files import write_files
from tests.examples.streaming.sources import SMALL

pytestmark = pytest.mark.server  # the tests start servers of their own

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "examples.streaming"]


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the demo puts its server. Pytest's own folders are closed to the user that runs it when we are root."""
    with TemporaryDirectory(prefix="perdure-test-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o711)
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


def processes_of(place: Path) -> list[str]:
    """The processes that were started with a path within the place. Empty where there is no /proc."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if str(place).encode() in command:
            found.append(command.decode(errors="replace"))
    return found


def test_the_made_up_workload_passes_the_check(place: Path, tmp_path: Path) -> None:
    run = subprocess.run(
        [*COMMAND, "--json", tmp_path / "demo.json"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    document = json.loads((tmp_path / "demo.json").read_text(encoding="utf-8"))

    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout.splitlines()[-1].startswith("VERIFIED: ")
    assert document["verified"] is True
    assert document["events"] == 19_968
    assert document["conflicts_retried"] == 24
    assert document["peak_rss_mb"] < 300
    assert (len(document["titles"]), len(document["profiles"])) == (400, 120)
    assert list(place.iterdir()) == []
    assert processes_of(place) == []


def test_it_reads_the_files_of_movielens(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(tmp_path)

    assert main(["--data", str(tmp_path), "--json", str(tmp_path / "demo.json")]) == 0
    document = json.loads((tmp_path / "demo.json").read_text(encoding="utf-8"))
    titles = {row["content_id"]: row for row in document["titles"]}
    assert titles["3"]["title"] == "11'09\"01 - September 11 (2002)"
    assert titles["3"]["genre"] == "unknown"
    assert [row["user_id"] for row in document["profiles"]] == ["1", "2"]
    assert document["profiles"][0]["preferences"] == ["unknown", "Adventure"]
    assert document["profiles"][0]["last_active"] == "2000-07-30T18:45:03Z"


def test_a_database_that_is_kept_can_be_looked_into(place: Path, tmp_path: Path) -> None:
    write_files(tmp_path)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PERDURE_", "DATABASE_URL"))}
    environment = kept | {"PYTHONPATH": str(ROOT)}
    demo = [*COMMAND, "--data", str(tmp_path), "--keep"]
    look = [sys.executable, "-m", "perdure", "--app", "examples.streaming:app", "projections", "list", "--json"]

    first = subprocess.run(demo, cwd=place, env=environment, capture_output=True, text=True, check=False)
    again = subprocess.run(demo, cwd=place, env=environment, capture_output=True, text=True, check=False)
    found = subprocess.run(look, cwd=place, env=environment, capture_output=True, text=True, check=False)

    assert (first.returncode, first.stderr) == (0, "")
    assert first.stdout.splitlines()[-1] == "Inspect it: perdure --app examples.streaming:app doctor"
    assert (again.returncode, again.stderr) == (2, ".perdure is there already: delete it, or leave --keep out\n")
    assert [one["name"] for one in json.loads(found.stdout)["data"]["projections"]] == [
        "content_popularity",
        "user_profiles",
    ]


def test_a_wrong_row_fails_the_check(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def read_corrupted(store: PostgreSQLEventStore) -> list[Row]:
        await store.database.fetch("update content_popularity__v1 set total_views = 7 where content_id = '1'")
        return await read_titles(store)

    monkeypatch.setattr(demo, "read_titles", read_corrupted)
    monkeypatch.setattr(cli, "generate", lambda seed: SMALL)

    assert main([]) == 1
    printed = capsys.readouterr().out
    assert "1.total_views is 7, not 3" in printed
    assert "NOT VERIFIED" in printed


IN_BACKGROUND = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", *COMMAND]  # SIGINT is ignored, as a script's "&" has it


@pytest.mark.parametrize("command", [COMMAND, IN_BACKGROUND], ids=["in front", "in background"])
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_and_its_kin_stop_it_cleanly(place: Path, command: list[str], ending: signal.Signals) -> None:
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if "appends at a time" in line:
                break
        process.send_signal(ending)
        out, err = process.communicate(timeout=30)

    assert (process.returncode, err) == (130, "")
    assert out.splitlines()[-1].startswith("Stopped.")
    assert list(place.iterdir()) == []
    assert processes_of(place) == []


def test_a_folder_without_the_files_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path)]) == 2
    assert "movies.csv can't be read: No such file or directory" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "-1", "many"])
def test_concurrency_begins_with_one(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--concurrency", number])
    assert "must be a whole number from 1 on" in capsys.readouterr().err


def test_a_document_needs_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--json", str(tmp_path / "reports" / "demo.json")])
    assert "there is no folder" in capsys.readouterr().err


def test_without_rich_the_extra_is_named(tmp_path: Path) -> None:
    (tmp_path / "rich.py").write_text("raise ModuleNotFoundError('no', name='rich')\n", encoding="utf-8")
    run = subprocess.run(
        COMMAND, cwd=ROOT, capture_output=True, text=True, check=False, env={**os.environ, "PYTHONPATH": str(tmp_path)}
    )

    assert run.returncode == 1
    assert run.stderr == "The demo needs the extra 'demo': pip install 'perdure[demo]', or run it by 'make demo'\n"
