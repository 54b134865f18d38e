"""The events by which Perdure tells a process what happened to it, in the stream of its instance."""

from __future__ import annotations

from uuid import UUID

from perdure.events import event


@event("perdure.timer_cancelled")
class TimerCancelled:
    """An operator has cancelled a timer of a process. The process takes it as if it had cancelled the timer itself.

    The function `cancel_timer` of the database writes it. Its metadata name the operator as the user.

    Attributes:
        process: The name of the process.
        key: The key of its instance, as JSON.
        timer: The name of the timer.
        set_by: The id of the event that had set it. If another event has set the timer since, that one stays.
        reason: Why.
    """

    process: str
    key: str
    timer: str
    set_by: UUID
    reason: str
