"""The workloads, in order."""

from benchmarks.workloads.append import AppendingHeaders, AppendingOne, AppendingRepeats, AppendingTen
from benchmarks.workloads.catch_up import CatchingUp, Projecting
from benchmarks.workloads.contention import Contending
from benchmarks.workloads.demo import Demonstrating
from benchmarks.workloads.growth import Growing
from benchmarks.workloads.large_states import ChangingLarge
from benchmarks.workloads.load import Loading
from benchmarks.workloads.push import AppendingFollowed, Pushing, Showing
from benchmarks.workloads.relay import Relaying
from benchmarks.workloads.spread import Spreading
from benchmarks.workloads.workload import Workload

WORKLOADS: tuple[type[Workload], ...] = (
    AppendingOne,
    AppendingRepeats,
    AppendingTen,
    AppendingHeaders,
    Loading,
    CatchingUp,
    Projecting,
    Pushing,
    Showing,
    Contending,
)

ALL_WORKLOADS: tuple[type[Workload], ...] = (
    *WORKLOADS,
    AppendingFollowed,
    ChangingLarge,
    Growing,
    Demonstrating,
    Spreading,
    Relaying,
)
"""Those beyond `WORKLOADS` take longer, and are run when they are asked for."""
