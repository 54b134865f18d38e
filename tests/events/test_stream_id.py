"""`category-id`: what can be one, and what is told of what can't."""

import pytest

from perdure import InvalidArgumentError, InvalidStreamIdError, ReservedCategoryError
from perdure.events import (
    LONGEST_STREAM_ID,
    check_category,
    check_own_category,
    check_own_stream,
    check_stream_id,
)


@pytest.mark.parametrize(
    "stream_id", ["user-123", "user-a-b-c", "u-1", "käse-ö", "user profile-1 2", "a--", "x-" + "y" * 510]
)
def test_a_category_and_an_id_make_a_stream_id(stream_id: str) -> None:
    check_stream_id(stream_id)


@pytest.mark.parametrize(
    ("stream_id", "reason"),
    [
        ("", "is empty"),
        ("user", "lacks a category, a hyphen or an id"),
        ("user-", "lacks a category, a hyphen or an id"),
        ("-123", "lacks a category, a hyphen or an id"),
        ("-", "lacks a category, a hyphen or an id"),
        ("user-1\x00", "control character"),
        ("us\ner-1", "control character"),
        ("user-1\n", "control character"),
        ("user-\ud800", "lone surrogate"),
        ("user-" + "x" * LONGEST_STREAM_ID, "is longer than 512 characters"),
        (None, "isn't a string"),
        (123, "isn't a string"),
        (b"user-1", "isn't a string"),
    ],
)
def test_anything_else_is_refused_with_the_reason(stream_id: object, reason: str) -> None:
    with pytest.raises(InvalidStreamIdError, match=reason) as caught:
        check_stream_id(stream_id)

    assert caught.value.stream_id == stream_id
    assert "'category-id', as in 'user-123'" in str(caught.value)


@pytest.mark.parametrize("category", ["user", "u", "userProfile", "user_profile", "ä"])
def test_a_category_holds_no_hyphen(category: str) -> None:
    check_category(category)


@pytest.mark.parametrize(
    ("category", "reason"),
    [
        ("", "is empty: use a word, such as 'user'"),
        (
            "user-profile",
            "'user-profile' contains a hyphen, which ends the category of a stream id: write 'user_profile'",
        ),
        ("-", "contains a hyphen"),
        ("a\x00", "contains a control character or a lone surrogate"),
        ("a\n", "contains a control character or a lone surrogate"),
        ("\ud800", "contains a control character or a lone surrogate"),
        ("x" * 513, "is longer than 512 characters"),
        (None, "None isn't a string"),
        (3, "3 isn't a string"),
    ],
)
def test_what_cant_begin_a_stream_id_isnt_a_category(category: object, reason: str) -> None:
    with pytest.raises(InvalidArgumentError) as caught:
        check_category(category)
    assert caught.value.argument == "category"
    assert reason in str(caught.value)


def test_only_perdure_writes_the_streams_of_processes() -> None:
    check_stream_id("process-trials.1")  # they can be read
    check_category("process")
    check_own_stream("processor-1")
    check_own_category("processes")

    with pytest.raises(ReservedCategoryError) as caught:
        check_own_stream("process-trials.1")
    assert str(caught.value) == (
        "stream_id 'process-trials.1' is in the category 'process', in which only Perdure writes: "
        "choose another category"
    )
    with pytest.raises(ReservedCategoryError, match="category is the category 'process', in which only Perdure writes"):
        check_own_category("process")
    with pytest.raises(InvalidArgumentError, match="contains a hyphen"):
        check_own_category("process-")
