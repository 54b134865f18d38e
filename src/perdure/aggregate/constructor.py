"""Checks the ``__init__`` of an aggregate class that has its own: the state consists of declared fields alone."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection
from functools import wraps
from typing import Any, cast

from perdure.aggregate.assignments import undeclared_names
from perdure.checks import can_take
from perdure.errors import AggregateDefinitionError


def has_own_constructor(cls: type, root: type) -> bool:
    """Return whether a class of aggregates, or one of its other parents, overrides ``__init__`` of the root."""
    return _constructor(cls) is not _constructor(root)


def check_constructor(cls: type, root: type, fields: Collection[str]) -> None:
    """Check an overriding ``__init__`` now, and the state that it leaves whenever it makes an instance.

    Raises:
        AggregateDefinitionError: it needs more than an id, or sets an attribute that isn't a field.
    """
    constructor = _constructor(cls)
    if not can_take(constructor, 2):
        raise AggregateDefinitionError(
            cls,
            f"__init__{inspect.signature(constructor)} can't be called with an id alone, as a repository does: "
            "give the other parameters defaults, or pass such values to commands",
        )
    if names := undeclared_names(cls, constructor, {*fields, *dir(root)}):
        raise undeclared(cls, "__init__()", names)

    # What it sets in other ways, such as by setattr(), is seen only in an instance.
    @wraps(constructor)
    def checked(self: object, *args: Any, **kwargs: Any) -> None:
        constructor(self, *args, **kwargs)
        if _constructor(type(self)) is checked:  # not called by the __init__ of a subclass, which isn't done yet
            if not hasattr(self, "uncommitted"):
                raise AggregateDefinitionError(cls, "its __init__() doesn't call super().__init__(aggregate_id)")
            if names := vars(self).keys() - fields:
                raise undeclared(cls, "__init__()", names)

    cast("Any", cls).__init__ = checked


def undeclared(cls: type, method: str, names: Collection[str]) -> AggregateDefinitionError:
    """Return the error for a method that sets attributes that aren't fields."""
    name = min(names)
    return AggregateDefinitionError(
        cls,
        f"{method} sets self.{name}, which isn't a field, so snapshots would miss it: "
        f"declare it in the body of the class, as '{name}: TYPE = DEFAULT'",
    )


def _constructor(cls: type) -> Callable[..., None]:
    constructor: Callable[..., None] = cast("Any", cls).__init__
    return constructor
