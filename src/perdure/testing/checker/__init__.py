"""The checker: tests whether a store keeps its promises while servers, processes and connections fail.

A `Workload` appends events, follows the log and records all results in a history. Meanwhile you inject faults. `check`
then compares the history with the log. See docs/reliability.md.

Example:
    async with Workload(store, "history", writers=16):
        await kill_something()
    report = await check(store, "history")
    assert not report.violations, str(report)
"""

from perdure.testing.checker.check import check as check
from perdure.testing.checker.check import read_rows as read_rows
from perdure.testing.checker.log_follower import LogFollower as LogFollower
from perdure.testing.checker.report import Fault as Fault
from perdure.testing.checker.report import Report as Report
from perdure.testing.checker.report import Violation as Violation
from perdure.testing.checker.samples import Tally as Tally
from perdure.testing.checker.samples import TallyRow as TallyRow
from perdure.testing.checker.workload import Workload as Workload
