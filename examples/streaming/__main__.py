"""``python -m examples.streaming``: see `examples.streaming.demo`."""

import signal
import sys

try:
    from examples.streaming.demo.cli import main
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "rich":
        raise
    sys.exit("The demo needs the extra 'demo': pip install 'perdure[demo]', or run it by 'make demo'")

# A script's "&" starts it with SIGINT ignored. All that ends it goes by asyncio's handler, which replaces this one.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Whoever ends it, by `timeout` or by closing the terminal, gets what Ctrl-C gives: no server is left behind.
for ending in (signal.SIGTERM, signal.SIGHUP):
    signal.signal(ending, lambda *_: signal.raise_signal(signal.SIGINT))

sys.exit(main())
