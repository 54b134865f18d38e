"""``python -m perdure``: the command line."""

import sys

from perdure.cli.entry import main

sys.exit(main())
