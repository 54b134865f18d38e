"""A process that holds a stream exclusively until it is killed: ``python -m tests.repository.exclusive_holder URL``."""

import asyncio
import sys
import time

from perdure import Repository
from perdure.stores.postgres.store import PostgreSQLEventStore
from tests.repository.accounts import Account


def hold(account: Account) -> None:
    """Deposit, say so, and never return."""
    account.deposit(100)
    print("holding", flush=True)
    time.sleep(3600)


async def main(url: str) -> None:
    """Run the command."""
    async with PostgreSQLEventStore(url) as store:
        await Repository(Account, store).execute("1", hold, exclusive=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
