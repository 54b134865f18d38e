"""How it looks on a terminal: in its width, in colours unless they aren't wanted, and cut where there is too much."""

import pytest

from examples.streaming.events import ContentAdded
from perdure import ANY, PostgreSQLEventStore
from tests.cli.calling import COLOUR, STREAMING, on_terminal, plain

COMMANDS = [
    ["streams", "list"],
    ["streams", "show", "user-1"],
    ["streams", "show", f"content-{'x' * 200}"],
    ["events", "read"],
    ["events", "show", "7"],
    ["events", "tail", "--limit", "7"],
    ["state", "user-1", "--diff", "1", "3"],
    ["check"],
]


@pytest.fixture
async def long_events(store: PostgreSQLEventStore, events: None) -> None:
    """A stream of a long name, with an event of much data, after those of `events`."""
    added = ContentAdded(content_id="x", title="Heat \u001b[31m" * 100, genres=["日本語"] * 100)
    await store.append_to_stream(f"content-{'x' * 200}", ANY, [added])


@pytest.mark.usefixtures("long_events")
@pytest.mark.parametrize(
    ("command", "columns"), [*[(command, 80) for command in COMMANDS], (COMMANDS[0], 120), (COMMANDS[3], 120)]
)
def test_nothing_is_wider_than_the_terminal(command: list[str], columns: int, database_url: str) -> None:
    from rich.cells import cell_len

    status, printed = on_terminal("--app", STREAMING, *command, database_url=database_url, columns=columns)

    lines = [line for line in plain(printed).splitlines() if not line.startswith(("Next: ", "stream  ", "→ ", "  "))]
    assert status == 0
    assert [line for line in lines if cell_len(line) > columns] == []
    assert "\x1b[31mHeat" not in printed


@pytest.mark.usefixtures("long_events")
def test_data_that_is_cut_says_how_to_see_it_all(database_url: str) -> None:
    _, cut = on_terminal("events", "show", "7", database_url=database_url)
    _, full = on_terminal("events", "show", "7", "--full", database_url=database_url)

    assert "more lines; --full shows all" in plain(cut)
    assert plain(full).count("日本語") == 100
    assert "more lines" not in plain(full)


@pytest.mark.usefixtures("events")
def test_a_terminal_gets_colours(database_url: str) -> None:
    _, printed = on_terminal("--app", STREAMING, "state", "user-1", "--diff", "1", "3", database_url=database_url)

    assert '\x1b[31m-  "subscription_plan": "free"\x1b[0m' in printed
    assert '\x1b[32m+  "subscription_plan": "premium"\x1b[0m' in printed


@pytest.mark.usefixtures("events")
@pytest.mark.parametrize(
    ("command", "variables"),
    [("events read", {"NO_COLOR": "1"}), ("doctor", {"NO_COLOR": "1"}), ("events read", {"TERM": "dumb"})],
)
def test_a_terminal_that_wants_no_colours_gets_none(command: str, variables: dict[str, str], database_url: str) -> None:
    _, printed = on_terminal(*command.split(), database_url=database_url, variables=variables)

    assert [found for found in COLOUR.findall(printed) if found not in ("\x1b[0m", "\x1b[1m")] == []


def test_an_error_is_told_in_red(database_url: str) -> None:
    status, printed = on_terminal("streams", "show", "user-9", database_url=database_url)

    assert status == 1
    assert printed.startswith("\x1b[1;31mError: \x1b[0mthere is no stream 'user-9'\n")


def test_an_empty_log_is_told(database_url: str) -> None:
    assert on_terminal("streams", "list", database_url=database_url) == (0, "No streams.\n")
    assert on_terminal("events", "read", database_url=database_url) == (0, "No events.\n")
