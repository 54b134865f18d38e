"""The application is found by option, variable or pyproject.toml; what keeps it from being found is told."""

import sys
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cli.calling import Call

APPLICATION = "from perdure import Application\n{} = Application()\n"


@pytest.fixture
def module(place: Path) -> str:
    """A module of the working folder, of a name of its own: modules are imported once in a process."""
    name = f"shop_{uuid4().hex[:8]}"
    (place / f"{name}.py").write_text(APPLICATION.format("app"))
    return name


async def application(perdure: Call, *arguments: str) -> tuple[str, str]:
    """What `doctor` says: the application, and its source."""
    found = (await perdure(*arguments, "doctor", "--json")).data["settings"]
    [setting] = [one for one in found if one["name"] == "application"]
    return setting["value"], setting["source"]


async def test_without_a_name_there_is_none(perdure: Call) -> None:
    assert await application(perdure) == ("none", "default")


async def test_the_option_is_taken_before_the_variable_and_that_before_the_file(
    perdure: Call, place: Path, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = place / "pyproject.toml"
    file.write_text(f"[tool.perdure]\napp = '{module}:app'\n")
    assert await application(perdure) == (f"{module}:app", str(file))

    monkeypatch.setenv("PERDURE_APP", module)
    assert await application(perdure) == (module, "PERDURE_APP")

    assert await application(perdure, "--app", f"{module}:app") == (f"{module}:app", "--app")


async def test_the_file_of_an_outer_folder_is_found_and_its_folder_searched(
    perdure: Call, place: Path, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "pyproject.toml").write_text(f"[tool.perdure]\napp = '{module}'\n")
    (place / "deeper" / "still").mkdir(parents=True)
    monkeypatch.chdir(place / "deeper" / "still")

    assert await application(perdure) == (module, str(place / "pyproject.toml"))


async def test_a_file_that_names_none_ends_the_search(perdure: Call, place: Path) -> None:
    (place / "pyproject.toml").write_text("[project]\nname = 'x'\n")

    assert await application(perdure) == ("none", "default")


@pytest.mark.parametrize(
    ("text", "reason"), [("[tool.perdure]\napp = 7\n", "must be a string"), ("[tool", "can't be read")]
)
async def test_a_file_that_cannot_be_used_is_told(perdure: Call, place: Path, text: str, reason: str) -> None:
    (place / "pyproject.toml").write_text(text)

    answer = await perdure("check")

    assert answer.status == 1
    assert reason in answer.err
    assert answer.err.endswith("Next: perdure --app module:name doctor\n")


@pytest.mark.parametrize("name", ["nowhere:app", "examples.nowhere:app"])
async def test_a_module_that_is_not_there_is_told(perdure: Call, place: Path, name: str) -> None:
    answer = await perdure("--app", name, "check")

    assert answer.status == 2
    assert answer.err.startswith(f"Error: there is no module '{name.partition(':')[0]}' (named by --app as '{name}')")
    assert str(place) in answer.err


async def test_a_name_that_is_not_in_the_module_is_told_with_the_one_that_is(
    perdure: Call, place: Path, module: str
) -> None:
    (place / f"{module}.py").write_text(APPLICATION.format("shop"))

    answer = await perdure("--app", module, "check")

    assert answer.status == 2
    assert answer.err == f"Error: 'app' in module '{module}' doesn't exist\nNext: perdure --app {module}:shop doctor\n"


async def test_a_name_of_something_else_is_told(perdure: Call, module: str) -> None:
    answer = await perdure("--app", f"{module}:Application", "check")

    assert answer.status == 2
    assert f"'Application' in module '{module}' is a type, not an Application" in answer.err


@pytest.mark.parametrize("name", [":app", ".shop:app", "a..b:app", " "])
async def test_what_names_no_module_is_told(perdure: Call, name: str) -> None:
    answer = await perdure("--app", name, "check")

    assert answer.status == 2
    assert "Next: " in answer.err


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("def f():\n    raise RuntimeError('no such ' + 'luck')\nf()\n", ":2: RuntimeError: no such luck"),
        ("import nowhere_at_all\n", ":1: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("def f(:\n", "SyntaxError"),
        ("import sys\nsys.exit('configure me')\n", ":2: SystemExit: configure me"),
    ],
)
async def test_a_module_that_fails_is_told_with_the_place(
    perdure: Call, place: Path, module: str, text: str, reason: str
) -> None:
    (place / f"{module}.py").write_text(text)

    answer = await perdure("--app", module, "check")

    assert answer.status == 1
    assert answer.err.startswith(f"Error: importing '{module}' failed")
    assert reason in answer.err
    assert answer.err.endswith(f"Next: python -m {module}\n")


async def test_an_application_that_is_defined_wrongly_is_told(perdure: Call, place: Path, module: str) -> None:
    (place / f"{module}.py").write_text("from perdure import Application\napp = Application(aggregates=[int])\n")

    answer = await perdure("--app", module, "check")

    assert answer.status == 1
    assert f"{module}.py:2: InvalidArgumentError: aggregates holds <class 'int'>" in answer.err


async def test_the_working_folder_is_searched_first(perdure: Call, place: Path, module: str) -> None:
    await application(perdure, "--app", module)

    assert sys.modules[module].__file__ == str(place / f"{module}.py")
