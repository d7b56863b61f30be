"""Words in figures."""

import pytest

from kvorum.report.figures.sheet import percent


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0.0, "0%"),
        (0.001, "<1%"),
        (0.005, "<1%"),
        (0.256, "26%"),
        (0.994, "99%"),
        (0.996, ">99%"),
        (1.0, "100%"),
    ],
)
def test_few_are_not_none_and_most_are_not_all(share: float, words: str) -> None:
    assert percent(share) == words
