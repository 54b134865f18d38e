"""Adapters to other systems. Each module needs the extra of its name: ``pip install 'perdure[nats]'``."""
