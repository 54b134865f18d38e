"""Executes a command while no other writer can change its stream, so that its action is called once.

    execute(exclusive=True) ─▶ turn in the queue of this process ─▶ lock of the stream ─▶ load, decide, append ─▶ commit

The turn keeps the other commands of this process waiting without a connection. The lock is the one that each append
takes, so appends of all processes wait for the commit, and what was loaded is still true then. If the connection is
lost, so is the lock. Then the same events are saved without it, under the version on which they were decided. Only if
that is a conflict, the action is called again.
Why it is so: docs/adr/0052.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Generic, TypeVar

from perdure.aggregate import AggregateRoot
from perdure.commit import AppendResult
from perdure.errors import DeadlockError, StoreUnavailableError
from perdure.observation import Execute, keys
from perdure.repository.command import CommandCall, IdentifiedCommand
from perdure.repository.group_turns import GroupTurns
from perdure.repository.loader import Loader
from perdure.repository.saver import Saver, save_until_known
from perdure.retry import Attempts
from perdure.transaction import Transaction

logger = logging.getLogger("perdure.repository")

A = TypeVar("A", bound=AggregateRoot)


class ExclusiveCommand(Generic[A]):
    """A command that is decided and saved in one transaction, under the lock of its stream.

    Args:
        command: decides.
        aggregate: a new aggregate, which names the stream.
        loader: loads the state.
        saver: saves it to its store.
        attempts: how long it may wait, and how often it may try if an outcome isn't known.
    """

    def __init__(
        self,
        command: CommandCall[A],
        aggregate: A,
        loader: Loader[A],
        saver: Saver[A],
        attempts: Attempts,
    ) -> None:
        self._command = command
        self._aggregate = aggregate
        self._store = saver.store
        self._loader = loader
        self._saver = saver
        self._attempts = attempts
        self._decided: A | None = None
        """What was decided, and isn't known to be in conflict."""

    async def execute(self, observed: Execute) -> AppendResult | None:
        """Execute the command. See `Repository.execute`."""
        turns = GroupTurns(self._store, self._attempts)
        decide_again = self._forget if self._command.exact_version is None else None
        try:
            if not turns.hold_free([self._aggregate]):
                await turns.wait([self._aggregate])
            return await save_until_known(self._save, decide_again, self._attempts, observed, turns.pause)
        finally:
            turns.end()

    async def _save(self) -> AppendResult | None:
        """Decide and save. If it isn't known whether that was written, save the same events again."""
        if self._decided is not None:
            return await self._save_unlocked(self._decided)
        stream_id = self._aggregate.stream_id
        try:
            async with self._store.exclusively(stream_id, self._attempts.seconds_left) as tx:
                decided = await self._decide(tx)
                if isinstance(decided, AppendResult):
                    return decided
                self._decided = decided
                result = await self._saver.save(decided, tx)
        except (StoreUnavailableError, DeadlockError) as error:
            if self._decided is None:
                raise
            logger.warning(
                "the lock of %r was lost after a command had decided; its events are saved without it",
                stream_id,
                extra=keys(error, operation="execute", stream_id=stream_id),
            )
            return await self._save_unlocked(self._decided)
        await self._saver.write_snapshot_if_due(decided)
        return result

    async def _save_unlocked(self, decided: A) -> AppendResult | None:
        """Save what was decided, after the lock was lost: another process may have executed the command meanwhile."""
        saving = self._saver.save(decided)
        command_id = self._command.command_id
        if command_id is None:
            return await saving
        load = partial(self._loader.load, decided.aggregate_id)
        return await IdentifiedCommand(self._command, command_id, load, self._store).result(saving)

    async def _decide(self, tx: Transaction | None) -> A | AppendResult:
        if self._command.command_id is not None:
            earlier = await self._command.command_id.earlier_result(self._store, tx)
            if earlier is not None:
                return earlier
        aggregate = await self._loader.load(self._aggregate.aggregate_id, tx=tx)
        self._command.act(aggregate)
        return aggregate

    async def _forget(self) -> None:
        self._decided = None
