"""An application with a reaction that can't handle the event of user-2."""

from examples.streaming.events import UserRegistered
from perdure import Application, Delivery, Reaction, RetryConfig, handles

is_mended = False
"""Whether the event of user-2 can be handled."""
calls: list[str] = []
"""The keys of what was handled."""


class Welcome(Reaction, name="welcome", start=0, retry=RetryConfig(max_attempts=1)):
    @handles
    async def registered(self, event: UserRegistered, call: Delivery) -> None:
        if event.user_id == "2" and not is_mended:
            raise ArithmeticError("can't count to two")
        calls.append(call.idempotency_key)


app = Application(reactions=[Welcome()])
