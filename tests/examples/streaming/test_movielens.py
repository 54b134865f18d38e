from pathlib import Path

import pytest

from examples.streaming.demo.movielens import SourceError, read_movielens
from examples.streaming.demo.source import Rating, Tag, Title
from tests.examples.streaming.files import MOVIES, RATINGS, TAGS, write_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_files(tmp_path)
    return tmp_path


def test_titles_are_read(folder: Path) -> None:
    assert read_movielens(folder).titles == {
        1: Title(1, "Toy Story (1995)", ("Adventure", "Animation", "Children")),
        2: Title(2, "Amélie, ou l'autre (2001)", ("Comedy",)),
        3: Title(3, "11'09\"01 - September 11 (2002)", ()),
    }


def test_ratings_and_tags_are_read(folder: Path) -> None:
    source = read_movielens(folder)

    assert source.ratings == [Rating(1, 1, 4.0, 964982703), Rating(1, 3, 0.5, 964981247), Rating(2, 1, 5.0, 964982224)]
    assert source.tags == [Tag(2, 3, 1445714994), Tag(3, 1, 1445714996)]


def test_lines_may_end_as_on_windows(folder: Path) -> None:
    (folder / "tags.csv").write_bytes(TAGS.replace("\n", "\r\n").encode())

    assert len(read_movielens(folder).tags) == 2


@pytest.mark.parametrize("name", ["movies.csv", "ratings.csv", "tags.csv"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()

    with pytest.raises(SourceError, match=rf"{name} can't be read: No such file"):
        read_movielens(folder)


def test_another_file_is_refused(folder: Path) -> None:
    (folder / "ratings.csv").write_text(TAGS, encoding="utf-8")

    with pytest.raises(SourceError, match=r"ratings.csv doesn't begin with the line 'userId,movieId,rating,timestamp'"):
        read_movielens(folder)


@pytest.mark.parametrize("line", ["1,1,four,964982703", "1,1,4.0"])
def test_a_line_that_makes_no_sense_is_shown(folder: Path, line: str) -> None:
    (folder / "ratings.csv").write_text(f"{RATINGS}{line}\n", encoding="utf-8")

    with pytest.raises(SourceError, match=r"ratings.csv, line 5 can't be understood"):
        read_movielens(folder)


def test_text_that_is_not_utf8_is_told(folder: Path) -> None:
    (folder / "movies.csv").write_bytes(MOVIES.encode("latin-1"))

    with pytest.raises(SourceError, match=r"movies.csv isn't in UTF-8"):
        read_movielens(folder)


def test_files_without_a_rating_are_told(folder: Path) -> None:
    (folder / "ratings.csv").write_text(RATINGS.partition("\n")[0] + "\n", encoding="utf-8")

    with pytest.raises(SourceError, match="has no ratings"):
        read_movielens(folder)
