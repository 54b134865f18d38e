"""``python -m benchmarks``: see README.md."""

import signal
import sys

from benchmarks.cli import main

# Whoever ends it, by `timeout` or by closing the terminal, gets what Ctrl-C gives: no server is left behind.
for ending in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(ending, lambda *_: signal.raise_signal(signal.SIGINT))

sys.exit(main())
