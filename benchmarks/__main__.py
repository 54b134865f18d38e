"""``python -m benchmarks``: see README.md."""

import sys

from benchmarks.cli import main

sys.exit(main())
