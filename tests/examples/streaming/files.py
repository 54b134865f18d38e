"""Files as MovieLens has them, few lines each."""

from pathlib import Path

MOVIES = """movieId,title,genres
1,Toy Story (1995),Adventure|Animation|Children
2,"Amélie, ou l'autre (2001)",Comedy
3,"11'09\"\"01 - September 11 (2002)",(no genres listed)
"""
RATINGS = """userId,movieId,rating,timestamp
1,1,4.0,964982703
1,3,0.5,964981247
2,1,5.0,964982224
"""
TAGS = """userId,movieId,tag,timestamp
2,3,"moving, ""true"" story",1445714994
3,1,café,1445714996
"""


def write_files(folder: Path) -> None:
    for name, text in (("movies.csv", MOVIES), ("ratings.csv", RATINGS), ("tags.csv", TAGS)):
        (folder / name).write_text(text, encoding="utf-8")
