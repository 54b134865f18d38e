"""Shows the progress of the demo: live on a terminal, as occasional lines elsewhere."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

from examples.streaming.demo.figures import Figures

REDRAWN_EVERY = 0.25
LINE_EVERY = 5.0


Look = Callable[[], Awaitable[Figures]]


@asynccontextmanager
async def displayed(console: Console, look: Look) -> AsyncGenerator[None]:
    """Show the figures of `look` while the block runs, and once more at its end."""
    done = asyncio.Event()
    show = _show_live if console.is_terminal else _print_lines
    shown = asyncio.create_task(show(console, look, done))
    try:
        yield
        done.set()
        await shown
    finally:
        shown.cancel()
        await asyncio.gather(shown, return_exceptions=True)


async def _show_live(console: Console, look: Look, done: asyncio.Event) -> None:
    bars = _Bars()
    # This task draws, because the thread of rich would compete with the event loop.
    with Live(console=console, auto_refresh=False) as live:
        while not await _done_within(REDRAWN_EVERY, done):
            live.update(bars.drawn(await look()), refresh=True)
        live.update(bars.drawn(await look()), refresh=True)


async def _print_lines(console: Console, look: Look, done: asyncio.Event) -> None:
    while not await _done_within(LINE_EVERY, done):
        console.print(line(await look()), highlight=False, soft_wrap=True)
    console.print(line(await look()), highlight=False, soft_wrap=True)


async def _done_within(seconds: float, done: asyncio.Event) -> bool:
    with suppress(TimeoutError):
        await asyncio.wait_for(done.wait(), seconds)
    return done.is_set()


def line(figures: Figures) -> str:
    """Return the figures in one line."""
    lags = ", ".join(f"{name} {lag:,} behind" for name, lag in figures.lags.items())
    return (
        f"{figures.events:>9,} of {figures.total:,} events, {figures.events_per_second:,.0f}/s; {lags}; "
        f"{figures.conflicts} conflicts retried"
    )


class _Bars:
    """Return two bars, for appended and for projected events, above a table of figures."""

    def __init__(self) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<16}"), BarColumn(bar_width=40), TaskProgressColumn(), MofNCompleteColumn()
        )
        self._appended = self._progress.add_task("events appended")
        self._projected = self._progress.add_task("in read models")

    def drawn(self, figures: Figures) -> Group:
        self._progress.update(self._appended, completed=figures.events, total=figures.total)
        self._progress.update(self._projected, completed=figures.done, total=figures.total)
        table = Table("events/s", *(f"lag of {name}" for name in figures.lags), "conflicts retried", box=None)
        table.add_row(
            f"{figures.events_per_second:,.0f}", *(f"{lag:,}" for lag in figures.lags.values()), str(figures.conflicts)
        )
        return Group(self._progress, table)
