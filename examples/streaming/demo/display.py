"""Shows how far the demo is: live on a terminal, a line now and then elsewhere."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table

from examples.streaming.demo.figures import Figures

REDRAWN_EVERY = 0.25
LINE_EVERY = 5.0


@asynccontextmanager
async def displayed(console: Console, look: Callable[[], Figures]) -> AsyncIterator[None]:
    """Show what `look` sees, for as long as the block runs."""
    show = _show_live if console.is_terminal else _print_lines
    shown = asyncio.create_task(show(console, look))
    try:
        yield
    finally:
        shown.cancel()
        with suppress(asyncio.CancelledError):
            await shown


async def _show_live(console: Console, look: Callable[[], Figures]) -> None:
    bars = _Bars(look().total)
    # Drawn by this task, for the thread that rich would start competes with the event loop.
    with Live(bars.drawn(look()), console=console, auto_refresh=False) as live:
        try:
            while True:
                live.update(bars.drawn(look()), refresh=True)
                await asyncio.sleep(REDRAWN_EVERY)
        finally:
            live.update(bars.drawn(look()), refresh=True)


async def _print_lines(console: Console, look: Callable[[], Figures]) -> None:
    while True:
        await asyncio.sleep(LINE_EVERY)
        console.print(line(look()), highlight=False, soft_wrap=True)


def line(figures: Figures) -> str:
    """The figures in one line."""
    lags = ", ".join(f"{name} {lag:,} behind" for name, lag in figures.lags.items())
    return (
        f"{figures.events:>9,} of {figures.total:,} events, {figures.events_per_second:,.0f}/s; {lags}; "
        f"{figures.conflicts} conflicts retried"
    )


class _Bars:
    """Two bars, for what was appended and for what has reached the read models, above a table of figures."""

    def __init__(self, total: int) -> None:
        self._progress = Progress(
            TextColumn("{task.description:<16}"), BarColumn(bar_width=40), TaskProgressColumn(), MofNCompleteColumn()
        )
        self._appended = self._progress.add_task("events appended", total=total)
        self._projected = self._progress.add_task("in read models", total=total)

    def drawn(self, figures: Figures) -> Group:
        self._progress.update(self._appended, completed=figures.events)
        self._progress.update(self._projected, completed=figures.done)
        table = Table("events/s", *(f"lag of {name}" for name in figures.lags), "conflicts retried", box=None)
        table.add_row(
            f"{figures.events_per_second:,.0f}", *(f"{lag:,}" for lag in figures.lags.values()), str(figures.conflicts)
        )
        return Group(self._progress, table)
