"""The definition of an inline projection. Pure."""

from __future__ import annotations

from typing import Any

from perdure.errors import ProjectionDefinitionError
from perdure.projection import Projection, TableProjection
from perdure.projections.engines.table.definition import TableDefinition
from perdure.projections.state.options import Mode


class InlineDefinition(TableDefinition):
    """A projection whose rows each append writes in its own transaction, and what follows from its class.

    Raises:
        ProjectionDefinitionError: the class can't work as it is written, or not inline.
    """

    mode: Mode = "inline"

    @property
    def is_divisible(self) -> bool:
        """Whether it can be divided into segments: appends write the rows, so there is nothing to share."""
        return False

    def __init__(self, projection: TableProjection[Any], build: int = 1) -> None:
        if isinstance(projection, Projection):
            raise ProjectionDefinitionError(
                projection.name or type(projection).__qualname__,
                "only a TableProjection can be inline: run it in a ProjectionService",
            )
        super().__init__(projection, build)
        if projection.by_stream is None:
            raise self.refuse(
                "it can be inline only if each row belongs to one stream: rows of several streams would be folded in "
                'the order of locks, not of the log; give it by_stream="category", or run it in a ProjectionService'
            )
        if projection.on_failure != "pause":
            raise self.refuse(
                "nothing is parked inline, because an event that fails isn't appended: leave on_failure out"
            )
        self.category = projection.by_stream
