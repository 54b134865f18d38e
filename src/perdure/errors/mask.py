"""Removes passwords from texts that are printed, logged or stored and may quote a database URL."""

from __future__ import annotations

import re
from typing import Final

HIDDEN: Final = "..."
"""The replacement for hidden text."""

_HOST: Final = r"(\[[0-9A-Fa-f:.]+\]|[^@:/?#\[\],\s]*)(:\d*)?"
DATABASE_URL: Final = re.compile(
    rf"postgres(ql)?(\+\w+)?://([^@/?#\s]*@)?{_HOST}(,{_HOST})*(/[^@/?#\s]*)?(\?\w+=[^@&#\s]*(&\w+=[^@&#\s]*)*)?"
)
"""Stricter than the standard: an unescaped character of a password must not end up in another part, and in messages."""

_PLAIN: Final = frozenset({
    *("application_name", "channel_binding", "command_timeout", "connect_timeout", "database", "dbname", "host"),
    *("hostaddr", "passfile", "port", "ssl", "sslcert", "sslcrl", "sslkey", "sslmode", "sslrootcert"),
    *("target_session_attrs", "timeout", "user"),
})  # fmt: skip
"""Parameters of a URL that hold no secret. All others are hidden, as their names may be escaped."""

# Every repeat before the part that must match is bounded; otherwise the time grows with the square of the length.
_URL: Final = re.compile(r"([A-Za-z][A-Za-z0-9_+.-]{0,40}://)(\S*)")
_PORT: Final = re.compile(r"[^:/?#]*:\d*(?![^/?#,;'\")\]\s])")
# SQLAlchemy's hide_password=False holds no secret: it is part of the cure in an error of `DatabaseURL`.
_SETTING: Final = re.compile(
    r"""(?ix) (?!(?<=hide_)password=False\)) ((?:password|passwd|pwd|secret|token)\w{0,40}) (\s*=\s*|["']\s*:\s*)"""
    r"""('(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|[^\s&#,;)}\]"']+)"""
)


def masked_url(url: str) -> str:
    """Return a database URL without its secrets; only dots if the text isn't a valid URL."""
    return masked_text(url) if DATABASE_URL.fullmatch(url) else HIDDEN


def masked_text(text: str) -> str:
    """Return a text with the secrets hidden in all URLs and settings that it quotes.

    It hides too much rather than too little, because a malformed URL may end anywhere.
    """
    return "\n".join(_SETTING.sub(rf"\1\2{HIDDEN}", _without_credentials(line)) for line in text.split("\n"))


def _without_credentials(line: str) -> str:
    parts: list[str] = []
    end = 0
    while found := _URL.search(line, end):
        scheme, address = found.groups()
        parts += [line[end : found.start()], scheme]
        end = found.end()
        if _has_open_end(address):
            address += line[end:]
            end = len(line)
        parts.append(_without_password(scheme, address))
    return "".join([*parts, line[end:]])


def _without_password(scheme: str, address: str) -> str:
    credentials, at, place = address.rpartition("@")
    if at:
        user, colon, _ = credentials.partition(":")
        address = f"{user}{colon and colon + HIDDEN}@{place}"
    elif _has_open_end(address):
        address = f"{address.partition(':')[0]}:{HIDDEN}"
    return _without_parameters(address) if scheme.lower().startswith("postgres") else address


def _has_open_end(address: str) -> bool:
    # "user:password" without "@": the password contained a space, or the text was cut off.
    return "@" not in address and ":" in address and not address.startswith("[") and not _PORT.match(address)


def _without_parameters(address: str) -> str:
    place, mark, query = address.partition("?")
    pairs = (pair.partition("=") for pair in query.split("&"))
    shown = (f"{name}={value if name in _PLAIN else HIDDEN}" if sign else name for name, sign, value in pairs)
    return place + mark + "&".join(shown)
