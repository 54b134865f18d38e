"""A story so small that its outcome can be worked out by hand, and a strategy for others."""

from hypothesis import strategies as st

from examples.streaming.demo.source import Rating, Source, Tag, Title

DAY = 86_400

TITLES = {
    1: Title(1, "Toy Story (1995)", ("Adventure", "Animation")),
    2: Title(2, "[bold]Heat[/] (1995)", ("Crime",)),
    3: Title(3, "Untold", ()),
    4: Title(4, "Never Watched", ("War",)),
}

SMALL = Source(
    "a small story",
    TITLES,
    ratings=[
        Rating(1, 1, 5.0, 7 * DAY),
        Rating(1, 3, 2.5, 14 * DAY),
        Rating(15, 2, 0.5, 14 * DAY),
        Rating(15, 1, 4.0, 14 * DAY + 60),
    ],
    tags=[
        Tag(1, 1, 14 * DAY),
        Tag(7, 2, 3 * DAY),  # by somebody who never rates, and so never registers
    ],
)

_movies = st.integers(1, 6)  # two of which are in no list of titles
_times = st.integers(800_000_000, 800_000_000 + 60 * DAY)

sources = st.builds(
    Source,
    st.just("made up by Hypothesis"),
    st.just(TITLES),
    st.lists(
        st.builds(Rating, st.integers(1, 15), _movies, st.integers(1, 10).map(lambda halves: halves / 2), _times),
        min_size=1,
        max_size=40,
    ),
    st.lists(st.builds(Tag, st.integers(1, 15), _movies, _times), max_size=10),
)
