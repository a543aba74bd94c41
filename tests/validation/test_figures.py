"""Figures hold the data that they should, and leave nothing out in silence."""

from __future__ import annotations

import itertools
import math
import re
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.collections import QuadMesh
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.patches import StepPatch

from understudy.geometry import Calorimeter, Layer
from understudy.validation import figures, figures_curves, figures_histograms, figures_numbers, figures_showers, figures_structure
from understudy.validation.curves import Curve
from understudy.validation.resolution_fit import ResolutionFit


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def test_histogram_loses_no_event(rng: np.random.Generator) -> None:
    values = rng.normal(size=1000)
    values[:7] = np.nan
    weights = rng.normal(1.0, 0.8, 1000)
    h = figures_histograms.histogram(values, np.linspace(-1, 1, 11), weights)
    assert h.contents.sum() + h.under + h.over + h.undefined == pytest.approx(weights.sum())
    assert h.undefined == pytest.approx(weights[:7].sum())
    assert h.outside == pytest.approx((h.under + h.over) / h.defined)
    counts = figures_histograms.histogram(values, np.linspace(-1, 1, 11))
    assert counts.contents.sum() + counts.under + counts.over == 993
    assert counts.undefined == 7


def test_histogram_agrees_with_a_slow_twin(rng: np.random.Generator) -> None:
    values, weights = rng.uniform(0, 4, 200), rng.uniform(-1, 2, 200)
    values[0] = 3.0  # the last edge belongs to the last bin
    edges = np.array([0.5, 1.0, 2.0, 3.0])
    h = figures_histograms.histogram(values, edges, weights)
    for i, (low, high) in enumerate(itertools.pairwise(edges)):
        inside = [w for v, w in zip(values, weights, strict=True) if low <= v < high or (i == 2 and v == high)]
        assert h.contents[i] == pytest.approx(sum(inside))
        assert h.error[i] == pytest.approx(math.sqrt(sum(w * w for w in inside)))


def test_integers_get_bins_of_their_own() -> None:
    edges = figures_histograms.bin_edges(np.repeat([0.0, 1.0, 2.0, 5.0], 50))
    assert np.allclose(edges, np.arange(-0.5, 6))
    many = figures_histograms.bin_edges(np.arange(1000.0))
    assert len(many) <= figures_histograms.MANY_INTEGERS + 2
    assert np.allclose(np.diff(many), np.diff(many)[0])
    assert np.diff(many)[0] == round(np.diff(many)[0])


def test_bins_need_a_reference_with_values() -> None:
    with pytest.raises(ValueError, match="without any defined value"):
        figures_histograms.bin_edges(np.full(5, np.nan))


def test_overlay_draws_the_histograms(rng: np.random.Generator) -> None:
    reference, candidate = rng.normal(50_000, 2000, 2000), rng.normal(51_000, 2000, 1500)
    drawn = figures_histograms.overlay("$E$", "MeV", ("ref", reference, None), {"cand": (candidate, None)})
    top, below = drawn.figure.axes
    shown = [p.get_data() for p in top.patches if isinstance(p, StepPatch)]
    fractions = drawn.histograms["cand"].fractions[0]
    assert fractions.sum() + drawn.histograms["cand"].outside == pytest.approx(1.0)
    assert np.allclose(shown[-1].values, fractions)
    assert np.allclose(shown[-1].edges, drawn.histograms["ref"].edges * 1e-3)
    assert "GeV" in below.get_xlabel()


def test_ratios_beyond_the_axis_are_arrows(rng: np.random.Generator) -> None:
    edges = np.linspace(0, 1, 5)
    base = figures_histograms.Histogram(edges, np.array([100.0, 100, 100, 100]), np.full(4, 10.0), 0, 0, 0)
    other = figures_histograms.Histogram(edges, np.array([100.0, 390, 5, 100]), np.full(4, 10.0), 0, 0, 0)
    axes = Figure().add_subplot()
    figures_histograms.draw_ratio(axes, {"ref": base, "cand": other})
    points = [line for line in axes.lines if line.get_marker() not in ("None", "", None)]
    assert sum(len(np.asarray(line.get_xdata())) for line in points) == 4
    arrows = [line for line in points if line.get_marker() in ("^", "v") and not line.get_clip_on()]
    assert sum(len(np.asarray(line.get_xdata())) for line in arrows) >= 1
    low, high = axes.get_ylim()
    assert all(low <= y <= high for line in points for y in np.asarray(line.get_ydata(), float))


def test_colours_and_markers_tell_candidates_apart() -> None:
    names = [f"c{i}" for i in range(12)]
    pairs = {(figures.colours(names)[n], figures.markers(names)[n]) for n in names}
    assert len(pairs) == 12
    assert figures.colours(["a", "b"])["a"] == figures.colours(["a"])["a"]
    assert not {"#d4d4d4", figures.REFERENCE_LINE} & set(figures.colours(names).values())


def test_svg_is_sound_short_and_the_same_each_time(rng: np.random.Generator) -> None:
    values = rng.normal(size=500)

    def draw() -> figures.Picture:
        drawn = figures_histograms.overlay("$x$", "mm", ("a <b> & $c", values, None), {"d$": (values + 0.1, None)})
        return figures.svg(drawn.figure, "alt")

    first, second = draw(), draw()
    assert first == second
    assert (first.width, first.height) == (336, 336)
    root = ElementTree.fromstring(first.data)
    ids = {e.get("id") for e in root.iter() if e.get("id")}
    text = first.data.decode()
    used = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    assert used
    assert used <= ids
    assert len(first.data) < 60_000
    assert first.uri.startswith("data:image/svg+xml;base64,")


def polygon_area(x: np.ndarray, y: np.ndarray) -> float:
    return 0.5 * abs(float(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))))


def mesh_areas(mesh: QuadMesh) -> np.ndarray:
    c = np.asarray(mesh.get_coordinates())
    areas = np.empty((c.shape[0] - 1, c.shape[1] - 1))
    for i in range(areas.shape[0]):
        for j in range(areas.shape[1]):
            corners = c[[i, i + 1, i + 1, i], [j, j, j + 1, j + 1]]
            areas[i, j] = polygon_area(corners[:, 0], corners[:, 1])
    return areas


def test_cells_have_their_true_sizes() -> None:
    layer = Layer("a", ((0.0, 1.0, 3.0), (0.0, 0.5, 1.0, 4.0)), ("x", "y"), ("mm", "mm"))
    image = np.arange(6.0).reshape(2, 3)
    mesh = figures_showers.draw_layer(Figure().add_subplot(), layer, image, Normalize(0, 5), "viridis")
    assert np.allclose(mesh_areas(mesh).ravel(), layer.areas)
    assert np.allclose(np.asarray(mesh.get_array()).ravel(), image.ravel())


def test_polar_cells_have_their_true_sizes() -> None:
    alpha = tuple(np.linspace(-math.pi, math.pi, 5))
    layer = Layer("p", (alpha, (0.0, 2.0, 5.0)), ("alpha", "r"), ("rad", "mm"), "polar")
    image = np.arange(8.0).reshape(4, 2)
    mesh = figures_showers.draw_layer(Figure().add_subplot(), layer, image, Normalize(0, 8), "viridis")
    pieces = mesh_areas(mesh).reshape(4, -1, 2).sum(1)
    assert np.allclose(pieces.ravel(), layer.areas, rtol=2e-3)
    assert np.allclose(np.asarray(mesh.get_array()).reshape(4, -1, 2).mean(1), image)


def test_empty_cells_are_left_blank_on_a_logarithmic_scale() -> None:
    layer = Layer.grid("a", (2, 2), (1.0, 1.0), (0.0, 0.0))
    mesh = figures_showers.draw_layer(
        Figure().add_subplot(), layer, np.array([[0.0, 1], [-1, np.nan]]), LogNorm(0.1, 10), "viridis"
    )
    assert np.ma.getmaskarray(mesh.get_array()).ravel().tolist() == [True, False, True, True]


def test_many_layers_are_cut_to_the_fullest() -> None:
    layers = tuple(Layer.grid(f"l{i}", (1, 2), (1.0, 1.0), (0.0, 0.0)) for i in range(20))
    geometry = Calorimeter("deep", layers)
    cells = np.repeat(np.r_[np.arange(10.0), np.arange(10.0, 0, -1)], 2)
    shown = [layer.name for layer in figures_showers.shown_layers(geometry, cells)]
    assert len(shown) == figures_showers.MOST_LAYERS
    assert shown == sorted(shown, key=lambda n: int(n[1:]))
    assert "l10" in shown
    assert "l0" not in shown


def test_grids_have_a_panel_for_each_layer_and_sample(rng: np.random.Generator) -> None:
    geometry = Calorimeter(
        "g", (Layer.grid("a", (2, 3), (1.0, 1.0), (0.0, 0.0)), Layer.grid("b", (4, 1), (1.0, 1.0), (0.0, 0.0)))
    )
    means = {n: rng.uniform(1, 100, 10) for n in ("ref", "one", "two")}
    grid = figures_showers.mean_figure(geometry, means)
    assert sum(isinstance(c, QuadMesh) for a in grid.axes for c in a.collections) - 1 == 6  # one belongs to the colour bar
    means["one"][3] = 2 * means["ref"][3]
    ratio = figures_showers.ratio_figure(geometry, means, "ratio")
    values = np.ma.asarray(ratio.axes[0].collections[0].get_array()).ravel()
    assert values[3] == pytest.approx(2.0)
    found = figures_showers.neighbours_figure(geometry, means["ref"], rng.uniform(0, 9, (5, 10)), np.arange(5.0), np.ones(6))
    assert len([a for a in found.axes if a.get_title()]) == 6


def curve(y: list[float], error: float = 1.0) -> Curve:
    return Curve("r", np.array([1000.0, 10_000, 100_000]), np.array(y), np.full(2, error), "MeV", "$r$")


def test_curves_show_pulls_and_arrows() -> None:
    drawn = figures_curves.curve_figure(("ref", curve([1.0, 2.0])), {"cand": curve([1.0 + math.sqrt(2), 50.0])})
    top, below = drawn.axes
    points = {line.get_marker(): np.asarray(line.get_ydata(), float) for line in below.lines if len(np.asarray(line.get_xdata()))}
    assert points["o"].tolist() == pytest.approx([1.0])
    assert points["^"].tolist() == [5.0]
    assert top.get_xscale() == "log"
    assert "GeV" in below.get_xlabel()


def test_curves_with_empty_bins_and_named_bins_are_drawn() -> None:
    empty = curve([np.nan, 2.0])
    assert figures.svg(figures_curves.curve_figure(("ref", empty), {"c": curve([1.0, np.nan])}), "").data
    named = Curve("p", np.arange(3) - 0.5, np.ones(2), np.ones(2), x_unit="", ticks=("first", "second"))
    below = figures_curves.curve_figure(("ref", named), {"c": named}).axes[1]
    assert [t.get_text() for t in below.get_xticklabels()] == ["first", "second"]


def test_fits_are_lines_with_their_parameters() -> None:
    fit = ResolutionFit(("a", "c"), np.array([0.1, 0.01]), np.ones(2), np.eye(2), 1.0, 1)
    line = Curve("resolution_vs_energy", np.array([1000.0, 10_000, 100_000]), np.array([0.1, 0.03]), np.full(2, 0.01))
    drawn = figures_curves.curve_figure(("ref", line), {"cand": line}, fits={"ref": fit, "cand": fit})
    top = drawn.axes[0]
    dashed = [item for item in top.lines if item.get_linestyle() == "--"]
    assert len(dashed) == 2
    x, y = (np.asarray(v, float) for v in (dashed[0].get_xdata(), dashed[0].get_ydata()))
    np.testing.assert_allclose(y, np.sqrt(0.01 / x + 1e-4))  # the axis is in GeV
    assert [t.get_text() for t in top.texts].count(fit.formula()) == 2
    assert figures.svg(drawn, "").data


def test_axes_follow_the_bins() -> None:
    wide = Curve("s", np.geomspace(0.01, 1e4, 7), np.geomspace(1, 1e-4, 6), np.full(6, 1e-5), logarithmic=True, x_unit="MeV")
    top, below = figures_curves.curve_figure(("ref", wide), {"c": wide}).axes
    assert top.get_xscale() == top.get_yscale() == "log"
    assert "MeV" in below.get_xlabel()
    even = Curve("b", np.linspace(0.01, 37.5, 11), np.arange(10.0), np.ones(10), "mm", x_unit="mm")
    assert figures_curves.curve_figure(("ref", even), {"c": even}).axes[0].get_xscale() == "linear"
    nothing = Curve("s", wide.edges, np.full(6, np.nan), np.full(6, np.nan), logarithmic=True)
    assert figures.svg(figures_curves.curve_figure(("ref", nothing), {"c": nothing}), "").data


def test_correlations_show_matrices_and_differences() -> None:
    one, two = np.eye(3), np.full((3, 3), 0.5) + 0.5 * np.eye(3)
    drawn = figures_structure.correlation_figure(None, {"ref": one, "c": two})
    images = [np.asarray(a.images[0].get_array()) for a in drawn.axes if a.images]
    assert np.allclose(images[0], one)
    assert np.allclose(images[1], two)
    assert np.allclose(images[2], two - one)


def test_distances_outside_the_axis_are_kept_in_the_outermost_bins() -> None:
    drawn = figures_structure.distances_figure("d", ("fresh", np.linspace(1, 2, 500)), {"copies": np.zeros(500)})
    shown = [p.get_data().values for p in drawn.axes[0].patches if isinstance(p, StepPatch)]
    assert all(values.sum() == pytest.approx(1.0) for values in shown)
    assert shown[-1][0] == pytest.approx(1.0)


def test_auc_chart_shows_every_judge_and_stands_missing_numbers() -> None:
    judged = {"auc": 0.7, "error": 0.01, "floor": 0.5, "floor_error": 0.01}
    missing = {"auc": None, "error": None, "floor": None, "floor_error": None}
    drawn = figures_numbers.auc_figure({"a": dict.fromkeys(figures_numbers.JUDGES, judged), "b": {"low_level": missing}})
    axes = drawn.axes[0]
    assert len(axes.get_xticklabels()) == len(figures_numbers.JUDGES)
    heights = [float(np.asarray(c.lines[0].get_ydata())[0]) for c in axes.containers]
    assert heights == [0.7] * 4
    assert len(axes.patches) == 4


def test_floors_chart_keeps_far_points_as_arrows() -> None:
    drawn = figures_numbers.floors_figure({"a": {"x": (3.0, 1.0), "y": (1e9, 1.0), "z": (1e-9, 1.0), "w": (1.0, 0.0)}}, "W")
    points = [line for line in drawn.axes[0].lines if line.get_marker() in ("o", "<", ">")]
    assert {line.get_marker(): np.asarray(line.get_xdata(), float).tolist() for line in points} == {
        "o": [3.0],
        "<": [figures_numbers.SHOWN[0]],
        ">": [figures_numbers.SHOWN[1]],
    }


def test_history_and_timing() -> None:
    rows = [
        {"epoch": 1, "score": {"score": 0.5, "w1": 3.0}, "losses": {"critic": -1.0}},
        {"epoch": 2, "score": {"score": 0.4, "w1": None}, "losses": {"critic": -2.0}},
        {"epoch": 3, "score": {"score": None}, "losses": {}},
        {"epoch": 4, "score": None},
    ]
    drawn = figures_numbers.history_figure(rows)
    assert drawn is not None
    assert [np.asarray(a.lines[0].get_ydata()).tolist() for a in drawn.axes] == [[0.5, 0.4], [-1.0, -2.0]]
    assert figures_numbers.history_figure([{"epoch": 1, "score": None, "losses": {}}]) is None
    timing = figures_numbers.timing_figure({"torch": {"100": 0.1, "1": 2.0, "10000": 0.01}, "onnx": {}})
    assert np.asarray(timing.axes[0].lines[0].get_xdata()).tolist() == [1, 100, 10000]
