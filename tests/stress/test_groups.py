"""Overlapping groups of several processes never deadlock, and are written whole or not at all: no money is lost."""

from tests.stress.groups import stress


async def test_overlapping_groups_of_several_processes_are_all_or_nothing_and_never_deadlock(database_url: str) -> None:
    figures = await stress(database_url, seconds=3)

    assert figures.is_well, figures
    assert min(figures.groups, figures.singles, figures.conflicts) > 50, figures
