"""``python -m examples.streaming``: see `examples.streaming.demo`."""

import signal
import sys

try:
    from examples.streaming.demo.cli import main
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "rich":
        raise
    sys.exit("The demo needs the extra 'demo': pip install 'perdure[demo]', or run it by 'make demo'")

# A script's "&" starts the process with SIGINT ignored. Restore it, so that asyncio can handle it.
signal.signal(signal.SIGINT, signal.default_int_handler)

# `timeout` and a closed terminal act as Ctrl-C, so that no server is left running.
for ending in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(ending, lambda _number, _frame: signal.raise_signal(signal.SIGINT))

sys.exit(main())
