"""The outcome of the demo as a JSON document."""

from pathlib import Path

import msgspec

from examples.streaming.demo.outcome import Outcome


def write_document(path: Path, outcome: Outcome) -> None:
    """Write the figures and every row of both read models. Times are in ISO 8601."""
    document = {
        "events": outcome.events,
        "seconds": round(outcome.seconds, 3),
        "events_per_second": round(outcome.events_per_second, 1),
        "conflicts_retried": outcome.conflicts_retried,
        "peak_rss_mb": round(outcome.peak_rss_mb, 1),
        "titles": outcome.titles,
        "profiles": outcome.profiles,
        "verified": outcome.verified,
    }
    path.write_bytes(msgspec.json.format(msgspec.json.encode(document)) + b"\n")
