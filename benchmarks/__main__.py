"""``python -m benchmarks``: see README.md."""

import signal
import sys

from benchmarks.cli import main

# `timeout` and a closed terminal act as Ctrl-C, so that no server is left running.
for ending in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(ending, lambda *_: signal.raise_signal(signal.SIGINT))

sys.exit(main())
