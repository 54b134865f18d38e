"""An outage is told by two log records, whatever is tried meanwhile, and by whomever."""

import logging

import pytest

from perdure.errors import StoreUnavailableError
from perdure.outage import Outage

AWAY = StoreUnavailableError("the server is away")


@pytest.fixture
def outage(caplog: pytest.LogCaptureFixture) -> Outage:
    caplog.set_level(logging.INFO, "perdure.log")
    return Outage(logging.getLogger("perdure.log"), "following the log")


def records(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    return [(record.levelname, record.message.partition(" since")[0]) for record in caplog.records]


def test_any_number_of_tries_is_told_once_at_each_end(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    outage.succeeded("a", operation="follow")
    assert (records(caplog), outage.tries) == ([], 0)

    for _ in range(5):
        outage.failed("a", AWAY, operation="follow", detail="6 appends wait")
    assert records(caplog) == [("WARNING", "following the log has to wait")]
    assert caplog.records[0].message.endswith(" UTC, 6 appends wait: the server is away")
    assert caplog.records[0].__dict__["error.type"] == "StoreUnavailableError"
    assert (outage.tries, outage.waiting) == (5, 1)

    outage.succeeded("a", operation="follow")
    outage.succeeded("a", operation="follow")
    assert len(caplog.records) == 2
    assert caplog.records[1].message.endswith(" s and 5 failed tries")
    assert caplog.records[1].__dict__["perdure.outage"] >= 0
    assert (outage.tries, outage.waiting) == (0, 0)


def test_the_last_of_several_that_goes_on_ends_it(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    for party in "abab":
        outage.failed(party, AWAY, operation="follow")
    outage.succeeded("a", operation="follow")
    outage.succeeded("c", operation="follow")
    assert (len(caplog.records), outage.waiting) == (1, 1)

    outage.succeeded("b", operation="follow")
    assert len(caplog.records) == 2


def test_an_outage_that_the_last_party_leaves_is_forgotten(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    outage.failed("a", AWAY, operation="follow")
    outage.failed("b", AWAY, operation="follow")
    outage.left("a")
    assert (outage.waiting, outage.tries) == (1, 2)
    outage.left("b")
    assert (outage.since, outage.tries, len(caplog.records)) == (None, 0, 1)

    outage.failed("c", AWAY, operation="follow")
    assert len(caplog.records) == 2


def test_an_outage_that_goes_on_is_told_again_after_a_while(
    outage: Outage, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    for reminder in (60.0, 0.0, 60.0):
        monkeypatch.setattr("perdure.outage.REMINDER", reminder)
        outage.failed("a", AWAY, operation="follow")

    assert len(caplog.records) == 2
    assert ", 2 tries: the server is away" in caplog.records[1].message


def test_a_database_that_is_away_is_told_by_its_store_alone(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    told_elsewhere = StoreUnavailableError("away")
    told_elsewhere.is_away = True
    caplog.set_level(logging.DEBUG, "perdure.log")

    outage.failed("a", told_elsewhere, operation="follow")
    outage.succeeded("a", operation="follow")
    assert records(caplog) == [
        ("DEBUG", "following the log has to wait"),
        ("DEBUG", "following the log goes on after 0.0 s and 1 failed tries"),
    ]

    outage.failed("a", told_elsewhere, operation="follow")
    outage.failed("a", AWAY, operation="follow")
    outage.failed("a", told_elsewhere, operation="follow")
    outage.succeeded("a", operation="follow")
    assert [level for level, _ in records(caplog)] == ["DEBUG"] * 3 + ["WARNING", "DEBUG", "WARNING"]


def test_what_nobody_foresaw_is_told_with_its_traceback(outage: Outage, caplog: pytest.LogCaptureFixture) -> None:
    outage.failed("a", ZeroDivisionError("once"), operation="follow")

    assert caplog.records[0].exc_info
