"""How fast Perdure is, beside the bare driver and other stores: ``python -m benchmarks``. See README.md."""
