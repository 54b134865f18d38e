"""Replays a workload: commands on users, and events appended by other services."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import TypeVar

from examples.streaming.demo.source import Title, moment
from examples.streaming.demo.workload import Viewer, Watch, Workload, genre_of
from examples.streaming.events import ContentAdded, ContentRated, ContentWatched
from examples.streaming.user import User
from perdure import ANY, AppendResult, Application, EventStore, NewEvent

T = TypeVar("T")


class Replay:
    """Replays a workload in the order of time, with concurrent actions, on an application that is connected.

    Attributes:
        users: The repository for commands, which counts conflicts.
        events: The number of events appended so far.
        position: The position of the last of them in the log.
    """

    def __init__(self, workload: Workload, app: Application[EventStore], *, concurrency: int) -> None:
        self.users = app.repository(User)
        self.events = 0
        self.position = 0
        self._workload = workload
        self._store = app.store
        self._concurrency = concurrency
        self._registered: dict[int, asyncio.Event] = {}

    async def run(self) -> None:
        """Add all titles, then replay all watches."""
        await self._each(self._add, self._workload.source.titles.values())
        await self._each(self._watch, self._workload.watches)

    async def _each(self, act: Callable[[T], Awaitable[None]], things: Iterable[T]) -> None:
        """Call `act` for each item in order, up to `concurrency` at a time."""
        queue = iter(things)

        async def work() -> None:
            for thing in queue:
                await act(thing)

        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(self._concurrency):
                    tasks.create_task(work())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None  # one is enough: the others failed for the same reason

    async def _add(self, title: Title) -> None:
        event = ContentAdded(content_id=str(title.movie_id), title=title.name, genres=list(title.genres))
        await self._append(event.content_id, NewEvent(event, timestamp=self._workload.opening))

    async def _watch(self, watch: Watch) -> None:
        await self._arrive(watch.user_id)
        at, content_id, user_id = moment(watch.seconds), str(watch.movie_id), str(watch.user_id)
        watched = ContentWatched(
            content_id=content_id,
            user_id=user_id,
            watch_duration_seconds=watch.duration_seconds,
            completion_percentage=watch.completion_percentage,
            genre=genre_of(self._workload.source, watch.movie_id),
        )
        events = [NewEvent(watched, timestamp=at)]
        if watch.stars is not None:
            rated = ContentRated(content_id=content_id, user_id=user_id, rating=watch.stars)
            events.append(NewEvent(rated, timestamp=at))
        await self._append(content_id, *events)

    async def _append(self, content_id: str, *events: NewEvent) -> None:
        self._count(await self._store.append_to_stream(f"content-{content_id}", ANY, events))

    async def _arrive(self, user_id: int) -> None:
        """Register the user, or wait until another task has done so."""
        viewer = self._workload.viewers.get(user_id)
        if viewer is None:
            return
        if registered := self._registered.get(user_id):
            await registered.wait()
            return
        registered = self._registered[user_id] = asyncio.Event()
        await self._register(viewer)
        registered.set()
        await self._choose(viewer)

    async def _register(self, viewer: Viewer) -> None:
        user = User(str(viewer.user_id))
        name = f"Viewer {viewer.user_id}"
        user.register(f"viewer{viewer.user_id}@example.com", name, viewer.preferences, at=viewer.joined_at)
        self._count(await self.users.save(user))

    async def _choose(self, viewer: Viewer) -> None:
        if viewer.goes_premium:
            self._count(
                await self.users.execute(
                    str(viewer.user_id),
                    lambda user: user.subscribe_to_plan("premium", "credit_card", at=viewer.joined_at),
                )
            )
        if viewer.is_of_two_minds:
            await self._choose_on_two_devices(viewer)

    async def _choose_on_two_devices(self, viewer: Viewer) -> None:
        """Both devices load the same version of the user, so one of the commands conflicts and runs again."""
        phone, television = [await self.users.get(str(viewer.user_id)) for _ in range(2)]
        phone.subscribe_to_plan("basic", "invoice", at=viewer.joined_at)
        television.update_preferences(viewer.preferences[::-1], at=viewer.joined_at)
        results = await asyncio.gather(*(self.users.save_with_retry(user) for user in (phone, television)))
        for result in results:
            self._count(result)

    def _count(self, result: AppendResult | None) -> None:
        if result is not None:
            self.events += len(result.global_positions)
            self.position = max(self.position, result.global_position)
