"""Evolution: old events that new code can't read. Each error lists all problems at once."""

from __future__ import annotations

from collections.abc import Sequence

from perdure.errors.roots import PerdureError


class EvolutionError(PerdureError):
    """Upcasters are missing, or lead to no known version. `problems` lists them all."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(f"this code can't read old events: {_listed(problems)}")
        self.problems = tuple(problems)


class UnreadableEventsError(PerdureError):
    """The store holds events that this code can't read. `problems` lists them, by type and version."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__(f"the store holds events that this code can't read: {_listed(problems)}")
        self.problems = tuple(problems)


def _listed(problems: Sequence[str]) -> str:
    return problems[0] if len(problems) == 1 else "".join(f"\n- {problem}" for problem in problems)
