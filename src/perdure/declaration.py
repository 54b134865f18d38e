"""Checks of what a class declares: the name and start of a projection, its table, key, indexes and unique columns."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from inspect import Parameter, signature
from typing import Final, Literal, cast, get_args

from perdure.checks import check_count, check_text
from perdure.errors import InvalidArgumentError, ProjectionDefinitionError
from perdure.errors.formats import shown
from perdure.log import SubscriptionStart

Columns = Sequence[str | tuple[str, ...]]
"""Columns as a class declares them: a list, with a field, or several fields as a tuple, in each place."""


OnFailure = Literal["pause", "park"]
"""What happens to an event that still fails after all attempts."""

LONGEST_NAME: Final = 200
"""Characters of the name of a projection or reaction."""
MAX_VERSION: Final = 32767
"""The largest version of a projection: a smallint in the database."""

_OPTIONS_OF_FIND: Final = frozenset({"after", "at_position", "at_time", "limit", "order_by", "tx"})


@contextmanager
def only_known_arguments(
    base: type, cls: type, error_class: type[ProjectionDefinitionError] = ProjectionDefinitionError
) -> Generator[None]:
    """Raise an error of the class if Python refuses arguments of ``class X(Base, ...)`` in the block.

    Args:
        base: the class whose arguments are known.
        cls: the class that is defined.
        error_class: the class of the error.
    """
    try:
        yield
    except TypeError as error:
        given = signature(base.__init_subclass__).parameters.values()
        known = ", ".join(one.name for one in given if one.kind is Parameter.KEYWORD_ONLY)
        raise error_class(cls.__qualname__, f"{error}; a {base.__name__} takes {known}") from error


def check_name(
    cls: str, name: object, error_class: type[ProjectionDefinitionError] = ProjectionDefinitionError
) -> None:
    """Raise an error of the class unless `name` can be the name of a projection or reaction."""
    try:
        check_text("name", name)
    except InvalidArgumentError as error:
        raise error_class(cls, str(error)) from error
    if not isinstance(name, str) or not 1 <= len(name) <= LONGEST_NAME:
        raise error_class(cls, f"its name {shown(name)} must have 1 to {LONGEST_NAME} characters")


def check_start(
    name: str, start: object, error_class: type[ProjectionDefinitionError] = ProjectionDefinitionError
) -> None:
    """Raise an error of the class unless `start` is a position or `NOW`."""
    if not isinstance(start, SubscriptionStart):
        try:
            check_count("start", start)
        except InvalidArgumentError as error:
            raise error_class(name, f"{error}; or say start=NOW") from error


def check_version(name: str, version: object) -> None:
    """Raise ProjectionDefinitionError unless `version` can be a version of a projection."""
    if not isinstance(version, int) or isinstance(version, bool) or not 1 <= version <= MAX_VERSION:
        raise ProjectionDefinitionError(name, f"{shown(version)} isn't a version: use 1, 2, 3 ...")


def check_on_failure(
    name: str, on_failure: object, error_class: type[ProjectionDefinitionError] = ProjectionDefinitionError
) -> None:
    """Raise an error of the class unless `on_failure` is ``"pause"`` or ``"park"``."""
    if not isinstance(on_failure, str) or on_failure not in get_args(OnFailure):
        raise error_class(name, f'on_failure is {shown(on_failure)}: say "pause" or "park"')


def check_table(name: str, table: object) -> None:
    """Raise ProjectionDefinitionError unless it can be the name of a table."""
    if not isinstance(table, str) or not table:
        raise ProjectionDefinitionError(name, f"its table name is {shown(table)}: use a non-empty str")


def checked_key(table: str, key: object) -> tuple[str, ...]:
    """Return the fields of a key. Raise ProjectionDefinitionError if they can't be one."""
    if (fields := _fields_of(key)) is None:
        fix = 'name the field that identifies a row, key="user_id", or several as a tuple'
        raise ProjectionDefinitionError(table, f"its key is {shown(key)}: {fix}")
    if len(set(fields)) < len(fields):
        raise ProjectionDefinitionError(table, f"its key names a field twice: {shown(key)}")
    return fields


def checked_columns(table: str, option: str, given: object, key: tuple[str, ...]) -> tuple[tuple[str, ...], ...]:
    """Return the columns of each index, or of each unique combination, that a class declares.

    Args:
        table: the table, for errors.
        option: the name of the option.
        given: what was declared.
        key: the fields of the table's key.

    Raises:
        ProjectionDefinitionError: it isn't a list of columns, or says something twice.
    """
    if given != () and not isinstance(given, list):  # a tuple of two names could mean one index or two
        fix = f'give a list: {option}=["plan"], or {option}=[("plan", "city")] for two fields together'
        raise ProjectionDefinitionError(table, f"{option} is {shown(given)}: {fix}")
    declared: list[tuple[str, ...]] = []
    for each in cast("list[object]", given):
        fields = _fields_of(each)
        if fields is None or len(set(fields)) < len(fields):
            fix = "name a field, or several different fields as a tuple"
            raise ProjectionDefinitionError(table, f"{option} has {shown(each)}: {fix}")
        if options := _OPTIONS_OF_FIND.intersection(fields):
            fix = "rename the field, because find() has an option of that name"
            raise ProjectionDefinitionError(table, f"{option} has {shown(min(options))}: {fix}")
        if fields in declared:
            raise ProjectionDefinitionError(table, f"{option} has {shown(each)} twice")
        if set(key) <= set(fields) if option == "unique" else fields == key[: len(fields)]:
            have = "is unique" if option == "unique" else "has an index"
            raise ProjectionDefinitionError(table, f"{option} has {shown(each)}: leave it out, the key {have} anyway")
        declared.append(fields)
    return tuple(declared)


def _fields_of(given: object) -> tuple[str, ...] | None:
    fields: object = (given,) if isinstance(given, str) else given
    if not isinstance(fields, tuple) or not fields:
        return None
    named = cast("tuple[object, ...]", fields)
    return cast("tuple[str, ...]", named) if all(isinstance(field, str) and field for field in named) else None
