import json
from collections.abc import Callable
from dataclasses import replace
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from examples.streaming.demo.document import write_document
from examples.streaming.demo.outcome import Outcome, peak_rss_mb
from examples.streaming.demo.recomputation import expected_profiles, expected_titles
from examples.streaming.demo.report import print_report, top_rated, top_trending
from examples.streaming.demo.verification import verify
from examples.streaming.user import User
from tests.examples.streaming.sources import SMALL

Printed = Callable[[Outcome], str]


@pytest.fixture
def outcome() -> Outcome:
    titles, profiles = list(expected_titles(SMALL).values()), list(expected_profiles(SMALL).values())
    user = User("15")
    user.register("viewer15@example.com", "Viewer 15", ["Crime", "Adventure"])
    return Outcome(
        events=18,
        seconds=0.5,
        timings={"appending": 0.25},
        conflicts_retried=1,
        titles=titles,
        profiles=profiles,
        user=user,
        checks=verify(SMALL, titles, profiles),
        peak_rss_mb=64.25,
    )


@pytest.fixture
def printed() -> Printed:
    def show(outcome: Outcome) -> str:
        text = StringIO()
        print_report(Console(file=text, width=160), outcome)
        return text.getvalue()

    return show


def test_it_ends_with_the_check(outcome: Outcome, printed: Printed) -> None:
    how = "(counts exactly, means within 1e-09, trending within 1e-09 relative)"

    assert printed(outcome).splitlines()[-4:] == [
        "18 events in 0.5 s, 36/s until both read models showed them; 1 conflicts retried; peak memory 64 MB",
        f"content_popularity: 4 rows checked in every column, all equal {how}",
        f"user_profiles: 2 rows checked in every column, all equal {how}",
        "VERIFIED: both read models equal an independent recomputation from the source.",
    ]


def test_differences_are_listed(outcome: Outcome, printed: Printed) -> None:
    outcome.titles[0]["total_views"] = 7
    text = printed(replace(outcome, checks=verify(SMALL, outcome.titles, outcome.profiles)))

    assert "content_popularity: 4 rows checked in every column, 1 differences" in text
    assert "\n  1.total_views is 7, not 3\n" in text
    assert text.endswith("NOT VERIFIED: the read models differ from what the source says.\n")


def test_trending_is_shown_as_decayed_watches(outcome: Outcome, printed: Printed) -> None:
    lines = printed(outcome).splitlines()
    first = lines.index("Top ten by trending score, as of 1970-01-15") + 2

    assert lines[first].strip().split(maxsplit=5) == ["1", "2.300", "3.2017", "3", "2", "Toy Story (1995)"]


def test_titles_are_shown_as_they_are(outcome: Outcome, printed: Printed) -> None:
    assert "[bold]Heat[/] (1995)" in printed(outcome)


def test_the_profile_and_the_aggregate_are_of_one_user(outcome: Outcome, printed: Printed) -> None:
    text = printed(outcome)

    assert "One row of user_profiles: user_id 15" in text
    assert "The same user as an aggregate, replayed from 1 events of user-15" in text


def test_the_top_leaves_out_what_nobody_watched_or_few_rated(outcome: Outcome) -> None:
    many = [{**row, "rating_count": 50} for row in outcome.titles[:1]]

    assert [row["content_id"] for row in top_trending(outcome.titles)] == ["1", "3", "2"]
    assert [row["content_id"] for row in top_rated([*many, *outcome.titles[1:]])] == ["1"]


def test_the_document_holds_figures_and_all_rows(outcome: Outcome, tmp_path: Path) -> None:
    write_document(tmp_path / "demo.json", outcome)
    document = json.loads((tmp_path / "demo.json").read_text(encoding="utf-8"))

    assert {name: document[name] for name in document if name not in ("titles", "profiles")} == {
        "events": 18,
        "seconds": 0.5,
        "events_per_second": 36.0,
        "conflicts_retried": 1,
        "peak_rss_mb": 64.2,
        "verified": True,
    }
    assert len(document["titles"]) == 4
    assert document["titles"][3]["last_updated"] == "1970-01-03T23:59:59Z"
    assert document["profiles"][0] == {
        "user_id": "1",
        "email": "viewer1@example.com",
        "name": "Viewer 1",
        "subscription_plan": "free",
        "preferences": ["Adventure", "unknown"],
        "total_watch_time": 15_000,
        "favorite_genres": ["Adventure", "unknown"],
        "last_active": "1970-01-15T00:00:00Z",
        "registration_date": "1970-01-07T23:59:59Z",
        "is_premium": False,
    }


def test_memory_is_measured_in_megabytes() -> None:
    assert 20 < peak_rss_mb() < 10_000
