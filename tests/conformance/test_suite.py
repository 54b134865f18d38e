"""The suite can fail: each store that breaks a promise is found out."""

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from tests.patience import patience

BROKEN = {
    "NoVersionCheck": {"does_not_hold", "exactly_one_wins", "no_update_is_lost"},
    "ChecksThenWrites": {"exactly_one_wins", "no_update_is_lost"},
    "ForgetsIds": {
        "repeating_an_append",
        "ids_of_another_append",
        "many_times_at_once",
        "another_event_under_a_known_id",
    },
    "IgnoresContents": {"another_event_under_a_known_id", "another_event_in_one_stream", "many_contents_under_one_id"},
    "ComparesTexts": {"written_by_other_code"},
    "TakesRepeatsForNew": {"says_whether_it_is_a_repeat"},
    "ForgetsAppendIds": {"with_an_id_is_written_once", "in_a_longer_one"},
    "ConflictsBeforeIds": {"repeating_an_append", "ids_of_another_append", "many_times_at_once"},
    "CommitsLate": {"miss_nothing"},
    "ReadsFromOnwards": {"strictly_after_a_position"},
    "RunsAhead": {"position_is_a_checkpoint"},
    "ForgetsUpTo": {"up_to_an_append_includes_it", "no_append_was_given"},
    "NeverTells": {"catches_up_and_then_is_told"},
    "IgnoresFilters": {"by_category_and_type", "look_for_certain_events"},
    "ReadsOneOfSeveralCategories": {"several_categories", "may_follow_several_categories"},
    "TakesAStreamForItsCategory": {"by_stream", "may_follow_one_stream"},
    "FiltersPagesOfStreams": {"stream_can_be_read_by_type", "skips_none"},
    "ReadsBackwardsFromOnwards": {"a_stream_is_read_backwards", "the_log_is_read_backwards"},
    "IgnoresFiltersBackwards": {"selection_is_read_both_ways", "a_page_is_the_same"},
    "MissesTheNewestBackwards": {"begins_now", "the_log_is_read_backwards"},
    "LeavesOutTheBeginningOfARange": {"begin_at_a_time", "not_its_end"},
    "TakesTheEndOfARange": {"not_its_end"},
    "ComparesHalfOfTheCorrelationId": {"any_text"},
    "DropsMetadata": {"metadata_comes_back", "context_of_the_call"},
    "ChecksNothing": {"bad_stream_ids", "bad_expected_versions"},
    "WritesHalf": {"does_not_hold"},
    "KeepsTheLastWrittenSnapshot": {"makes_way_for_a_later_one_only"},
    "TrustsSnapshots": {"does_not_fit_the_log", "beyond_the_end"},
    "MixesVersions": {"counted_by_version"},
    "SamplesTheOldest": {"oldest_and_the_newest"},
    "ForgetsVersionsOfSchemas": {"older_versions", "tells_all_about_itself"},
    "SharesItsEvents": {"not_seen_by_the_next_reader"},
    "AppendsOneByOne": {
        "does_not_hold_writes_nothing",
        "of_another_group",
        "overlapping_groups",
    },
    "IgnoresConditions": {"does_not_hold_writes_nothing", "rely_on_what_the_other_changes"},
    "SortsGroups": {"stands_in_the_order_given"},
    "ConflictsBeforeIdsOfGroups": {
        "repeating_a_group",
        "of_another_group",
        "same_group_many_times",
    },
    "ClaimsTransactions": {"that_is_claimed_is_there"},
    "LocksNothing": {"one_block_at_a_time"},
    "LocksAllStreamsAtOnce": {"one_block_at_a_time"},
    "KeepsItsLocksAfterErrors": {"one_block_at_a_time"},
    "ClaimsNotifications": {"that_is_claimed_is_there"},
    "ClaimsMore": {"this_suite_does_not_test"},
    "HidesItsSnapshots": {"that_is_not_claimed_is_not_there"},
    "StaysOpen": {"closed_store"},
}


pytestmark = pytest.mark.timeout(patience(600))  # the first test runs hundreds


@pytest.fixture(scope="module")
def failures() -> dict[str, set[str]]:
    """Which tests of the suite fail: of all for the sound store, of those that must for each of the broken ones."""
    wanted = [f"(Test{store} and ({' or '.join(names)}))" for store, names in BROKEN.items()]
    options = (
        "-k",
        " or ".join(["TestSoundStore", "what_the_model_says", *wanted]),
        "-p",
        "no:randomly",
        "-p",
        "no:cacheprovider",
        f"--timeout={patience(5)}",
        "--tb=no",
        "-rfE",
        "-q",
        "--hypothesis-profile=broken",
    )
    run = subprocess.run(
        [sys.executable, "-m", "pytest", str(Path(__file__).with_name("broken_stores.py")), *options],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    found = defaultdict(set)
    for store, test in re.findall(r"^FAILED .*::Test(\w+)::test_(\w+)", run.stdout, re.MULTILINE):
        found[store].add(test)
    assert "error" not in run.stdout.splitlines()[-1], run.stdout + run.stderr
    return found


@pytest.mark.parametrize("store", BROKEN)
def test_a_broken_store_is_found_out(failures: dict[str, set[str]], store: str) -> None:
    missed = {name for name in BROKEN[store] if not any(name in failed for failed in failures[store])}

    assert missed == set()


def test_any_calls_find_most_broken_stores_out(failures: dict[str, set[str]]) -> None:
    """Which ones is a matter of what is drawn, and of how far it comes in its time."""
    found = [store for store in BROKEN if any("what_the_model_says" in failed for failed in failures[store])]

    assert len(found) >= 10, found


def test_a_sound_store_passes(failures: dict[str, set[str]]) -> None:
    assert failures["SoundStore"] == set()
