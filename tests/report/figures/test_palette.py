import numpy as np
import pytest

from kvorum.report.figures.palette import DARK, LIGHT, SIZES

NAMED = ("confident", "torn", "disputed", "retained", "forgotten", "acquired", "never-known", *SIZES)


def luminance(colour: str) -> float:
    """Relative luminance, of WCAG 2."""
    parts = np.array([int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)])
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_a_colour_of_the_light_palette_has_one_name_and_a_dark_counterpart():
    """In the page a colour is replaced by its name, so two names for one colour would be mixed up."""
    assert len(set(LIGHT.values())) == len(LIGHT)
    assert LIGHT.keys() == DARK.keys()


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_named_colours_stand_out_from_their_surroundings(palette):
    assert min(contrast(palette[name], palette["panel"]) for name in NAMED) >= 2


@pytest.mark.parametrize("palette", [LIGHT, DARK])
def test_the_larger_an_ensemble_the_stronger_its_colour(palette):
    strengths = [contrast(palette[name], palette["panel"]) for name in SIZES]
    assert np.all(np.diff(strengths) > 0.5)
