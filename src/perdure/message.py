"""`Message`: an event on its way to a broker, in the envelope of CloudEvents 1.0."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote
from uuid import UUID

import msgspec

from perdure.checks import check_flag, check_text

JSON: Final = "application/json"
STRUCTURED: Final = "application/cloudevents+json"

_UNQUOTED: Final = "!#$&'()*+,-./:;<=>?@[\\]^_`{|}~"
"""What percent-encoding leaves as it is, beside letters and digits: no space, no quote, no percent sign."""
_to_quote: Final = re.compile(r"[^!#-$&-~]").search
"""Finds what must be percent-encoded. Few messages hold any, and `quote` is slow."""
_encode = msgspec.json.Encoder().encode


class Message(msgspec.Struct, frozen=True, gc=False):
    """An event for other systems. A `Relay` makes it, and a `MessagePublisher` sends it.

    Attributes:
        destination: Where it goes, in the broker's own words: a subject, a queue, a stream.
        key: Messages of one key arrive in order.
        event_id: The id of the event. Brokers and consumers recognise a repeat by it.
        attributes: The context attributes of CloudEvents, as text: ``specversion``, ``id``, ``source``, ``type``,
            ``subject``, ``time``, ``datacontenttype``, ``eventversion``, ``partitionkey``, ``globalposition``, and
            ``correlationid`` and ``causationid`` if the event has them.
        data: The payload as JSON.

    Example:
        >>> message = Message("users", "user-1", UUID(int=1), {"specversion": "1.0", "subject": "Zoë 1"}, b'{"id": 1}')
        >>> message.headers("ce-")
        {'ce-specversion': '1.0', 'ce-subject': 'Zo%C3%AB%201'}
        >>> print(message.structured().decode())
        {"specversion":"1.0","subject":"Zoë 1","data":{"id": 1}}
    """

    destination: str
    key: str
    event_id: UUID
    attributes: Mapping[str, str]
    data: bytes

    def headers(self, prefix: str, *, quoted: bool = True) -> dict[str, str]:
        """Return the attributes as headers, for the binary content mode: the payload of the message is `data`.

        Args:
            prefix: what each name begins with: ``ce-`` for NATS and HTTP, ``ce_`` for Kafka.
            quoted: whether values are percent-encoded, as NATS and HTTP need it.

        Raises:
            InvalidArgumentError: an argument is invalid.
        """
        check_text("prefix", prefix)
        check_flag("quoted", quoted)
        if quoted and _to_quote("".join(self.attributes.values())):
            return {prefix + name: quote(value, _UNQUOTED) for name, value in self.attributes.items()}
        return {prefix + name: value for name, value in self.attributes.items()}

    def structured(self) -> bytes:
        """Return attributes and data as one JSON object, for the structured content mode.

        Its content type is ``application/cloudevents+json``.
        """
        return _encode({**self.attributes, "data": msgspec.Raw(self.data)})
