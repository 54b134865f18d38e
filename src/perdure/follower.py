"""What a service can run: everything that follows the log."""

from __future__ import annotations

from typing import TypeAlias

from perdure.projection import AnyProjection
from perdure.reaction import Reaction
from perdure.relay import Relay

Follower: TypeAlias = AnyProjection | Reaction | Relay
"""A projection, a reaction or a relay."""
