"""An application whose projections can't take the events of user-2: one is paused by it, one parks them."""

from dataclasses import dataclass

from examples.streaming.events import UserRegistered
from perdure import Application, TableProjection, handles

is_mended = False
"""Whether the events of user-2 can be taken."""


@dataclass
class Row:
    user_id: str


class Pausing(TableProjection[Row], table="pausing", key="user_id", version=1):
    @handles
    def registered(self, event: UserRegistered, row: Row | None) -> Row:
        if event.user_id == "2" and not is_mended:
            raise ArithmeticError("can't count to two")
        return Row(event.user_id)


class Parking(Pausing, table="parking", key="user_id", version=1, on_failure="park"):
    pass


app = Application(projections=[Pausing(), Parking()])
