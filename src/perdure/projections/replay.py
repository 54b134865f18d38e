"""`replay`: a reaction handles events again, because an operator wants that."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import msgspec

from perdure.checks import check_count, check_text
from perdure.errors import InvalidArgumentError
from perdure.errors.formats import shown
from perdure.events import StoredEvent
from perdure.follower import Follower
from perdure.projections.engines.factory import courier_of
from perdure.projections.sql import statements
from perdure.projections.state.audit_log import AuditedOperations
from perdure.projections.state.parked_events import ParkedEvents
from perdure.store import EventStore

MOST_REPLAYED: Final = 10_000
"""How many events a call replays at most."""
_PAGE: Final = 1000


async def replay(
    store: EventStore,
    reaction: Follower,
    *,
    from_position: int,
    to_position: int,
    reason: str,
    actor: str | None = None,
) -> int:
    """Have a reaction handle events again that it has handled already. The audit log records it.

    The processes that run the reaction begin within about a second. Of each key, the events are handled in the order of
    the log, and later ones wait behind them. Each call has the idempotency key of the first one, and `may_be_repeat` is
    true: a provider that recognises the key does nothing. Events that are parked or were skipped stay as they are.

    Args:
        store: the store.
        reaction: the reaction.
        from_position: only events after this position of the log.
        to_position: only events up to this position. The reaction must have passed it.
        reason: the reason, for the audit log.
        actor: the name for the audit log; as for `ProjectionOperations`.

    Returns:
        How many events will be handled again.

    Raises:
        InvalidArgumentError: the range is empty, goes beyond what was handled, or holds more than 10,000 events of the
            reaction; or the reason is empty.
        UnknownProjectionError: no service has run the reaction yet.

    Example:
        await replay(store, Welcome(mailer), from_position=6, to_position=7, reason="the provider lost this mail")
    """
    return await _Replay(store, reaction, actor).replay(from_position, to_position, reason)


class _Replay(AuditedOperations):
    def __init__(self, store: EventStore, reaction: Follower, actor: str | None) -> None:
        super().__init__(store, actor=actor)
        courier = courier_of(reaction)
        if courier is None:
            raise InvalidArgumentError(
                "reaction", f"must be a reaction, not {shown(reaction)}: a projection is built again by rebuild()"
            )
        self._courier = courier
        self._parked_events = ParkedEvents(self._database, courier.build, courier.key_codec, "", 0)
        self._statements = statements("replay", schema=self._database.quoted_schema)

    async def replay(self, first: int, last: int, reason: str) -> int:
        check_count("from_position", first)
        check_count("to_position", last)
        if last <= first:
            raise InvalidArgumentError(
                "to_position", f"({last}) must be above from_position ({first}), after which the range begins"
            )
        check_text("reason", reason)
        if not reason.strip():
            raise InvalidArgumentError("reason", "say why the events are handled again, for the audit log")
        build = self._courier.build
        await self._check_may_act(build.name)
        reached = await self._database.fetch_value(self._statements["reached"], *build)
        if last > reached:
            raise InvalidArgumentError(
                "to_position", f"({last}) is beyond position {reached}, up to which {build.name!r} has handled events"
            )
        rows = [self._row(stored) for stored in await self._wanted(first, last)]
        async with self._transaction() as connection:
            parked = await connection.fetch(self._statements["park"], *build, msgspec.json.encode(rows).decode())
            detail = {"from": first, "to": last, "events": len(parked)}
            await self._log(connection, build, "replayed", reason, detail)
        return len(parked)

    async def _wanted(self, first: int, last: int) -> Sequence[StoredEvent]:
        found: list[StoredEvent] = []
        while page := await self._store.read_all_events(first, _PAGE):
            found += [stored for stored in page if stored.global_position <= last and self._courier.wants(stored)]
            if len(found) > MOST_REPLAYED:
                raise InvalidArgumentError(
                    "to_position",
                    f"({last}) is too far: the range holds more than {MOST_REPLAYED:,} events of "
                    f"{self._courier.name!r}; position {found[MOST_REPLAYED - 1].global_position} is the last possible",
                )
            first = page[-1].global_position
            if first >= last:
                break
        return found

    def _row(self, stored: StoredEvent) -> dict[str, object]:
        key = self._courier.key_of(stored)
        names = self._parked_events.names_of([key])
        if not names:
            raise InvalidArgumentError(
                "from_position", f"the event at position {stored.global_position} has a key that is too long to record"
            )
        return {
            "key": names[0],
            "hash": self._courier.key_codec.hash_of(key),
            "global_position": stored.global_position,
            "event_id": stored.event_id,
            "event_type": stored.event_type,
            "stream_id": stored.stream_id,
            "stream_version": stored.stream_version,
        }
