"""The evolution gate: checks whether this code can read all stored events, before a deployment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import Final

import msgspec

from perdure.checks import check_count, check_instance, check_text
from perdure.errors import InvalidArgumentError, UnreadableEventsError
from perdure.errors.formats import shown
from perdure.events import StoredEvent, check_evolution
from perdure.page_reader import StoredType
from perdure.process_events import TimerCancelled
from perdure.store import EventStore

OWN_EVENTS: Final = (TimerCancelled,)
"""What Perdure itself may have appended. The import registers the classes."""


class CheckedType(msgspec.Struct, frozen=True, kw_only=True):
    """How a type of events in one version of its schema can be read.

    Attributes:
        event_type: The stored name.
        event_version: The version of the schema.
        count: How many such events are stored.
        checked: How many of them were checked.
        unreadable: How many of those can't be read.
        global_position: The place of the first that can't.
        reason: Why it can't; None if all that were checked can be read.
    """

    event_type: str
    event_version: int
    count: int
    checked: int = 0
    unreadable: int = 0
    global_position: int | None = None
    reason: str | None = None

    def __str__(self) -> str:
        text = f"{self.event_type!r} in version {self.event_version} ({self.count:,} stored)"
        if self.reason is None:
            return f"{text}: {self.checked:,} checked"
        return (
            f"{text}: {self.unreadable:,} of {self.checked:,} checked can't be read, "
            f"the first at position {self.global_position}: {self.reason}"
        )


class EvolutionReport(msgspec.Struct, frozen=True):
    """What `check_stored_events` found, type by type. As text, it is a line for each."""

    types: tuple[CheckedType, ...]

    @property
    def problems(self) -> list[CheckedType]:
        """The types that can't be read, or not all of them."""
        return [one for one in self.types if one.reason is not None]

    def __str__(self) -> str:
        return "\n".join(map(str, self.types))


async def check_stored_events(
    store: EventStore, *, samples: int | None = 100, ignore: Collection[str] = ()
) -> EvolutionReport:
    """Raise unless this code can read what the store holds: every type, in every version. Nothing is written.

    Run it with the new code against the real store before you deploy. Events are decoded as on reading, upcasters
    included. The types and their counts take one scan of the log; with `samples`, the rest doesn't grow with the log.

    Args:
        store: an open store.
        samples: how many of the oldest, and as many of the newest events of each type and version are decoded, fewer
            where they are rare; None for all events there are.
        ignore: the stored names of types that other programs read, and this one doesn't.

    Raises:
        EvolutionError: the code alone shows that upcasters are missing.
        UnreadableEventsError: it lists the types that have no class here, the versions that are newer than the code,
            and the payloads that don't fit.

    Example:
        async with perdure.connect(migrate=False) as store:
            print(await perdure.check_stored_events(store))
    """
    report = await examine_stored_events(store, samples=samples, ignore=ignore)
    if report.problems:
        raise UnreadableEventsError([str(one) for one in report.problems])
    return report


async def examine_stored_events(
    store: EventStore, *, samples: int | None = 100, ignore: Collection[str] = ()
) -> EvolutionReport:
    """Do the same as `check_stored_events`, but report what can't be read instead of raising an error.

    Raises:
        EvolutionError: the code alone shows that upcasters are missing.
    """
    check_instance("store", store, EventStore)
    if samples is not None:
        check_count("samples", samples, 1)
    if isinstance(ignore, str | bytes) or not isinstance(ignore, Collection):
        raise InvalidArgumentError("ignore", f"must be a list of stored names, not {shown(ignore)}")
    for name in ignore:
        check_text("ignore", name)
    check_evolution()
    stored_types = [one for one in await store.stored_types() if one.event_type not in ignore]
    found = {(one.event_type, one.event_version): _unchecked(one) for one in stored_types}
    async for stored in _events(store, stored_types, samples):
        kind = (stored.event_type, stored.event_version)
        if kind in found:
            found[kind] = _checked(found[kind], stored)
    return EvolutionReport(tuple(found.values()))


async def _events(store: EventStore, types: Sequence[StoredType], samples: int | None) -> AsyncIterator[StoredEvent]:
    if samples is None:
        async for stored in store.iterate_all_events():
            yield stored
        return
    for one in types:
        for stored in await store.sample_events(one, samples):
            yield stored


def _unchecked(one: StoredType) -> CheckedType:
    return CheckedType(event_type=one.event_type, event_version=one.event_version, count=one.count)


def _checked(one: CheckedType, stored: StoredEvent) -> CheckedType:
    one = msgspec.structs.replace(one, checked=one.checked + 1)
    try:
        _ = stored.event
    except Exception as error:  # noqa: BLE001 - a class may raise anything when it is made
        if one.reason is None:
            reason = str(error) or repr(error)
            one = msgspec.structs.replace(one, global_position=stored.global_position, reason=reason)
        return msgspec.structs.replace(one, unreadable=one.unreadable + 1)
    return one
