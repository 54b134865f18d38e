"""Bad values, by what they are no good as. Each list goes from the wrong type over empty and huge to the hostile."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta, timezone, tzinfo
from typing import Final
from uuid import UUID

Values = Sequence[object]


class Nameless:
    """Can't even be shown in a message."""

    def __repr__(self) -> str:
        raise RuntimeError("no")


class Undecided(tzinfo):
    """A time zone that says nothing: Python counts such a time as naive."""

    def utcoffset(self, _: datetime | None) -> None: ...
    def dst(self, _: datetime | None) -> None: ...
    def tzname(self, _: datetime | None) -> None: ...


HUGE_TEXT: Final = "x" * 1_000_000
HUGE_NUMBER: Final = 10**5000
"""Has more digits than Python writes out."""
NAN: Final = float("nan")
INFINITE: Final = float("inf")
NUL: Final = "a\x00b"
SURROGATE: Final = "a\ud800b"

NOT_TEXT: Final = (None, 5, True, b"note-1", ["note-1"], HUGE_NUMBER, Nameless(), object)
UNSTORABLE_TEXT: Final = (NUL, SURROGATE)
NOT_A_COUNT: Final = (None, True, False, "1", b"1", 1.0, [1], -1, NAN, INFINITE, 2**63, 10**30, HUGE_NUMBER, Nameless())
NOT_SECONDS: Final = (None, True, "1", b"1", [1], 1j, -1, -0.1, NAN, INFINITE, -INFINITE, HUGE_NUMBER, Nameless())
NOT_A_FLAG: Final[Values] = (None, 0, 1, "", "no", b"", [], Nameless())
NOT_A_FUNCTION: Final[Values] = (None, 5, True, "f", b"f", [], HUGE_NUMBER, Nameless())
NOT_A_CLASS: Final[Values] = (None, 5, True, "Note", b"Note", [], Nameless())
NOT_A_LIST: Final[Values] = (None, 5, True, "ab", b"ab", {}, {*()}, iter([]), HUGE_NUMBER, Nameless())
NOT_A_MAPPING: Final = (None, 5, True, "ab", b"ab", [("a", "b")], HUGE_NUMBER, Nameless())
NOT_A_UUID: Final = (None, 5, True, "5", str(UUID(int=5)), UUID(int=5).bytes, Nameless())
NOT_A_TIME: Final = (
    None,
    5,
    True,
    "2030-01-01T00:00:00Z",
    b"",
    date(2030, 1, 1),
    datetime(2030, 1, 1),  # noqa: DTZ001 - naive is the point
    datetime(2030, 1, 1, tzinfo=Undecided()),
    datetime.max.replace(tzinfo=timezone(timedelta(hours=-1))),
    Nameless(),
)
A_TIME: Final = datetime(2030, 1, 1, tzinfo=UTC)

NOT_A_STREAM_ID: Final = (
    *NOT_TEXT,
    "",
    " ",
    "-",
    "note",
    "note-",
    "-1",
    "note-\n",
    *(f"note-{text}" for text in UNSTORABLE_TEXT),
    HUGE_TEXT,
    f"note-{HUGE_TEXT}",
)
NOT_A_CATEGORY: Final = (*NOT_TEXT, "", "a-b", "a\n", *UNSTORABLE_TEXT, HUGE_TEXT)
NOT_IN_A_STREAM_ID: Final = ("", *UNSTORABLE_TEXT, "a\nb", HUGE_TEXT)
NOT_AN_EVENT_TYPE: Final = (*NOT_TEXT, "", " ", "a b", "a\nb", *UNSTORABLE_TEXT, HUGE_TEXT)
NOT_AN_EVENT_VERSION: Final = (*NOT_A_COUNT, 0, 32768)
NOT_A_VERSION_TO_EXPECT: Final = (*NOT_A_COUNT, "any", 2**31, object)
NOT_AN_EVENT: Final[Values] = (None, 5, "noted", b"noted", {}, object(), Nameless(), Nameless)
NOT_A_COMMAND_ID: Final = (*NOT_TEXT, "", *UNSTORABLE_TEXT)
NOT_A_SCHEMA: Final = (
    *NOT_TEXT,
    "",
    *UNSTORABLE_TEXT,
    "x" * 64,
    "é" * 32,
    HUGE_TEXT,
    "a$$b",
    "pg_catalog",
    "pg_mine",
    "information_schema",
)
NOT_A_URL: Final = (5, True, b"postgresql://h/d", "", " ", "h", "mysql://h/d", HUGE_TEXT, NUL, Nameless())

HOSTILE_NAMES: Final = (
    '"; drop table events; --',
    "'; drop table events; --",
    "a$1b%s{schema}\\",
    "{namespace}{table}{view}",
    "$tag$",
    "all \"of\" 'it' `here`",
    "select",
    "table",
    "user",
    "events",
    "Mixed Case",
    "ünïcödé 💥",
    "\u202egnp.exe",
    "pаyment",  # noqa: RUF001 - its second letter is Cyrillic: another name than it seems
    "x" * 63,
    "1",
    "*",
    "  ",
)
"""Legal as names, for PostgreSQL takes any text as a quoted identifier, and as data."""


def but(values: Values, *excepted: object) -> Values:
    """The values without some that are good here: None, say, where an argument is optional."""
    return tuple(
        value for value in values if not any(value is one or (type(value), value) == (str, one) for one in excepted)
    )
