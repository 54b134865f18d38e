"""The report at the end of the demo."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import cast

from rich.console import Console, Group
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from examples.streaming.demo.outcome import Outcome
from examples.streaming.demo.recomputation import Row
from examples.streaming.demo.verification import TOLERANCE, Check
from examples.streaming.trend_score import decayed_watches

TOP = 10
RATINGS_THAT_COUNT = 50
TITLE_WIDTH = 64
DIFFERENCES_SHOWN = 10


def print_report(console: Console, outcome: Outcome) -> None:
    """Print the tables, timings and checks of a run."""
    for part in (_trending(outcome), _rated(outcome), _profile(outcome), _aggregate(outcome), _timings(outcome)):
        console.print()
        console.print(part)
    console.print()
    _print_checks(console, outcome)


def top_trending(titles: Sequence[Row]) -> list[Row]:
    watched = (row for row in titles if row["trending_score"] is not None)
    return sorted(watched, key=lambda row: (-row["trending_score"], row["content_id"]))[:TOP]


def top_rated(titles: Sequence[Row]) -> list[Row]:
    rated = (row for row in titles if row["rating_count"] >= RATINGS_THAT_COUNT)
    return sorted(rated, key=lambda row: (-row["rating_average"], -row["rating_count"], row["content_id"]))[:TOP]


def _trending(outcome: Outcome) -> Group:
    at = outcome.last_event_at
    table = _table("", "watches, decayed", "score", "views", "viewers")
    for place, row in enumerate(top_trending(outcome.titles), 1):
        score = row["trending_score"]
        figures = (f"{decayed_watches(score, at):.3f}", f"{score:.4f}", row["total_views"], row["unique_viewers"])
        table.add_row(str(place), *map(str, figures), _title(row))
    return _section(f"Top ten by trending score, as of {at:%Y-%m-%d}", table)


def _rated(outcome: Outcome) -> Group:
    table = _table("", "average", "ratings")
    for place, row in enumerate(top_rated(outcome.titles), 1):
        table.add_row(str(place), f"{row['rating_average']:.3f}", str(row["rating_count"]), _title(row))
    return _section(f"Top ten by rating, of titles with at least {RATINGS_THAT_COUNT} ratings", table)


def _profile(outcome: Outcome) -> Group:
    user_id = outcome.user.aggregate_id
    row = next(row for row in outcome.profiles if row["user_id"] == user_id)
    return _section(f"One row of user_profiles: user_id {user_id}", _fields(row))


def _aggregate(outcome: Outcome) -> Group:
    user = outcome.user
    heading = f"The same user as an aggregate, replayed from {user.stream_version} events of {user.stream_id}"
    return _section(heading, _fields(vars(user)))


def _timings(outcome: Outcome) -> Group:
    return _section("Timings", _fields({step: f"{seconds:.1f} s" for step, seconds in outcome.timings.items()}))


def _print_checks(console: Console, outcome: Outcome) -> None:
    console.print(
        f"{outcome.events:,} events in {outcome.seconds:.1f} s, {outcome.events_per_second:,.0f}/s until both read "
        f"models showed them; {outcome.conflicts_retried} conflicts retried; peak memory {outcome.peak_rss_mb:.0f} MB",
        highlight=False,
        soft_wrap=True,
    )
    for check in outcome.checks:
        _print_check(console, check)
    if outcome.verified:
        console.print("[bold green]VERIFIED[/]: both read models equal an independent recomputation from the source.")
    else:
        console.print("[bold red]NOT VERIFIED[/]: the read models differ from what the source says.")


def _print_check(console: Console, check: Check) -> None:
    verdict = "all equal" if check.passed else f"{len(check.differences):,} differences"
    console.print(
        f"{check.table}: {check.rows:,} rows checked in every column, {verdict} "
        f"(counts exactly, means within {TOLERANCE:g}, trending within {TOLERANCE:g} relative)",
        highlight=False,
        soft_wrap=True,
    )
    for difference in check.differences[:DIFFERENCES_SHOWN]:
        console.print(f"  {difference}", highlight=False, markup=False, soft_wrap=True)


def _section(heading: str, table: Table) -> Group:
    return Group(Text(heading, style="bold"), table)


def _table(*figures: str) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in figures:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("title")
    return table


def _fields(values: Mapping[str, object]) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="dim")
    for name, value in values.items():
        table.add_row(name, _shown(value))
    return table


def _title(row: Row) -> str:
    name = row["title"] or f"(title {row['content_id']} was never added)"
    return escape(textwrap.shorten(name, TITLE_WIDTH, placeholder=" …"))


def _shown(value: object) -> str:
    return escape(", ".join(map(str, cast("list[object]", value))) if isinstance(value, list) else str(value))
