"""The envelope of CloudEvents: attributes as headers, or one object with the data."""

import json
from urllib.parse import unquote
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st

from perdure import Message

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


def message(attributes: dict[str, str], data: bytes = b"{}") -> Message:
    return Message("users", "user-1", UUID(int=1), attributes, data)


def test_headers_have_the_prefix_of_their_broker() -> None:
    assert message({"id": "1", "type": "a"}).headers("ce_", quoted=False) == {"ce_id": "1", "ce_type": "a"}


def test_a_header_is_encoded_as_the_specification_says() -> None:
    assert message({"subject": "Euro € 😀"}).headers("ce-") == {"ce-subject": "Euro%20%E2%82%AC%20%F0%9F%98%80"}


@given(TEXT)
def test_a_quoted_header_is_printable_and_can_be_read_back(value: str) -> None:
    header = message({"subject": value}).headers("ce-")["ce-subject"]

    assert all("!" <= character <= "~" and character != '"' for character in header)
    assert unquote(header, errors="strict") == value


@given(
    TEXT, st.recursive(st.none() | st.booleans() | TEXT, lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner))
)
def test_the_structured_form_holds_attributes_and_data(value: str, data: object) -> None:
    encoded = json.dumps(data).encode()

    assert json.loads(message({"subject": value}, encoded).structured()) == {"subject": value, "data": data}
