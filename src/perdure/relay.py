"""`Relay`: sends events to a broker, for other systems."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from perdure.checks import check_function, check_text
from perdure.declaration import LONGEST_NAME, check_start
from perdure.errors import InvalidArgumentError, ProjectionDefinitionError
from perdure.errors.formats import shown
from perdure.events import StoredEvent
from perdure.log import NOW, SubscriptionStart
from perdure.message_publisher import MessagePublisher
from perdure.retry import RetryConfig, checked_retry

RELAY_RETRY: Final = RetryConfig(base_delay=1.0, max_delay=60.0, max_seconds=1_000_000.0)
"""How often a relay tries by default: for eleven days, about twice a minute in the end."""

Destination = str | Callable[[StoredEvent], str | None]
"""Where the message of an event goes; None: nowhere."""
KeyFunction = Callable[[StoredEvent], str]
"""What gives the key of an event."""
Translate = Callable[[StoredEvent], object]
"""What makes the event that other systems get, or None if they get none."""


class Relay:
    """Sends events to a broker, in the envelope of CloudEvents 1.0. Give it to an `Application` beside the reactions.

    It reads the log itself: there is no outbox table, and nothing more is written with an event.

    Each event is sent **at least once**. It is sent again if a process dies between the confirmation of the broker and
    its record. The repeat has the same id, by which JetStream and consumers recognise it. Messages of one key arrive in
    the order of the log. If the broker refuses one, it and the later messages of its key wait, and it is tried again;
    other keys go on. While the broker can't be reached, all messages wait, and go on by themselves. Several processes
    share the keys.

    A relay begins with the events that are appended after a service first ran it. Send earlier ones with `replay`, or
    give `start`.

    Attributes:
        name: Its name.
        publisher: What sends the messages.
        destination: Where they go.
        source: Which system the events come from.
        key: The function that gives the key of an event; None is the stream.
        translate: The function that makes the event that other systems get; None sends the stored one.
        start: Where in the log it begins.
        retry: How often a message is tried.

    Example:
        >>> from perdure.testing import InMemoryPublisher
        >>> relay = Relay(
        ...     "to_broker",
        ...     InMemoryPublisher(),
        ...     destination=lambda stored: f"shop.{stored.event_type}",
        ...     source="https://shop.example/users",
        ... )
    """

    def __init__(
        self,
        name: str,
        publisher: MessagePublisher,
        *,
        destination: Destination,
        source: str,
        key: KeyFunction | None = None,
        translate: Translate | None = None,
        start: int | SubscriptionStart = NOW,
        retry: RetryConfig | None = None,
    ) -> None:
        """Define a relay.

        The functions are called for each event, before it is sent. They are synchronous, and must give the same answer
        each time. If one raises an error, the key of the event waits as for a refused message; if `key` does, all
        messages wait.

        Args:
            name: the name of the relay. Its progress is kept under it, so don't change it.
            publisher: sends the messages: a `NatsPublisher`, say.
            destination: where a message goes, in the broker's words: text, or a function of the stored event. What it
                gives None for isn't sent.
            source: which system the events come from: a URI, which consumers keep apart from those of other systems.
                Keep it when the database moves.
            key: what must stay in order: a function of the stored event. By default the stream.
            translate: makes the event that other systems get: an object whose class is decorated with ``@event``, or
                None to send nothing. By default the payload is sent as it is stored, in the version in which it was
                written.
            start: where it begins when a service first runs it. `NOW`, the default: after the last event that the log
                can be read up to. A position: after that. 0: at the beginning of the log, for the whole history.
            retry: how often a message is tried, and how long to pause in between; by default until it is confirmed,
                with pauses of up to a minute. After the last attempt it is parked: it and the later messages of its
                key wait until `retry` or `skip`.

        Raises:
            InvalidArgumentError: an argument is invalid.
        """
        check_text("name", name)
        if not 1 <= len(name) <= LONGEST_NAME:
            raise InvalidArgumentError("name", f"{shown(name)} must have 1 to {LONGEST_NAME} characters")
        if isinstance(publisher, type) or not isinstance(publisher, MessagePublisher):
            raise InvalidArgumentError("publisher", f"must be a MessagePublisher, not {shown(publisher)}")
        if isinstance(destination, str):
            check_text("destination", destination)
            if not destination:
                raise InvalidArgumentError("destination", "is empty: say where the messages go")
        else:
            check_function("destination", destination)
        check_text("source", source)
        if not source or not source.isprintable() or " " in source:
            raise InvalidArgumentError("source", f"must be a URI without spaces, not {shown(source)}")
        for argument, function in (("key", key), ("translate", translate)):
            if function is not None:
                check_function(argument, function)
        try:
            check_start(name, start)
        except ProjectionDefinitionError as error:
            raise InvalidArgumentError("start", error.reason) from error
        self.name = name
        self.publisher = publisher
        self.destination = destination
        self.source = source
        self.key = key
        self.translate = translate
        self.start = start
        self.retry = checked_retry(retry, RELAY_RETRY)
