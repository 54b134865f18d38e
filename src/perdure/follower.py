"""What a service can run: everything that follows the log."""

from __future__ import annotations

from typing import TypeAlias

from perdure.projection import AnyProjection
from perdure.reaction import Reaction

Follower: TypeAlias = AnyProjection | Reaction
"""A projection or a reaction."""
