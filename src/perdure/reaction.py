"""`Reaction`: what is done outside once an event is stored, such as a mail, a payment, or a call of another service."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Final, NamedTuple
from urllib.parse import quote
from uuid import UUID

from perdure.checks import can_take, check_count
from perdure.declaration import check_name, check_start, only_known_arguments
from perdure.errors import InvalidArgumentError, PerdureError, ReactionDefinitionError
from perdure.errors.formats import shown
from perdure.events import StoredEvent
from perdure.log import NOW, SubscriptionStart
from perdure.retry import RetryConfig, checked_retry

MOST_CALLS: Final = 1000
"""How many calls of a reaction a process may have under way."""

REACTION_RETRY: Final = RetryConfig(max_attempts=12, base_delay=1.0, max_delay=600.0)
"""How often a reaction tries by default: about a quarter of an hour passes between the first attempt and the last."""

KeySource = str | Callable[[StoredEvent], str | int | UUID]
"""The key of an event: a field of its payload, or a function of the stored event."""


class Delivery(NamedTuple):
    """One call of a reaction's handler.

    Example:
        await mailer.send(event.email, "welcome", idempotency_key=call.idempotency_key)
    """

    name: str
    """The name of the reaction."""
    event_id: UUID
    """The id of the event."""
    attempt: int
    """How often the handler was called for the event, as far as is known: 1, 2, 3 ..."""
    may_be_repeat: bool
    """Whether an earlier call may have done it already: one that failed, or one of a process that died. False says that
    there was none. If it is true, a provider without idempotency keys can be asked first."""

    @property
    def idempotency_key(self) -> str:
        """The same text in each call for this event, for providers that recognise repeats: ``name:event_id``."""
        return f"{self.name}:{self.event_id}"

    def key(self, *parts: str | int | UUID) -> str:
        """Return an idempotency key for something that is done once for several events: once for each user, say.

        Args:
            parts: what it is done for.

        Raises:
            InvalidArgumentError: no part is given, or one is neither text nor an int nor a UUID, or is empty.

        Example:
            >>> call = Delivery("welcome_mail", UUID(int=1), 1, False)
            >>> call.key("welcome", "user:7")
            'welcome_mail:welcome:user%3A7'
        """
        if not parts:
            raise InvalidArgumentError("parts", "are missing: say what it is done for, such as the user's id")
        return ":".join([self.name, *(quote(_text_of(part), safe="") for part in parts)])


class Reaction:
    """Does something outside the database for each event: sends a mail, charges a card, calls another service.

    Handlers are marked with ``@handles`` and are ``async``. They take the event and, by name, optionally ``call``, the
    `Delivery` with the idempotency key, and ``at``, the `StoredEvent`. No transaction is open during a call.

    Each event is handled **at least once**. It is handled again if a process dies between the call and its record, so
    give the idempotency key to the provider. Events of one key are handled in the order of the log, one after the
    other; those of different keys at the same time. Several processes share the keys.

    A reaction is never built again, and has no versions: deploying new code repeats nothing. It begins with the events
    that are appended after a service first ran it.

    What is to be written to the same database exactly once belongs into a `Projection`, whose ``tx`` is the transaction
    that moves the checkpoint.

    Args:
        name: the reaction's name. It is part of the idempotency keys, so don't change it.
        key: what must stay in order: a field of the events, or a function of the `StoredEvent`. By default the stream.
        start: where it begins when a service first runs it. `NOW`, the default: after the last event that the log can
            be read up to. A position: after that. 0: at the beginning of the log, for the whole history.
        concurrency: how many calls a process has under way at most, up to 1000.
        retry: how often an event that fails is tried, and how long to pause in between; by default twelve times within
            about a quarter of an hour. Then it is parked: it and the later events of its key wait until `retry` or
            `skip`. Other keys go on meanwhile.

    Raises:
        ReactionDefinitionError: the class can't work as it is written; raised here, or when a service is created.

    Example:
        class Welcome(Reaction, name="welcome_mail"):
            def __init__(self, mailer: Mailer) -> None:
                self.mailer = mailer

            @handles
            async def registered(self, event: UserRegistered, call: Delivery) -> None:
                await self.mailer.send(event.email, "welcome", idempotency_key=call.idempotency_key)
    """

    name: ClassVar[str] = ""
    """The name of the reaction."""
    key: ClassVar[KeySource | None] = None
    """What must stay in order; None is the stream."""
    start: ClassVar[int | SubscriptionStart] = NOW
    """Where in the log it begins."""
    concurrency: ClassVar[int] = 8
    """How many calls a process has under way at most."""
    retry: ClassVar[RetryConfig] = REACTION_RETRY
    """How often an event that fails is tried."""

    def __init_subclass__(
        cls,
        *,
        name: str | None = None,
        key: KeySource | None = None,
        start: int | SubscriptionStart = NOW,
        concurrency: int = 8,
        retry: RetryConfig | None = None,
        **rest: Any,
    ) -> None:
        with only_known_arguments(Reaction, cls, ReactionDefinitionError):
            super().__init_subclass__(**rest)
        if name is None:
            return  # a base class of reactions
        check_name(cls.__qualname__, name, ReactionDefinitionError)
        check_start(name, start, ReactionDefinitionError)
        if isinstance(key, str):
            if not key.isidentifier():
                raise ReactionDefinitionError(name, f"its key {shown(key)} isn't the name of a field")
        elif key is not None and not (callable(key) and can_take(key, 1)):
            raise ReactionDefinitionError(
                name, f"its key is {shown(key)}: give the name of a field, or a function that takes the StoredEvent"
            )
        try:
            check_count("concurrency", concurrency, 1, MOST_CALLS)
            checked = checked_retry(retry, REACTION_RETRY)
        except PerdureError as error:
            raise ReactionDefinitionError(name, str(error)) from error
        cls.name, cls.start = name, start
        cls.key = key if isinstance(key, str) or key is None else staticmethod(key)
        cls.concurrency, cls.retry = concurrency, checked


def _text_of(part: object) -> str:
    if isinstance(part, UUID) or (isinstance(part, int) and not isinstance(part, bool)):
        return str(part)
    if not isinstance(part, str) or not part:
        raise InvalidArgumentError("parts", f"must be text, ints or UUIDs that aren't empty, not {shown(part)}")
    return part
