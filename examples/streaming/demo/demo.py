"""The demo on a connected application: the replay, with both projections running, and the verification."""

import time

from rich.console import Console

from examples.streaming.demo.display import displayed
from examples.streaming.demo.figures import Figures
from examples.streaming.demo.outcome import Outcome, peak_rss_mb
from examples.streaming.demo.read_models import read_profiles, read_titles
from examples.streaming.demo.replay import Replay
from examples.streaming.demo.source import Source
from examples.streaming.demo.verification import verify
from examples.streaming.demo.workload import Workload, plan
from perdure import Application

CATCH_UP_SECONDS = 300


class Demo:
    """One run of the demo."""

    def __init__(self, source: Source, app: Application, console: Console, *, concurrency: int) -> None:
        self._source = source
        self._app = app
        self._console = console
        self._workload = plan(source)
        self._replay = Replay(self._workload, app, concurrency=concurrency)
        self._service = app.projection_service()
        self._timings: dict[str, float] = {}
        self._concurrency = concurrency
        self._begin = 0.0

    async def run(self) -> Outcome:
        """Run the replay and the verification, and return the outcome."""
        self._console.print(_introduction(self._workload, self._concurrency), soft_wrap=True, highlight=False)
        async with self._service:
            self._begin = time.perf_counter()
            async with displayed(self._console, self._figures):
                await self._replay.run()
                appended = self._elapsed()
                await self._catch_up()
                seconds = self._elapsed()
        self._timings["appending, with both projections beside it"] = appended
        self._timings["until the read models showed the last event"] = seconds - appended
        return await self._outcome(seconds)

    async def _catch_up(self) -> None:
        for projection in self._app.projections:
            await self._app.wait_for(projection.name, self._replay.position, timeout=CATCH_UP_SECONDS)

    async def _outcome(self, seconds: float) -> Outcome:
        titles, profiles = await read_titles(self._app.store), await read_profiles(self._app.store)
        user = await self._replay.users.get(_shown_user(self._workload))
        self._timings["reading the read models"] = self._elapsed() - seconds
        checked = self._elapsed()
        checks = verify(self._source, titles, profiles)
        self._timings["recomputing and comparing every row"] = self._elapsed() - checked
        return Outcome(
            events=self._replay.events,
            seconds=seconds,
            timings=self._timings,
            conflicts_retried=self._replay.users.conflicts_retried,
            titles=titles,
            profiles=profiles,
            user=user,
            checks=checks,
            peak_rss_mb=peak_rss_mb(),
        )

    async def _figures(self) -> Figures:
        lags = {status.name: status.lag for status in await self._service.status()}
        return Figures(
            seconds=self._elapsed(),
            events=self._replay.events,
            total=self._workload.events,
            conflicts=self._replay.users.conflicts_retried,
            lags=lags,
        )

    def _elapsed(self) -> float:
        return time.perf_counter() - self._begin


def _introduction(workload: Workload, concurrency: int) -> str:
    source = workload.source
    return (
        f"{source.name}: {len(source.titles):,} titles, {len(workload.viewers):,} users, {len(source.ratings):,} "
        f"ratings and {len(source.tags):,} tags make {workload.events:,} events, {concurrency} appends at a time."
    )


def _shown_user(workload: Workload) -> str:
    """Return the first user with the most interesting account."""
    viewer = min(workload.viewers.values(), key=lambda viewer: (-viewer.events, viewer.user_id))
    return str(viewer.user_id)
