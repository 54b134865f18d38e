"""Builds of projections: made, compared, shown and dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from perdure.errors.roots import PerdureError
from perdure.errors.stores import LockHolder


class UnknownBuildError(PerdureError, LookupError):
    """A projection has no such build. `known` are those that it has, as (version, build)."""

    def __init__(self, name: str, version: int | None, build: int | None, known: Sequence[tuple[int, int]]) -> None:
        asked = ", ".join(
            f"{what} {number}" for what, number in (("version", version), ("build", build)) if number is not None
        )
        listed = ", ".join(f"version {one} build {other}" for one, other in known)
        super().__init__(f"projection {name!r} has no {asked or 'other build'}; it has: {listed or 'none'}")
        self.name = name
        self.version, self.build = version, build
        self.known = tuple(known)


class BuildStateError(PerdureError):
    """A build isn't in the state for what was asked. `lag` is how many positions it is behind, where that is why."""

    def __init__(self, name: str, version: int, build: int, reason: str, lag: int = 0) -> None:
        super().__init__(f"version {version} build {build} of projection {name!r} {reason}")
        self.name = name
        self.version, self.build = version, build
        self.reason = reason
        self.lag = lag


class SwitchBlockedError(PerdureError):
    """Others hold locks on the views or tables of a projection. Nothing was changed; ask again when they are done."""

    def __init__(self, name: str, attempts: int, holders: Sequence[LockHolder]) -> None:
        names = ", ".join(map(str, holders)) or "a session that was gone before it could be named"
        super().__init__(
            f"projection {name!r}: gave up after {attempts} tries, each for a moment, to lock what {names} uses; "
            "ask again when it is done, or end it (pg_terminate_backend)"
        )
        self.name = name
        self.attempts = attempts
        self.holders = tuple(holders)


class ViewInUseError(PerdureError):
    """Something is built on a view, or on a table, that would have to be dropped. `dependents` lists it for each."""

    def __init__(self, name: str, dependents: Mapping[str, Sequence[str]]) -> None:
        told = "; ".join(f"on {view!r}: {', '.join(those)}" for view, those in dependents.items())
        super().__init__(
            f"projection {name!r} can't change what others build on ({told}): "
            "drop that first, and make it again afterwards"
        )
        self.name = name
        self.dependents = {view: tuple(those) for view, those in dependents.items()}
