"""The names of the functions, whose places seeds depend on."""

from kvorum.acquisition import ACQUISITION_NAMES, ACQUISITIONS


def test_places_of_the_names_never_change() -> None:
    assert ACQUISITION_NAMES[:8] == (
        "random",
        "entropy",
        "margin",
        "least_confidence",
        "mutual_information",
        "power_bald",
        "batch_bald",
        "k_centre",
    )
    assert set(ACQUISITIONS) == set(ACQUISITION_NAMES)
