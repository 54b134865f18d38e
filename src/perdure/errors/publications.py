"""Messages for other systems: what a publisher couldn't confirm."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from uuid import UUID

from perdure.errors.formats import shown, shown_ids
from perdure.errors.mask import masked_text
from perdure.errors.roots import PerdureError


class UnconfirmedMessagesError(PerdureError):
    """A broker didn't confirm some messages. Those of other keys were confirmed.

    To repeat, publish the messages of each key that failed from its first failure on.

    Attributes:
        failures: For each key that failed, the error of its first message without a confirmation, by the id of that
            message's event. Later messages of the same key count as unconfirmed, too.

    Example:
        >>> from uuid import UUID
        >>> error = UnconfirmedMessagesError({UUID(int=1): TimeoutError("no answer")})
        >>> print(error)
        1 message wasn't confirmed: 00000000-0000-0000-0000-000000000001; the first error is TimeoutError: no answer
    """

    def __init__(self, failures: Mapping[UUID, Exception]) -> None:
        count = len(failures)
        said = "1 message wasn't confirmed" if count == 1 else f"messages of {count} keys weren't confirmed"
        first = next(iter(failures.values()), None)
        cause = masked_text(f"{type(first).__name__}: {first}"[:300])
        super().__init__(f"{said}: {shown_ids(list(failures))}; the first error is {cause}")
        self.failures: Mapping[UUID, Exception] = MappingProxyType(dict(failures))


class BrokerUnavailableError(PerdureError):
    """A broker can't be reached, or its publisher failed as a whole. None of the messages counts as confirmed.

    All messages of the relay wait, in order, and it tries again by itself.

    Attributes:
        reason: What went wrong.

    Example:
        >>> print(BrokerUnavailableError("no answer from nats://app:s3cret@127.0.0.1:4222"))
        the broker isn't available: no answer from nats://app:...@127.0.0.1:4222
    """

    is_transient = True

    def __init__(self, reason: str) -> None:
        self.reason = masked_text(reason[:300])
        super().__init__(f"the broker isn't available: {self.reason}")


class UnpublishableMessageError(PerdureError, ValueError):
    """A broker can't take a message as it is, however often it is published. Its key waits until the code is corrected.

    Attributes:
        destination: Where the message should go.
        reason: Why the broker can't take it, and what to change.
    """

    def __init__(self, destination: str, reason: str) -> None:
        super().__init__(f"a message for {shown(destination)} can't be published: {reason}")
        self.destination = destination
        self.reason = reason
