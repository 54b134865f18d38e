"""Finds the attributes that a method assigns to its own object, without calling it."""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Collection, Iterator
from itertools import pairwise
from types import FunctionType
from typing import Any, cast


def undeclared_names(cls: type, method: Callable[..., Any], known: Collection[str]) -> set[str]:
    """Return the names that a method assigns to the instance, and that are neither known nor descriptors of the class.

    If the class overrides ``__setattr__``, the result is empty: where the values go isn't known.
    """
    any_class: Any = cls
    if any_class.__setattr__ is not object.__setattr__:
        return set()
    names = assigned_names(inspect.unwrap(method)).difference(known)
    return {name for name in names if not hasattr(inspect.getattr_static(cls, name, None), "__set__")}


def assigned_names(method: object) -> set[str]:
    """Return the names of the attributes that a method assigns to its first argument, and keeps.

    Read from the bytecode: the source may be unavailable. What the compiler writes in another form isn't found, so the
    answer may be incomplete. It names too much only if code chooses the object, as in ``(other or self).x = 1``.
    """
    if not isinstance(method, FunctionType) or not method.__code__.co_argcount:
        return set()
    instructions = list(dis.get_instructions(method))
    own = method.__code__.co_varnames[0]
    removed = {one.argval for one in instructions if one.opname == "DELETE_ATTR"}
    return {*_plain(instructions, own), *_augmented(instructions, own)} - removed


def _plain(instructions: list[dis.Instruction], own: str) -> Iterator[str]:
    """``self.name = value``: the object is loaded last before it gets the value."""
    for before, one in pairwise(instructions):
        if one.opname == "STORE_ATTR" and _loads(before, own):
            yield one.argval


def _augmented(instructions: list[dis.Instruction], own: str) -> Iterator[str]:
    """``self.name += value``: the object is loaded and copied, to read the attribute first."""
    for before, copy, one in zip(instructions, instructions[1:], instructions[2:], strict=False):
        if one.opname == "LOAD_ATTR" and copy.opname == "COPY" and _loads(before, own):
            yield one.argval


def _loads(instruction: dis.Instruction, own: str) -> bool:
    argval: object = instruction.argval
    last = cast("tuple[object, ...]", argval)[-1] if isinstance(argval, tuple) else argval
    return last == own and ("LOAD_FAST" in instruction.opname or instruction.opname == "LOAD_DEREF")
