"""Curves of cells, impact points and energies."""

import math
from dataclasses import replace

import numpy as np
import pytest

from understudy.events import Block, Events, Schema
from understudy.geometry import BARREL_RADIUS, Calorimeter, Layer, builtin
from understudy.validation.curve import compare_curves, row_means
from understudy.validation.curves import binned_mean
from understudy.validation.curves_all import Bins, every_curve
from understudy.validation.curves_energy import energy_curves, linearity
from understudy.validation.curves_impact import impact_axes, impact_curves, millimetres, slope_edges
from understudy.validation.curves_shower import (
    fractions_above,
    lateral_profile,
    ring_edges,
    shower_curves,
    sparsity,
    spectrum,
    threshold_edges,
)
from understudy.validation.observables import evaluate

LAYER = Layer.grid("ecal", (12, 10), (20.0, 20.0), (-120.0, -100.0), axes=("x", "y"), units=("mm", "mm"))
ECAL = Calorimeter("small-ecal", (LAYER,))
GIVEN = (
    Block("incident_energy", "MeV"),
    Block("momentum", "MeV", shape=(3,), columns=("px", "py", "pz")),
    Block("position", "mm", shape=(2,), columns=("x", "y")),
)
SCHEMA = Schema(GIVEN, (Block("showers", "MeV", shape=(120,), minimum=0.0),))


def electrons(n=1500, seed=1, sigma=9.0, depth=100.0, spot=5.0, slope=0.1, weights=None):
    """Gaussian showers of width `sigma` whose centre is the impact point carried on by `depth`."""
    generator = np.random.default_rng(seed)
    energy, slopes = 1000 * 2 ** generator.uniform(0, 6, n), generator.uniform(-slope, slope, (n, 2))
    position = generator.uniform(-spot, spot, (n, 2))
    centre = position + depth * slopes
    shares = 1.0
    for axis in (0, 1):
        t = (np.asarray(LAYER.edges[axis])[None] - centre[:, axis, None]) / (math.sqrt(2) * sigma)
        part = 0.5 * np.diff(np.vectorize(math.erf)(t), axis=1)
        shares = part[:, :, None] if axis == 0 else shares * part[:, None, :]
    total = 0.2 * energy * (1 + 0.1 / np.sqrt(energy / 1000) * generator.normal(size=n))
    cells = total[:, None] * shares.reshape(n, -1) * generator.gamma(20, 1 / 20, (n, 120))
    momentum = np.stack([slopes[:, 0], slopes[:, 1], np.ones(n)], 1) * energy[:, None]
    values = {"incident_energy": energy, "momentum": momentum, "position": position}
    return Events(SCHEMA, values, {"showers": cells}, weights)


def test_sparsity_is_the_mean_fraction_above_each_threshold():
    events = electrons(300, weights=np.random.default_rng(2).normal(1, 0.4, 300))
    edges = threshold_edges(events, ECAL)
    found = sparsity(events, ECAL, edges)
    assert edges[0] == pytest.approx(0.01)
    assert edges[-1] == pytest.approx(events["showers"].max())
    for k in (0, 8, 12):
        threshold = math.sqrt(edges[k] * edges[k + 1])
        fractions = [sum(e > threshold for e in row) / 120 for row in events["showers"]]
        assert found.y[k] == pytest.approx(np.average(fractions, weights=events.weights))
    assert (np.diff(found.y[np.isfinite(found.y)]) <= 0).all()


def test_cells_are_counted_by_their_energy():
    events = electrons(300, weights=np.random.default_rng(2).normal(1, 0.4, 300))
    edges = threshold_edges(events, ECAL)
    found = spectrum(events, ECAL, edges, LAYER)
    assert found.name == "cell_energies"
    for k in (4, 8, 12):
        low, high = np.float32(edges[k]), np.float32(edges[k + 1])
        counts = [sum(low < e <= high for e in row) for row in events["showers"]]
        assert found.y[k] == pytest.approx(np.average(counts, weights=events.weights))
    np.testing.assert_allclose(found.error, np.sqrt(np.diag(found.covariance)))


def test_bins_begin_below_a_read_out_threshold():
    events = electrons(100)
    cut = events.with_response({"showers": np.where(events["showers"] > 60.0, events["showers"], 0.0)})
    edges = threshold_edges(cut, ECAL)
    faintest = cut["showers"][cut["showers"] > 0].min()
    assert edges[0] == pytest.approx(faintest / 2)
    assert edges[1] < faintest
    assert np.isnan(spectrum(cut, ECAL, edges, LAYER).y[0])
    nothing = events.with_response({"showers": np.zeros_like(events["showers"])})
    np.testing.assert_allclose(threshold_edges(nothing, ECAL)[[0, -1]], [0.01, 0.1])


def test_fractions_above_by_hand():
    cells = np.array([[0.0, 1.0, 2.0, 3.0], [5.0, 5.0, 0.0, 0.0]], np.float32)
    np.testing.assert_array_equal(fractions_above(cells, np.array([0.0, 1.0, 4.0])), [[0.75, 0.5, 0.0], [0.5, 0.5, 0.5]])


def test_layers_of_several_have_a_sparsity_each():
    geometry = builtin("atlas-em-89")
    schema = Schema((Block("incident_energy", "MeV"),), (Block("showers", "MeV", shape=(89,)),))
    cells = np.random.default_rng(1).gamma(0.2, 100.0, (50, 89))
    events = Events(schema, {"incident_energy": np.full(50, 1e4)}, {"showers": cells})
    found = {c.name: c for c in shower_curves(events, geometry, threshold_edges(events, geometry))}
    names = geometry.layer_names
    assert set(found) == {
        "sparsity_vs_threshold", *(f"sparsity_{n}_vs_threshold" for n in names), *(f"cell_energies_{n}" for n in names)
    }  # fmt: skip
    sizes = [layer.n_cells for layer in geometry.layers]
    parts = np.array([found[f"sparsity_{n}_vs_threshold"].y[5] for n in geometry.layer_names])
    assert found["sparsity_vs_threshold"].y[5] == pytest.approx(parts @ sizes / 89)


def test_lateral_profile_of_a_gaussian_shower():
    events = electrons(800, sigma=25.0, slope=0.05)
    found = lateral_profile(events, ECAL, LAYER)
    edges = ring_edges(LAYER)
    area = math.pi * np.diff(edges**2)
    assert (found.y * area)[:-1].sum() == pytest.approx(1, abs=0.05)
    # Cells and their spreading widen the Gaussian by the variance of a uniform distribution, each.
    variance = 25**2 + 2 * 20**2 / 12
    expected = -np.diff(np.exp(-0.5 * edges**2 / variance)) / area
    np.testing.assert_allclose(found.y[:-1], expected[:-1], rtol=0.12)
    np.testing.assert_allclose(found.error, np.sqrt(np.diag(found.covariance)))


def test_row_means_have_the_covariance_of_means():
    generator = np.random.default_rng(4)
    mixed = np.array([[1.0, 0.5], [0.0, 1.0]])
    means = [row_means(generator.normal(size=(80, 2)) @ mixed, None, np.ones(80, bool)) for _ in range(400)]
    np.testing.assert_allclose(np.cov(np.array([m.y for m in means]).T), mixed.T @ mixed / 80, atol=0.004)
    np.testing.assert_allclose(np.mean([m.covariance for m in means], axis=0), mixed.T @ mixed / 80, rtol=0.1, atol=1e-3)


def test_row_means_leave_out_what_is_rare():
    rows = np.zeros((50, 3))
    rows[:, 0], rows[:9, 1], rows[:10, 2] = 1.0, 1.0, 1.0
    valid = np.r_[np.ones(50, bool), np.zeros(4, bool)]
    found = row_means(rows, np.ones(54), valid, keep=True, rare=True)
    np.testing.assert_array_equal(np.isnan(found.y), [False, True, False])
    assert found.influence.shape == (54, 3)
    assert (found.influence[50:] == 0).all()
    np.testing.assert_allclose((found.influence.astype(float) ** 2).sum(0)[[0, 2]], found.error[[0, 2]] ** 2, rtol=1e-5)
    np.testing.assert_allclose(row_means(rows, None, valid).y, [1.0, 0.18, 0.2])


def slow_offset(u, sigma):
    """Barycentre of a Gaussian in cells of 20 mm minus its centre, at `u` from a cell's lower edge."""
    total = moment = 0.0
    for i in range(-12, 13):
        low, high = 20.0 * i, 20.0 * (i + 1)
        part = 0.5 * (math.erf((high - u) / (math.sqrt(2) * sigma)) - math.erf((low - u) / (math.sqrt(2) * sigma)))
        total += part
        moment += part * (low + high) / 2
    return moment / total - u


def test_the_s_curve_is_that_of_the_profile():
    events = electrons(4000, sigma=6.0, slope=0.4)
    (x, y), slopes = impact_axes(events, ECAL), slope_edges(events)
    assert x.depth == pytest.approx(100, abs=1)
    assert x.folded
    found = {c.name: c for c in impact_curves(events, evaluate(events, ECAL), (x, y), slopes, True)}
    assert set(found) == {
        f"{k}_{a}{e}" for a in "xy" for k, e in (("s_curve", ""), ("barycentre", "_vs_impact"), ("offset", "_vs_slope"))
    }
    curve = found["s_curve_x"]
    expected = [
        np.mean([slow_offset(u, 6.0) for u in np.linspace(a, b, 9)])
        for a, b in zip(curve.edges[:-1], curve.edges[1:], strict=True)
    ]
    assert np.ptp(expected) > 2
    assert np.abs((curve.y - expected) / curve.error).max() < 4.5
    line = found["offset_x_vs_slope"]
    middle = 0.5 * (line.edges[1:] + line.edges[:-1])
    np.testing.assert_allclose(line.y, 100 * middle, atol=1.0)


def test_impact_points_of_several_cells_are_folded():
    wide = electrons(3000, seed=2, spot=40.0, slope=0.0, sigma=6.0)
    (x, _) = impact_axes(wide, ECAL)
    assert x.folded
    assert x.depth == 0
    np.testing.assert_allclose(x.within, np.linspace(0, 20, 11))
    assert slope_edges(wide) is None
    found = impact_curves(wide, evaluate(wide, ECAL), (x,), None, True)
    assert [c.name for c in found] == ["s_curve_x", "barycentre_x_vs_impact"]
    near = electrons(100, spot=9.0, slope=0.0)
    (inside, _) = impact_axes(near, ECAL)
    assert not inside.folded
    np.testing.assert_array_equal(inside.within, inside.edges)


def photons(n=600, seed=3):
    """All energy of the middle in the cell that is hit or its neighbour along eta, so that the barycentre is exact."""
    geometry = builtin("atlas-em-89")
    generator = np.random.default_rng(seed)
    position = generator.uniform(0, 1, (n, 2)) * (0.025 * BARREL_RADIUS, 36.8)
    share = position[:, 0] / (0.025 * BARREL_RADIUS)  # of the next cell: the barycentre follows the impact point
    cells = np.zeros((n, 89))
    middle = geometry.slices["middle"].start
    cells[:, middle + 1 * 7 + 3], cells[:, middle + 2 * 7 + 3] = 1000 * (1 - share), 1000 * share
    schema = Schema((GIVEN[0], GIVEN[2]), (Block("showers", "MeV", shape=(89,)),))
    return Events(schema, {"incident_energy": np.full(n, 1e3), "position": position}, {"showers": cells}), geometry


def test_eta_is_a_length_over_the_radius():
    events, geometry = photons()
    axes = impact_axes(events, geometry)
    assert [(a.layer, a.axis) for a in axes] == [("middle", "eta"), ("middle", "phi")]  # the others are empty
    found = {c.name: c for c in impact_curves(events, evaluate(events, geometry), axes, None, False)}
    # From the middle of one cell at 18.75 mm to that of the next one 37.5 mm on, in step with the impact point.
    np.testing.assert_allclose(found["s_curve_eta_middle"].y, 18.75, rtol=1e-4)
    inside = binned_mean(events["position"][:, 0], events["position"][:, 0], axes[0].edges)[0]
    np.testing.assert_allclose(found["barycentre_eta_middle_vs_impact"].y, 18.75 + inside, rtol=1e-4)
    assert found["s_curve_eta_middle"].unit == "mm"


def test_only_known_lengths_have_s_curves():
    events, geometry = photons(20)
    assert impact_axes(events, replace(geometry, name="another")) == ()
    assert impact_axes(events.select_conditions(["incident_energy"]), geometry) == ()
    assert millimetres(geometry, geometry.layer("middle")) == BARREL_RADIUS
    polar = Layer("ring", ((-math.pi, math.pi), (0.0, 5.0)), ("alpha", "r"), ("rad", "mm"), "polar")
    assert millimetres(Calorimeter("polar", (polar,)), polar) is None


ENERGY_EDGES = 1000 * 2.0 ** np.arange(7)


def test_true_minus_reconstructed_energy():
    generator = np.random.default_rng(5)
    energy = 1000 * 2 ** generator.uniform(0, 6, 8000)
    response = 0.95 + 0.02 * generator.normal(size=8000)
    response[::11] = np.nan
    found = {c.name: c for c in energy_curves(energy, response, ENERGY_EDGES, generator, paired=True)}
    rows = (energy >= 2000) & (energy < 4000) & np.isfinite(response)
    missing = found["energy_difference_vs_energy"]
    assert missing.unit == "MeV"
    assert missing.y[1] == pytest.approx((energy[rows] - energy[rows] * response[rows]).mean())
    assert found["relative_difference_vs_energy"].y[1] == pytest.approx(1 - response[rows].mean())
    np.testing.assert_allclose(found["relative_difference_width_vs_energy"].y, 0.02, rtol=0.12)
    np.testing.assert_allclose(found["linearity_vs_energy"].y, 1.0, atol=0.01)


def test_linearity_has_one_constraint_and_the_errors_of_many_samples():
    made = []
    for seed in range(200):
        generator = np.random.default_rng(seed)
        energy = 1000 * 2 ** generator.uniform(0, 6, 600)
        response = 0.9 * (1 + 0.1 / np.sqrt(energy / 1000) * generator.normal(size=600))
        made.append(linearity(energy, response, ENERGY_EDGES, paired=True))
    values = np.array([c.y for c in made])
    np.testing.assert_allclose(values.mean(1), 1.0)
    np.testing.assert_allclose(np.mean([c.covariance for c in made], axis=0), np.cov(values.T), atol=1.5e-5)
    kept = [compare_curves(a, replace(b, influence=None)) for a, b in zip(made[::2], made[1::2], strict=True)]
    assert {k["ndf"] for k in kept} == {5}
    assert np.mean([k["chi2"] for k in kept]) == pytest.approx(5, abs=1.3)
    each = made[0].influence
    np.testing.assert_allclose(each.T @ each, made[0].covariance, rtol=1e-3, atol=1e-9)


def test_equal_simulations_agree_in_every_curve():
    bins = Bins.of(electrons(600, 0), ECAL, 4)
    chi2, names = [], None
    for seed in range(1, 31):
        a, b = (electrons(600, 2 * seed + k) for k in (0, 1))
        lines = [every_curve(e, ECAL, bins, np.random.default_rng(seed), evaluate(e, ECAL)) for e in (a, b)]
        names = list(lines[0])
        found = [compare_curves(lines[0][n], lines[1][n]) for n in names]
        chi2.append([f["chi2"] / f["ndf"] for f in found])
    for name, ratio in zip(names, np.mean(chi2, axis=0), strict=True):
        assert 0.5 < ratio < 1.6, (name, ratio)
    assert {"sparsity_vs_threshold", "lateral_profile", "s_curve_x", "linearity_vs_energy", "radius_90_vs_energy"} <= set(names)


def test_paired_samples_keep_what_events_contribute():
    events = electrons(300)
    bins = Bins.of(events, ECAL, 3)
    lines = every_curve(events, ECAL, bins, np.random.default_rng(1), evaluate(events, ECAL), paired=True)
    for name in ("sparsity_vs_threshold", "cell_energies", "lateral_profile", "s_curve_x", "linearity_vs_energy"):
        assert lines[name].influence.shape == (300, len(lines[name].y))
        assert compare_curves(lines[name], lines[name])["chi2"] == 0


def test_what_was_not_detected_takes_no_part():
    events = electrons(400)
    half = np.arange(400) % 2 == 0
    masked = replace(events, mask=half)
    bins = Bins.of(events, ECAL, 3)
    mine = every_curve(masked, ECAL, bins, np.random.default_rng(1), evaluate(masked, ECAL))
    own = every_curve(events[half], ECAL, bins, np.random.default_rng(1), evaluate(events[half], ECAL))
    for name in ("sparsity_vs_threshold", "lateral_profile", "s_curve_y", "linearity_vs_energy"):
        np.testing.assert_allclose(mine[name].y, own[name].y, rtol=1e-6, err_msg=name)
        np.testing.assert_allclose(mine[name].error, own[name].error, rtol=1e-6, err_msg=name)
