"""Health checks: `live` for what restarts a process, `ready` for what sends it requests."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Final, Literal, Protocol

import msgspec

from perdure.errors import PerdureError
from perdure.projections.state.status import ProjectionStatus
from perdure.store import EventStore

State = Literal["ok", "degraded", "failed"]
"""Degraded: it works, but needs attention."""

_ORDER: Final[tuple[State, ...]] = ("ok", "degraded", "failed")


class Check(msgspec.Struct, frozen=True, omit_defaults=True):
    """The state of one part of a process.

    Attributes:
        name: ``store``, ``tasks``, ``database``, ``schema``, ``listener``, ``projection user_profiles`` or the like; or
            ``projections``, when they can't be seen. ``tasks`` are those that the store runs in the background. While a
            projection has several builds, as during a rebuild, the name says which: ``projection user_profiles, version
            1, build 2, building``.
        state: Its state.
        reason: Why it isn't ok.
        lag: How many positions a projection is behind.
    """

    name: str
    state: State
    reason: str | None = None
    lag: int | None = None


class Health(msgspec.Struct, frozen=True):
    """The state of a process. Made by `live` and `ready`.

    Attributes:
        state: The worst of the checks.
        checks: The state of each part.
    """

    state: State
    checks: tuple[Check, ...]

    @property
    def is_ok(self) -> bool:
        """Whether nothing has failed."""
        return self.state != "failed"

    @property
    def http_status(self) -> int:
        """The status that an HTTP handler answers with: 200, or 503 when something has failed."""
        return 200 if self.is_ok else 503

    def to_json(self) -> str:
        """Return the same as JSON, for the body of the answer."""
        return msgspec.json.encode(self).decode()


class Projections(Protocol):
    """What reports the state of projections: a `ProjectionService`."""

    def check_alive(self) -> None:
        """Raise if only a restart of the process can help."""
        ...

    def check_running(self) -> None:
        """Raise unless all of its tasks do their work."""
        ...

    async def status(self) -> Sequence[ProjectionStatus]:
        """Return the status of the projections."""
        ...


async def live(store: EventStore, service: Projections | None = None) -> Health:
    """Return whether the process works. If not, restart it. A database that is down isn't a reason for that.

    It fails when a background task has failed for a minute, or can't be started again. It never raises, and doesn't ask
    the database.

    Args:
        store: an open store.
        service: the `ProjectionService` of this process, if it runs one.
    """
    checks = [_alive("store", store.check_alive)]
    if service is not None:
        checks.append(_alive("projections", service.check_alive))
    return _health(checks)


async def ready(
    store: EventStore, service: Projections | None = None, *, max_lag: int | None = None, timeout: float = 2.0
) -> Health:
    """Return whether the process can take requests. If not, send them elsewhere until it can.

    It fails as soon as a background task has failed, until that works again. It never raises, and returns within
    `timeout`, whatever the database does.

    Args:
        store: an open store.
        service: the projections that requests rely on. If one is paused, no process that runs it is ready. Leave it out
            if requests don't need it. Beside the build that is shown, other builds of a projection never make the
            process unready: nothing reads them.
        max_lag: how many positions a projection may be behind; None for any number.
        timeout: how many seconds it may take.

    Example:
        health = await ready(store, service, max_lag=1000)
        answer = Response(health.to_json(), status=health.http_status)
    """
    checks_by_name: dict[str, Coroutine[object, object, list[Check]]] = {"tasks": _tasks(store)}
    if store.database is not None:
        checks_by_name["database"] = _passed("database", store.check_writable)
        checks_by_name["schema"] = _passed("schema", store.check_schema)
        checks_by_name["listener"] = _listener(store)
    else:
        checks_by_name["store"] = _passed("store", store.check_writable)
    if service is not None:
        checks_by_name["projections"] = _projections(service, max_lag)
    return _health(await _all(checks_by_name, timeout))


async def _all(checks_by_name: dict[str, Coroutine[object, object, list[Check]]], timeout: float) -> list[Check]:
    tasks = {name: asyncio.create_task(check, name=f"perdure health {name}") for name, check in checks_by_name.items()}
    try:
        await asyncio.wait(tasks.values(), timeout=timeout)
        return [check for name, task in tasks.items() for check in _checks(name, task, timeout)]
    finally:
        for task in tasks.values():
            # Not waited for: cancelling work on a connection that hangs may take long, too.
            if task.cancel():
                _ending.add(task)
                task.add_done_callback(_ended)


def _checks(name: str, task: asyncio.Task[list[Check]], timeout: float) -> list[Check]:
    if not task.done():
        return [Check(name, "failed", f"no answer within {timeout:g} s")]
    if task.cancelled():
        return [Check(name, "failed", "it was cancelled")]
    error = task.exception()
    return task.result() if error is None else [_failed(name, error)]


async def _tasks(store: EventStore) -> list[Check]:
    store.check_running()
    return [Check("tasks", "ok")]


async def _passed(name: str, check: Callable[[], Awaitable[object]]) -> list[Check]:
    await check()
    return [Check(name, "ok")]


async def _listener(store: EventStore) -> list[Check]:
    if store.is_listening is False:
        return [Check("listener", "degraded", "not connected: what others append is seen a moment later")]
    return [Check("listener", "ok")]


def _alive(name: str, check: Callable[[], None]) -> Check:
    try:
        check()
    except Exception as error:  # noqa: BLE001 - whatever is wrong is the answer
        return _failed(name, error)
    return Check(name, "ok")


async def _projections(service: Projections, max_lag: int | None) -> list[Check]:
    service.check_running()
    builds = await service.status()
    names = Counter(status.name for status in builds)
    shown = {status.name for status in builds if status.is_shown}
    checks: list[Check] = []
    for status in builds:
        name = _name(status, is_alone=names[status.name] == 1)
        if status.is_shown or status.name not in shown:
            state, reason = _judged(status, max_lag)
        else:
            state, reason = _judged(status, None)
            state = "degraded" if state == "failed" else state  # nothing reads this build
        checks.append(Check(name, state, reason, status.lag))
    return checks


def _name(status: ProjectionStatus, *, is_alone: bool) -> str:
    name = f"{status.kind} {status.name}"
    if is_alone and status.is_shown:
        return name
    return f"{name}, version {status.version}, build {status.build}, {'shown' if status.is_shown else status.stage}"


def _judged(status: ProjectionStatus, max_lag: int | None) -> tuple[State, str | None]:
    if status.state != "running":
        failure = status.failure
        why = f" before position {failure.global_position}: {failure.error_type}" if failure else ""
        return "failed", f"{status.state}{why}"
    if max_lag is not None and status.lag > max_lag:
        return (
            "failed",
            f"{status.lag:,} {'position' if status.lag == 1 else 'positions'} behind, {max_lag:,} are allowed",
        )
    if status.error is not None:
        return "degraded", status.error
    if parked := status.failed + status.waiting:
        return "degraded", f"{parked:,} {'event is' if parked == 1 else 'events are'} parked"
    return "ok", None


def _failed(name: str, error: BaseException) -> Check:
    # The text of Perdure's errors says what to do. Of others only the class: their text may hold anything.
    return Check(name, "failed", str(error) if isinstance(error, PerdureError) else type(error).__qualname__)


def _health(checks: Sequence[Check]) -> Health:
    worst: State = max([check.state for check in checks], key=_ORDER.index)
    return Health(worst, tuple(checks))


def _ended(task: asyncio.Task[list[Check]]) -> None:
    _ending.discard(task)
    if not task.cancelled():
        task.exception()  # retrieved, so that asyncio logs nothing


_ending: set[asyncio.Task[list[Check]]] = set()
"""Tasks that are being cancelled: the event loop itself keeps no reference to them."""
