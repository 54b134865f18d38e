"""Builds of projections: rebuild, switch and drop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from perdure.errors.roots import PerdureError
from perdure.errors.schema import LockHolder


class UnknownBuildError(PerdureError, LookupError):
    """A projection has no such build. `known` lists its builds as (version, build)."""

    def __init__(self, name: str, version: int | None, build: int | None, known: Sequence[tuple[int, int]]) -> None:
        wanted = ", ".join(
            f"{what} {number}" for what, number in (("version", version), ("build", build)) if number is not None
        )
        listed = ", ".join(f"version {one} build {other}" for one, other in known)
        super().__init__(f"projection {name!r} has no {wanted or 'other build'}; it has: {listed or 'none'}")
        self.name = name
        self.version, self.build = version, build
        self.known = tuple(known)


class BuildStateError(PerdureError):
    """A build isn't in the required state. If it is behind, `lag` is the number of positions; otherwise 0."""

    def __init__(self, name: str, version: int, build: int, reason: str, lag: int = 0) -> None:
        super().__init__(f"version {version} build {build} of projection {name!r} {reason}")
        self.name = name
        self.version, self.build = version, build
        self.reason = reason
        self.lag = lag


class SwitchBlockedError(PerdureError):
    """Other sessions hold locks on the views or tables of a projection. Nothing was changed. Try again later."""

    def __init__(self, name: str, attempts: int, holders: Sequence[LockHolder]) -> None:
        names = ", ".join(map(str, holders)) or "a session that ended before it could be named"
        super().__init__(
            f"projection {name!r}: gave up after {attempts} short attempts to lock views and tables that {names} uses; "
            "try again when that session is done, or end it (pg_terminate_backend)"
        )
        self.name = name
        self.attempts = attempts
        self.holders = tuple(holders)


class ViewInUseError(PerdureError):
    """Other objects depend on a view or table that would have to be dropped. `dependents` lists them for each."""

    def __init__(self, name: str, dependents: Mapping[str, Sequence[str]]) -> None:
        listed = "; ".join(f"on {view!r}: {', '.join(names)}" for view, names in dependents.items())
        super().__init__(
            f"projection {name!r} can't replace its views and tables, because other objects depend on them ({listed}): "
            "drop those objects first, and create them again afterwards"
        )
        self.name = name
        self.dependents = {view: tuple(names) for view, names in dependents.items()}
