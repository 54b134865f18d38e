"""What holds for all commands: help, errors, exit status, the envelope, and how fast it starts."""

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from perdure.cli.entry import main
from perdure.cli.program import COMMANDS, program
from tests.cli.calling import COMMAND, STREAMING, Answer, Call, environment, fill, start

WITHOUT_LIBRARIES = """
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name: None if name == {missing!r} else found(name)
from perdure.cli.entry import main
sys.exit(main(["--help"]))
"""


def leaves(command: click.Command, path: str = "") -> dict[str, click.Command]:
    """Every command that does something, by its name."""
    if not isinstance(command, click.Group):
        return {path: command}
    ctx = click.Context(command)
    found = {name: command.get_command(ctx, name) for name in command.list_commands(ctx)}
    return {
        leaf: one
        for name, child in found.items()
        if child is not None
        for leaf, one in leaves(child, f"{path} {name}".strip()).items()
    }


def called(*arguments: str, **variables: str) -> Answer:
    """The command line as a process of its own, without a terminal."""
    outcome = subprocess.run(
        [*COMMAND, *arguments], env=environment(None, **variables), capture_output=True, text=True, check=False
    )
    return Answer(outcome.returncode, outcome.stdout, outcome.stderr)


def test_help_lists_every_command_as_the_command_describes_itself() -> None:
    for name, place in COMMANDS.items():
        command = program.get_command(click.Context(program), name)
        assert command is not None
        assert (command.help or "").partition("\n")[0] == place.help


@pytest.mark.parametrize(("name", "command"), leaves(program).items(), ids=str)
def test_every_command_takes_json_and_tells_what_it_does(name: str, command: click.Command) -> None:
    options = [option for parameter in command.params for option in parameter.opts]

    assert "--json" in options
    assert command.help, name
    assert [one.name for one in command.params if isinstance(one, click.Option) and not one.help] == []


@pytest.mark.parametrize("arguments", [["--help"], ["-h"], ["streams", "--help"], ["events", "tail", "-h"]])
def test_help_is_no_error(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("Usage: perdure ")


def test_the_version_is_that_of_the_package() -> None:
    assert called("--version") == (0, f"{importlib.metadata.version('perdure')}\n", "")


def test_it_is_installed_as_a_program() -> None:
    [script] = importlib.metadata.entry_points(group="console_scripts", name="perdure")

    assert script.load() is main


@pytest.mark.parametrize("arguments", [[], ["streams"]])
def test_a_call_without_a_command_shows_what_there_is(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert (out, err.startswith("Usage: ")) == ("", True)


@pytest.mark.parametrize(
    ("arguments", "message", "next_command"),
    [
        (["nope"], "No such command 'nope'.", "perdure --help"),
        (["streams", "nope"], "No such command 'nope'.", "perdure streams --help"),
        (["--nope"], "No such option '--nope'.", "perdure --help"),
        (["streams", "list", "--nope"], "No such option '--nope'.", "perdure streams list --help"),
        (["streams", "list", "--limit"], "Option '--limit' requires an argument.", "perdure streams list --help"),
        (["--schema", "a b", "state"], "Missing argument 'STREAM'.", "perdure --schema 'a b' state --help"),
    ],
)
async def test_a_wrong_call_is_told_with_the_help_to_look_at(
    perdure: Call, arguments: list[str], message: str, next_command: str
) -> None:
    answer = await perdure(*arguments)
    in_json = await perdure("--json", *arguments)

    assert answer == (2, "", f"Error: {message}\nNext: {next_command}\n")
    assert in_json.err == ""
    assert in_json.envelope["error"]["message"] == message
    assert in_json.envelope["next"] == next_command


async def test_json_may_be_asked_for_before_the_command(perdure: Call) -> None:
    assert (await perdure("--json", "streams", "list")).data == {"streams": [], "more": False}


@pytest.mark.parametrize("command", ["streams list", "events read", "events show 1", "streams show a-1"])
async def test_a_database_that_is_down_is_told(perdure: Call, command: str) -> None:
    database = "postgresql://ann:secret@127.0.0.1:1/shop"
    answer = await perdure("--database", database, *command.split())
    in_json = await perdure("--database", database, *command.split(), "--json")

    assert (answer.status, answer.out) == (1, "")
    assert answer.err.startswith("Error: the database can't be reached: ")
    assert answer.err.endswith("Next: perdure --database postgresql://ann:...@127.0.0.1:1/shop doctor\n")
    assert in_json.envelope["error"]["error"] == "StoreUnavailableError"
    assert "secret" not in answer.err + in_json.out


@pytest.mark.parametrize("command", ["streams list", "events read", "events tail", "events show 1"])
async def test_a_missing_schema_is_told_with_its_cure(
    perdure: Call, command: str, empty_database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERDURE_DATABASE_URL", empty_database_url)

    answer = await perdure(*command.split())

    assert answer.status == 1
    assert "lacks migrations" in answer.err
    assert answer.err.endswith("Next: perdure db apply\n")


async def test_looking_makes_no_database(perdure: Call, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PERDURE_DATABASE_URL")

    answer = await perdure("streams", "list")

    assert answer.status == 1
    assert answer.err.startswith("Error: there is no database: neither --database nor PERDURE_DATABASE_URL")
    assert os.listdir(place) == []  # noqa: PTH208 - nothing waits for it


async def test_a_store_without_a_database_is_refused(perdure: Call, place: Path) -> None:
    (place / "in_memory.py").write_text(
        "from perdure import Application, InMemoryEventStore\napp = Application(InMemoryEventStore())\n"
    )

    answer = await perdure("--app", "in_memory", "streams", "list")

    assert answer.status == 1
    assert answer.err.startswith("Error: InMemoryEventStore has no PostgreSQL database: use a PostgreSQLEventStore ")


async def test_a_store_with_inline_projections_is_taken(perdure: Call, place: Path, database_url: str) -> None:
    (place / "with_inline.py").write_text(
        "from perdure import Application, InlineProjections, PostgreSQLEventStore\n"
        f"app = Application(InlineProjections(PostgreSQLEventStore({database_url!r}), []))\n"
    )

    for command in (["streams", "list"], ["events", "read"], ["projections", "list"], ["doctor"]):
        answer = await perdure("--app", "with_inline", *command)
        assert answer.status == 0, answer


async def test_a_handler_that_fails_is_told_in_full(perdure: Call, place: Path) -> None:
    (place / "failing.py").write_text(
        "from perdure import AggregateRoot, Application, handles\n"
        "from examples.streaming.events import UserRegistered\n"
        "class User(AggregateRoot, category='user'):\n"
        "    @handles\n"
        "    def registered(self, event: UserRegistered) -> None:\n"
        "        raise ArithmeticError('broken')\n"
        "app = Application(aggregates=[User])\n"
    )
    await fill(os.environ["PERDURE_DATABASE_URL"])

    answer = await perdure("--app", "failing", "state", "user-1", "--json")

    assert answer.envelope["error"] == {"error": "ArithmeticError", "message": "broken"}
    assert "in registered" in answer.err


async def test_what_was_typed_may_be_no_text(perdure: Call) -> None:
    """As Python gives the bytes of an argument that aren't UTF-8. They may be in what to type next."""
    answer = await perdure("--schema", "caf\udce9", "streams", "list", "--json")

    assert answer.status != 0
    assert "caf?" in answer.envelope["next"]


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_without_its_libraries_it_says_how_to_install_them(missing: str) -> None:
    outcome = subprocess.run(
        [sys.executable, "-c", WITHOUT_LIBRARIES.format(missing=missing)], capture_output=True, text=True, check=False
    )

    assert outcome.returncode == 1
    assert outcome.stderr == "Error: the command line isn't installed.\nNext: pip install 'perdure[cli]'\n"


@pytest.mark.usefixtures("events")
@pytest.mark.parametrize("command", ["events read", "events read --json", "events tail", "streams list"])
def test_a_reader_that_has_seen_enough_is_no_error(command: str, database_url: str) -> None:
    with start("--app", STREAMING, *command.split(), database_url=database_url) as process:
        assert process.stdout is not None
        process.stdout.close()

        assert process.stderr is not None
        assert process.stderr.read() == ""
        assert process.wait() == 141


def test_help_loads_neither_the_driver_nor_the_screen() -> None:
    script = "import sys; from perdure.cli.entry import main; main(['--help']); print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert {"asyncpg", "rich", "msgspec"}.isdisjoint(loaded.split())
