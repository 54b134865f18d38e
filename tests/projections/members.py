"""A projection with indexes, unique columns, and a child table that has them too: the members of a club."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from perdure.children import ChildRows, child_table
from perdure.events import StoredEvent, event, handles
from perdure.projection import TableProjection


@event("test.members.joined")
class Joined:
    member: str
    email: str | None = None
    plan: str = "free"
    score: int | None = None


@event("test.members.changed")
class Changed:
    """Concerns several members at once."""

    emails: dict[str, str | None]


@event("test.members.seated")
class Seated:
    member: str
    seat: str


@event("test.members.left")
class Left:
    member: str


@dataclass
class Member:
    member: str
    email: str | None
    plan: str
    score: int | None = None
    joined_at: datetime | None = None
    paid: Decimal = Decimal(0)


@dataclass
class Seat:
    member: str
    seat: str
    taken: int = 0


class Members(
    TableProjection[Member],
    table="members",
    key="member",
    on_failure="park",
    indexes=["plan", ("plan", "score"), "score", "joined_at"],
    unique=["email"],
):
    seats = child_table(
        Seat, table="members_seats", key=("member", "seat"), indexes=["taken"], keys=lambda event: [event.seat]
    )

    @handles
    def joined(self, event: Joined, row: Member | None, at: StoredEvent) -> Member:
        return Member(event.member, event.email, event.plan, event.score, at.timestamp)

    @handles(keys=lambda event: event.emails)
    def changed(self, event: Changed, row: Member | None) -> Member | None:
        if row is not None:
            row.email = event.emails[row.member]
        return row

    @handles
    def seated(self, event: Seated, row: Member | None, seats: ChildRows[Seat]) -> Member | None:
        if row is not None:
            seat = seats.get(event.seat) or Seat(event.member, event.seat)
            seat.taken += 1
            seats.put(seat)
        return row

    @handles
    def left(self, event: Left, row: Member | None) -> Member | None:
        return None
