"""Under stress, our followers miss nothing, see nothing twice, and agree. The naive reader beside them loses events."""

import pytest

from tests.stress.fence import stress, stress_on_standby


async def test_regression_10_followers_miss_nothing_where_the_naive_reader_does(database_url: str) -> None:
    figures = await stress(database_url, seconds=4)

    assert (figures.missed, figures.duplicates, figures.is_one_order) == (0, 0, True), figures
    assert figures.naive_missed > 0, figures
    assert figures.committed > 100, figures


@pytest.mark.server
async def test_followers_on_a_standby_miss_nothing_where_the_naive_reader_does() -> None:
    figures = await stress_on_standby(seconds=4)

    assert (figures.missed, figures.duplicates, figures.is_one_order) == (0, 0, True), figures
    assert figures.naive_missed > 0, figures
    assert figures.committed > 100, figures
