import hypothesis.extra.numpy as arrays
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.colors import to_hex
from matplotlib.patches import PathPatch

from kvorum.report.figures.histograms import (
    Block,
    Panel,
    bins_for,
    colour_steps,
    count_cells,
    draw_histograms,
    mutual_information_ticks,
)
from kvorum.report.figures.palette import HEAT, LIGHT


def panel(entropy, mutual_information) -> Panel:
    return Panel(entropy=np.array(entropy, float), mutual_information=np.array(mutual_information, float))


def drawn(panels: list[Panel], rows: int = 1):
    columns = len(panels) // rows
    grid = tuple((f"row {row}", tuple(panels[row * columns : (row + 1) * columns])) for row in range(rows))
    return draw_histograms([Block(heading="a task", columns=tuple(f"c{n}" for n in range(columns)), rows=grid)])


def line(axes, gid):
    (found,) = [line for line in axes.lines if line.get_gid() == gid]
    return found


values = arrays.arrays(float, st.integers(0, 40), elements=st.floats(0, 3))


@given(values, values)
def test_every_question_is_in_one_cell(entropy, mutual_information):
    size = min(len(entropy), len(mutual_information))
    one = panel(entropy[:size], mutual_information[:size])
    assert count_cells(one, bins_for([one])).sum() == size


def test_a_question_is_in_the_cell_around_it():
    one = panel([0.0, 0.55, 1.0, 1.0], [0.0, 0.04, 0.25, 0.25])
    bins = bins_for([one])
    counts = count_cells(one, bins)
    for entropy, information, count in ((0.0, 0.0, 1), (0.55, 0.04, 1), (1.0, 0.25, 2)):
        x = min(np.searchsorted(bins.entropy, entropy, side="right") - 1, len(bins.entropy) - 2)
        y = np.searchsorted(bins.mutual_information, information, side="right") - 1
        assert counts[x, min(y, len(bins.mutual_information) - 2)] == count


def test_cells_are_of_equal_width_in_entropy_and_in_the_root_of_mutual_information():
    bins = bins_for([panel(np.linspace(0, 1.3, 50), np.linspace(0, 0.3, 50))])
    assert np.allclose(np.diff(bins.entropy, 2), 0)
    assert np.allclose(np.diff(np.sqrt(bins.mutual_information), 2), 0)
    assert bins.entropy[-1] >= 1.3
    assert bins.mutual_information[-1] == pytest.approx(0.3)


@settings(max_examples=60)
@given(st.integers(1, 5000))
def test_every_count_has_a_colour_and_no_colour_stands_twice(most):
    steps = colour_steps(most)
    lows = [low for low, _ in steps]
    assert lows[0] == 1
    assert lows == sorted(set(lows))
    assert lows[-1] <= most
    colours = [HEAT.index(colour) for _, colour in steps]
    assert colours == sorted(set(colours))


def test_mean_is_red_and_median_green_where_they_belong():
    random = np.random.default_rng(0)
    panels = [panel(random.uniform(0, 1.2, n), random.exponential(0.05, n)) for n in (30, 7)]
    for axes, one in zip(drawn(panels).figure.axes, panels, strict=True):
        for name, middle, colour in (("mean", np.mean, LIGHT["mean"]), ("median", np.median, LIGHT["median"])):
            marker = line(axes, name)
            assert marker.get_xdata()[0] == pytest.approx(middle(one.entropy))
            assert marker.get_ydata()[0] == pytest.approx(middle(one.mutual_information))
            assert to_hex(marker.get_markerfacecolor()) == colour
    red, green = (
        np.array([int(LIGHT[name][place : place + 2], 16) for place in (1, 3, 5)]) for name in ("mean", "median")
    )
    assert red.argmax() == 0
    assert green.argmax() == 1


def test_drawn_cells_carry_the_colours_of_their_counts():
    random = np.random.default_rng(1)
    one = panel(random.normal(0.6, 0.1, 400).clip(0), random.normal(0.05, 0.02, 400).clip(0))
    (axes,) = drawn([one]).figure.axes
    bins = bins_for([one])
    counts, steps = count_cells(one, bins), colour_steps(int(count_cells(one, bins).max()))
    centres_x = (bins.entropy[:-1] + bins.entropy[1:]) / 2
    centres_y = (bins.mutual_information[:-1] + bins.mutual_information[1:]) / 2
    patches = [patch for patch in axes.patches if isinstance(patch, PathPatch)]
    assert len(patches) > 3
    seen = 0
    for x, centre_x in enumerate(centres_x):
        for y, centre_y in enumerate(centres_y):
            colours = {
                to_hex(patch.get_facecolor())
                for patch in patches
                for corners in patch.get_path().to_polygons()
                if corners[:, 0].min() < centre_x < corners[:, 0].max()
                and corners[:, 1].min() < centre_y < corners[:, 1].max()
            }
            expected = {LIGHT[colour] for low, colour in steps if low <= counts[x, y]}
            assert colours == ({LIGHT[[c for low, c in steps if low <= counts[x, y]][-1]]} if expected else set())
            seen += counts[x, y]
    assert seen == 400


def test_an_empty_panel_says_so_and_has_no_markers():
    sheet = drawn([panel([0.3, 0.4], [0.1, 0.2]), panel([], [])], rows=2)
    full, empty = sheet.figure.axes
    assert [text.get_text() for text in empty.texts] == ["none"]
    assert not empty.lines
    assert len(full.lines) == 6


def test_members_that_agree_lie_on_the_ground():
    """At epoch 0 all members are equal, and what rounding leaves must not fill the picture."""
    one = panel([0.2, 0.9, 1.1], [0.0, 1e-17, 3e-16])
    counts = count_cells(one, bins_for([one]))
    assert counts[:, 0].sum() == 3
    (axes,) = drawn([one]).figure.axes
    assert axes.get_ylim()[1] == pytest.approx(1e-3)


def test_nothing_at_all_can_be_drawn():
    assert drawn([panel([], []), panel([], [])], rows=2).png().startswith(b"\x89PNG")


@given(st.floats(1e-3, 3))
def test_ticks_start_at_zero_and_do_not_crowd(highest):
    ticks = mutual_information_ticks(highest)
    assert ticks[0] == 0
    assert max(ticks) <= highest
    assert len(ticks) >= 2
    assert np.diff(np.sqrt(ticks)).min() >= 0.16 * np.sqrt(highest)


def test_panels_of_a_figure_share_their_scales():
    sheet = drawn([panel([0.1], [0.0]), panel([1.2], [0.4])])
    one, other = sheet.figure.axes
    assert one.get_xlim() == other.get_xlim()
    assert one.get_ylim() == other.get_ylim()
