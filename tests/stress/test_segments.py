"""Processes share a projection: one is killed, another stands still past its lease, and the rows come out right."""

from tests.stress.segments import stress


async def test_a_killed_and_a_frozen_process_are_taken_over_from_and_the_rows_equal_a_fresh_fold(
    database_url: str,
) -> None:
    figures = await stress(database_url, events=4000, processes=3, segments=6, lease=1.0)

    assert figures.is_equal, figures
    assert figures.epochs > 6 + 2 + 2, figures
