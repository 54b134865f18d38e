"""``python -m examples.streaming``: see `examples.streaming.demo`."""

import sys

try:
    from examples.streaming.demo.cli import main
except ModuleNotFoundError as error:
    if error.name is None or error.name.partition(".")[0] != "rich":
        raise
    sys.exit("The demo needs the extra 'demo': pip install 'perdure[demo]', or run it by 'make demo'")

sys.exit(main())
