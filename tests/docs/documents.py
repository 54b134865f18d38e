"""The documents and their code blocks.

A Python block before a text block is a whole program, and the text is its output. Other Python blocks are fragments.
"""

import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]

_BLOCK = re.compile(r"^```(?P<language>\w*)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)


class Block(NamedTuple):
    language: str
    text: str
    output: str | None
    """The output of a program; None for a fragment."""


def blocks(document: str, language: str) -> list[Block]:
    """The blocks of a language, in order."""
    return [block for block in _blocks(document) if block.language == language]


def programs(path: Path) -> list[Block]:
    return [block for block in blocks(path.read_text(encoding="utf-8"), "python") if block.output is not None]


def prose(document: str) -> str:
    """The document without its blocks."""
    return _BLOCK.sub("", document)


def run(program: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a program in its folder, as a reader would."""
    command = [sys.executable, program.name]
    return subprocess.run(
        command, cwd=program.parent, env=environment, capture_output=True, text=True, timeout=100, check=False
    )


def shown(path: Path) -> str:
    return str(path.relative_to(ROOT))


def _blocks(document: str) -> Iterator[Block]:
    found = list(_BLOCK.finditer(document))
    for block, after in zip_longest(found, found[1:]):
        followed = (
            after is not None and after["language"] == "text" and not document[block.end() : after.start()].strip()
        )
        yield Block(block["language"], block["text"], after["text"] if after is not None and followed else None)
