"""Executes a command to several aggregates, of any classes: decided and saved together, and again after conflicts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from uuid import UUID

from perdure.aggregate import AggregateRoot
from perdure.checks import check_function, check_instance
from perdure.commit import AppendResult
from perdure.errors import EventIdReuseError, InvalidArgumentError
from perdure.errors.formats import shown
from perdure.observation import Execute
from perdure.repository.command_id import SEVERAL_STREAMS, CommandId, identified
from perdure.repository.decision import check_not_deciding, deciding
from perdure.repository.group_turns import GroupTurns
from perdure.repository.multi_stream import check_aggregates, save_all
from perdure.repository.saver import save_until_known
from perdure.retry import Attempts, RetryConfig, checked_retry
from perdure.store import EventStore


async def execute_all(
    store: EventStore,
    decide: Callable[[], Awaitable[Sequence[AggregateRoot]]],
    *,
    command_id: UUID | str | None = None,
    fingerprint: bytes | str | None = None,
    retry: RetryConfig | None = None,
) -> list[AppendResult]:
    """Call `decide`, which loads aggregates, decides and returns them; save all, or none; on a conflict start over.

    Args:
        store: where the events go.
        decide: an asynchronous function. It may be called several times, so it must load again each time. It should
            also return the aggregates that it only read: as with `save_all`, they must not have changed meanwhile.
            States of deciders come from `DeciderRepository.load_aggregate`.
        command_id: identifies the request. A repeat, at any time and from any process, gets the first results, and
            `decide` isn't called again, whichever aggregates it would change. See `Repository.execute`.
        fingerprint: tells the command from others with the same id. See `Repository.execute`.
        retry: how to try again.

    Returns:
        For each aggregate with events its version and the positions of its events, in the order of the list that
        `decide` returned; on a repeat, too. `ProjectionService.wait_for` takes this list.

    Raises:
        OptimisticConcurrencyError: the last attempt ended in a conflict, too.
        WrongContextError: `decide` called `execute`, `save` without `tx`, `save_all` or `execute_all`, which would
            write in each attempt.
        AggregateExistsError: one was made, not loaded, although its stream exists. Nothing was written.
        CommandIdReuseError: `command_id` was used with another `fingerprint`. Nothing was written.
        OutcomeUnknownError: it isn't known whether the events were written, in spite of repeats.
        Whatever `decide` raises; then nothing was written.

    Example:
        async def transfer() -> list[Account]:
            ann, bob = await accounts.get("ann"), await accounts.get("bob")
            ann.withdraw(30)
            bob.deposit(30)
            return [ann, bob]

        key = request.headers["Idempotency-Key"]
        await execute_all(store, transfer, command_id=f"{client_id}/POST /transfers/{key}")
    """
    check_instance("store", store, EventStore)
    check_function("decide", decide)
    check_not_deciding("execute_all")
    attempts = Attempts(checked_retry(retry))
    turns = GroupTurns(store, attempts)
    command = GroupCommand(store, decide, identified(command_id, SEVERAL_STREAMS, fingerprint), turns)
    with Execute(None) as observed:
        try:
            await command.decide()
            return await save_until_known(command.save, command.decide, attempts, observed, turns.pause)
        finally:
            turns.end()


class GroupCommand:
    """A command to several aggregates, decided on fresh state as often as needed, and saved as a whole.

    Args:
        store: where the events go, and where those of an earlier execution would be.
        decide: loads the aggregates, decides, and returns them.
        command_id: its id, if it has one.
        turns: what it holds of the queues of its aggregates.
    """

    def __init__(
        self,
        store: EventStore,
        decide: Callable[[], Awaitable[Sequence[AggregateRoot]]],
        command_id: CommandId | None,
        turns: GroupTurns,
    ) -> None:
        self._store = store
        self._decide = decide
        self._command_id = command_id
        self._turns = turns
        self._aggregates: Sequence[AggregateRoot] = ()
        self._saved: list[AppendResult] = []
        self._is_known = False

    async def decide(self) -> None:
        """Decide on fresh state, unless the command was executed before: again in its turn, if others are under way."""
        while not await self._was_executed():
            await self._decide_once()
            if self._is_known or self._turns.hold_free(self._aggregates):
                return
            await self._turns.wait(self._aggregates)

    async def save(self) -> list[AppendResult]:
        """Save what was decided. Return the results of the command, even if another process executed it."""
        if not self._saved:
            try:
                self._saved = [one for one in await save_all(self._store, self._aggregates) if one is not None]
            except EventIdReuseError:
                # Another process executed the command meanwhile, with other events.
                if not await self._was_executed():
                    raise
        if self._command_id is not None and not self._is_known and any(one.is_repeat for one in self._saved):
            # Another attempt of the command may have raised other events, or been another command.
            with self._command_id.settling(sum([len(one.global_positions) for one in self._saved])):
                await self._was_executed()
        return self._saved

    async def _decide_once(self) -> None:
        command_id = self._command_id
        try:
            with deciding(), nullcontext() if command_id is None else command_id.as_cause():
                self._aggregates = await _decided(self._decide)
        except Exception:
            # A rule may have refused it because of what it has done itself meanwhile, in another process.
            if await self._was_executed():
                return
            raise
        check_aggregates(self._aggregates)
        if command_id is None:
            return
        events = [event for one in self._aggregates for event in one.uncommitted.events]
        if any(one.uncommitted.pending for one in self._aggregates):
            raise InvalidArgumentError("decide", "returned an aggregate that was saved before: load it again each time")
        if events or not await self._was_executed():
            command_id.claim(events)

    async def _was_executed(self) -> bool:
        earlier = [] if self._command_id is None else await self._command_id.earlier_results(self._store)
        if earlier:
            self._saved, self._is_known = earlier, True
        return self._is_known


async def _decided(decide: Callable[[], Awaitable[Sequence[AggregateRoot]]]) -> Sequence[AggregateRoot]:
    answer = decide()
    if not isinstance(answer, Awaitable):
        raise InvalidArgumentError("decide", f"must be an asynchronous function, but it returned {shown(answer)}")
    return await answer
