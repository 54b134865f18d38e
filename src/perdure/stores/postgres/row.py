"""An event as the database sends it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from perdure.events import StoredEvent

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
_sent_time = vars(StoredEvent)["recorded_at"].__get__


class Row(StoredEvent, eq=False, gc=False):
    """An event whose time is still what PostgreSQL sends of it: microseconds since 2000.

    To make a datetime of it takes the driver as long as four other columns together, and few who read events ask.
    """

    @property  # type: ignore[misc]  # instead of the field: it is made of what the field holds
    def recorded_at(self) -> datetime:  # type: ignore[override]  # nobody sets what was read
        """When the database took it."""
        return _EPOCH + timedelta(microseconds=int.from_bytes(_sent_time(self), signed=True))

    def __repr__(self) -> str:
        fields = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__struct_fields__)
        return f"StoredEvent({fields})"
