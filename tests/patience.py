"""How long the tests wait for what must happen: longer where the machine has more to do than it can.

No test passes because of its patience; it only fails later.
"""

import os
from collections.abc import Iterator
from pathlib import Path


def slowness() -> float:
    """How many times as long as on an idle machine a step may take: how many processes share each processor."""
    ready = float(_ready_processes())
    return max(1.0, max(ready, os.getloadavg()[0]) / (os.cpu_count() or 1))


def patience(seconds: float) -> float:
    """The seconds to wait on this machine, now, for what takes less than `seconds` on an idle one."""
    return seconds * slowness()


def growing(seconds: float) -> Iterator[float]:
    """Limits to try one after the other, where time must run out, but not before something else has happened.

    On a busy machine, the first may be too short for that.
    """
    yield from (seconds, 5 * seconds, 25 * seconds)


def _ready_processes() -> int:
    """The processes that run or wait for a processor at this moment. The load average lags behind by a minute."""
    try:
        return int(Path("/proc/loadavg").read_text(encoding="ascii").split()[3].partition("/")[0])
    except FileNotFoundError:  # no Linux
        return 0
