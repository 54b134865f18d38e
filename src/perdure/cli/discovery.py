"""Finds the application: ``--app module:name``, the variable PERDURE_APP, or ``[tool.perdure]`` in pyproject.toml.

The option and the variable count in every folder. A file counts only inside the user's own project, because importing
a module runs its code.
"""

from __future__ import annotations

import importlib
import os
import sys
import tomllib
import traceback
from pathlib import Path
from types import ModuleType
from typing import Final, NamedTuple, cast

from perdure.application import Application
from perdure.cli.failures import USAGE, CommandError
from perdure.cli.trust import distrusted
from perdure.store import EventStore

VARIABLE: Final = "PERDURE_APP"
_FILE: Final = "pyproject.toml"
_ROOT_MARKS: Final = (_FILE, "setup.py", "setup.cfg", ".git", ".hg")
"""Files and folders that mark the top folder of a project."""
_DEFAULT_NAME: Final = "app"
_PACKAGE: Final = str(Path(__file__).parents[1])


class ApplicationName(NamedTuple):
    """The name of an application, and where it comes from."""

    name: str
    """``module:name``."""
    source: str
    """``--app``, ``PERDURE_APP``, or the path of a pyproject.toml."""
    folder: Path
    """The folder to import modules from first."""


def named_application(option: str | None) -> ApplicationName | None:
    """Return the name of the application to use: from the option, else the variable, else the file, else None.

    The search for the file goes up to the top folder of the project. It stops earlier at a folder that another user
    owns or can write.

    Raises:
        CommandError: the file can't be read, or it names an application and another user owns it or can write it.
    """
    here = Path.cwd()
    if option:
        return ApplicationName(option, "--app", here)
    if name := os.environ.get(VARIABLE):
        return ApplicationName(name, VARIABLE, here)
    for folder in (here, *here.parents):
        if (file := folder / _FILE).is_file():
            name = _name_in(file)
            return _trusted(ApplicationName(name, str(file), folder)) if name else None
        if distrusted(folder) or any((folder / mark).exists() for mark in _ROOT_MARKS):
            return None
    return None


def load_application(named: ApplicationName) -> Application[EventStore]:
    """Import the application.

    Raises:
        CommandError: the module or name doesn't exist, the object is no `Application`, or the import failed.
    """
    module_name, _, attribute = named.name.partition(":")
    if not all(part.isidentifier() for part in module_name.split(".")):
        raise CommandError(
            f"{named.name!r} (named by {named.source}) isn't of the form module:name, such as shop.main:app",
            "perdure --app module:name doctor",
            status=USAGE,
        )
    for folder in (named.folder, Path.cwd()):
        if str(folder) not in sys.path:
            sys.path.insert(0, str(folder))
    module = _imported(module_name, named)
    found = getattr(module, attribute or _DEFAULT_NAME, None)
    if isinstance(found, Application):
        return cast("Application[EventStore]", found)
    others = [name for name, value in vars(module).items() if isinstance(value, Application)]
    advice = f"perdure --app {module_name}:{others[0]} doctor" if others else "perdure --help"
    what = "doesn't exist" if found is None else f"is a {type(found).__name__}, not an Application"
    raise CommandError(f"{attribute or _DEFAULT_NAME!r} in module {module_name!r} {what}", advice, status=USAGE)


def _trusted(named: ApplicationName) -> ApplicationName:
    if reason := distrusted(named.folder, _FILE):
        raise CommandError(
            f"{named.source} names the application {named.name!r}, which isn't imported: {reason}. "
            "If you trust that code, name it yourself, with --app or PERDURE_APP",
            "perdure --app module:name doctor",
            status=USAGE,
        )
    return named


def _imported(module_name: str, named: ApplicationName) -> ModuleType:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _broken(module_name, error) from error
        raise CommandError(
            f"there is no module {error.name!r} (named by {named.source} as {named.name!r}): "
            f"Perdure looked in {named.folder} and on Python's path",
            f"cd the/folder/of/{module_name.partition('.')[0]} && perdure --app {named.name} doctor",
            status=USAGE,
        ) from None
    except (Exception, SystemExit) as error:
        raise _broken(module_name, error) from error


def _broken(module_name: str, error: BaseException) -> CommandError:
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_user_code(frame.filename)]
    place = f" at {frames[-1].filename}:{frames[-1].lineno}" if frames else ""
    return CommandError(
        f"importing {module_name!r} failed{place}: {type(error).__name__}: {error}", f"python -m {module_name}"
    )


def _is_user_code(filename: str) -> bool:
    return not filename.startswith((_PACKAGE, "<")) and filename != importlib.__file__


def _name_in(file: Path) -> str | None:
    try:
        settings = tomllib.loads(file.read_text("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        raise CommandError(f"{file} can't be read: {error}", "perdure --app module:name doctor") from error
    name = cast("object", settings.get("tool", {}).get("perdure", {}).get("app"))
    if name is None or isinstance(name, str):
        return name
    raise CommandError(f"app in [tool.perdure] of {file} must be a string", "perdure --app module:name doctor")
