import asyncio
from io import StringIO

import pytest
from rich.console import Console

from examples.streaming.demo import display
from examples.streaming.demo.display import displayed, line
from examples.streaming.demo.figures import Figures

FIGURES = Figures(
    seconds=2.0, events=10_000, total=20_000, conflicts=3, lags={"user_profiles": 120, "content_popularity": 4500}
)


async def shown(*, terminal: bool) -> str:
    """What is printed in the course of a few looks."""
    text, looks, enough = StringIO(), 0, asyncio.Event()

    async def look() -> Figures:
        nonlocal looks
        looks += 1
        if looks > 3:
            enough.set()
        return FIGURES

    async with displayed(Console(file=text, force_terminal=terminal, width=120), look):
        await enough.wait()
    return text.getvalue()


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(display, "REDRAWN_EVERY", 0.001)
    monkeypatch.setattr(display, "LINE_EVERY", 0.001)


async def test_a_terminal_gets_bars_and_a_table() -> None:
    text = await shown(terminal=True)

    assert "events appended" in text
    assert "10000/20000" in text
    assert "5500/20000" in text
    assert "lag of content_popularity" in text
    assert "4,500" in text


async def test_elsewhere_there_are_lines() -> None:
    text = await shown(terminal=False)

    assert set(text.splitlines()) == {line(FIGURES)}


def test_a_line_tells_all() -> None:
    assert line(FIGURES).strip() == (
        "10,000 of 20,000 events, 5,000/s; user_profiles 120 behind, content_popularity 4,500 behind; "
        "3 conflicts retried"
    )


async def test_the_end_is_shown_however_soon_it_comes() -> None:
    text = StringIO()

    async def look() -> Figures:
        return FIGURES

    async with displayed(Console(file=text), look):
        pass
    assert text.getvalue().splitlines() == [line(FIGURES)]


async def test_a_failure_of_the_display_is_not_hidden() -> None:
    async def look() -> Figures:
        raise OSError("the database is gone")

    with pytest.raises(OSError, match="gone"):
        async with displayed(Console(file=StringIO()), look):
            pass


def test_before_the_first_moment_there_is_no_rate() -> None:
    assert Figures(seconds=0.0, events=0, total=1, conflicts=0, lags={}).events_per_second == 0
