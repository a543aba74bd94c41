from dataclasses import replace

import numpy as np
import pytest

from understudy.events import Block, Events, Schema
from understudy.geometry import builtin
from understudy.validation.curves import (
    Curve,
    binned_mean,
    binned_resolution,
    compare_curves,
    curves,
    energy_edges,
    influence,
    longitudinal_profile,
    pulls,
)

GEOMETRY = builtin("atlas-em-89")


def toy(n=4000, seed=1, response=0.95, sampling=0.1, incident=True):
    """Showers with E_tot / E_inc = `response` and resolution `sampling` / sqrt(E / GeV), 1-64 GeV."""
    generator = np.random.default_rng(seed)
    energy = 1000 * 2 ** generator.uniform(0, 6, n)
    total = energy * response * (1 + sampling / np.sqrt(energy / 1000) * generator.normal(size=n))
    shares = generator.dirichlet(np.full(89, 0.5), n)
    cells = Block("showers", "MeV", shape=(89,))
    conditions = (Block("incident_energies", "MeV"),) if incident else (Block("x", "mm"),)
    schema = Schema(conditions, (cells,))
    return Events(schema, {conditions[0].name: energy}, {"showers": total[:, None] * shares})


EDGES = 1000 * 2.0 ** np.arange(7)


def made(events, seed=0):
    return curves(events, GEOMETRY, EDGES, np.random.default_rng(seed))


def test_response_and_resolution_are_those_of_the_toy():
    found = made(toy(20_000))
    response, resolution, rms = (found[k] for k in ("response_vs_energy", "resolution_vs_energy", "resolution_rms_vs_energy"))
    assert np.abs((response.y - 0.95) / response.error).max() < 4
    # Within a bin from E to 2E the mean variance of a 10 %/sqrt(E) term over log E is 0.01 / (2 ln 2 E).
    expected = 0.1 * np.sqrt(1 / (2 * np.log(2) * EDGES[:-1] / 1000))
    assert np.abs((rms.y - expected) / rms.error).max() < 4
    np.testing.assert_allclose(resolution.y, expected, rtol=0.06)
    np.testing.assert_allclose(rms.error / rms.y, 1 / np.sqrt(2 * 20_000 / 6), rtol=0.3)


def test_every_curve_of_the_paper_is_there():
    found = made(toy(500))
    for name in ("width_phi_middle", "width_eta_strips", "fraction_back", "core_fraction_middle", "response", "resolution"):
        assert f"{name}_vs_energy" in found
    assert found["width_phi_middle_vs_energy"].unit == "rad"
    assert found["longitudinal_profile"].ticks == GEOMETRY.layer_names
    for c in found.values():
        assert c.y.shape == c.error.shape == (len(c.edges) - 1,)


def test_without_incident_energy_the_sum_of_cells_takes_its_place():
    found = made(toy(500, incident=False))
    assert "response_vs_energy" not in found
    assert "resolution_vs_energy" not in found
    assert found["width_phi_middle_vs_energy"].x_label == r"$E_\mathrm{tot}$"
    assert found["longitudinal_profile"].y.sum() == pytest.approx(1)


def test_slow_twin_of_the_binned_mean():
    generator = np.random.default_rng(3)
    x, v, w = generator.uniform(-0.2, 1.2, 400), generator.normal(size=400), generator.normal(1.0, 0.5, 400)
    v[::7] = np.nan
    edges = np.array([0.0, 0.1, 0.5, 1.0])
    mean, error = binned_mean(x, v, edges, w)
    for b in range(3):
        rows = [i for i in range(400) if edges[b] <= x[i] < edges[b + 1] and not np.isnan(v[i])]
        total = sum(w[i] for i in rows)
        expected = sum(w[i] * v[i] for i in rows) / total
        assert mean[b] == pytest.approx(expected)
        assert error[b] == pytest.approx(np.sqrt(sum((w[i] * (v[i] - expected)) ** 2 for i in rows)) / total)


def test_integer_weights_are_repetitions_in_the_resolution():
    generator = np.random.default_rng(4)
    v, w = generator.normal(1, 0.1, 300), generator.integers(1, 3, 300)
    x, edges = np.full(300, 0.5), np.array([0.0, 1.0])
    for kind in ("central", "rms"):
        weighted, _ = binned_resolution(x, v, edges, generator, kind, w.astype(float))
        n = int(w.sum())
        repeated, _ = binned_resolution(np.full(n, 0.5), np.repeat(v, w), edges, generator, kind)
        assert weighted == pytest.approx(repeated)


def test_central_resolution_ignores_a_tail():
    generator = np.random.default_rng(5)
    v = np.append(generator.normal(1, 0.05, 5000), np.full(50, 0.2))
    x, edges = np.full(len(v), 0.5), np.array([0.0, 1.0])
    central, _ = binned_resolution(x, v, edges, generator)
    rms, _ = binned_resolution(x, v, edges, generator, "rms")
    assert central[0] == pytest.approx(0.05, rel=0.05)
    assert rms[0] > 0.08


def test_bins_with_few_events_are_empty_and_never_agree():
    x = np.concatenate([np.full(9, 0.5), np.full(10, 1.5)])
    v = np.random.default_rng(6).normal(size=19)
    edges = np.array([0.0, 1.0, 2.0])
    mean, error = binned_mean(x, v, edges)
    assert np.isnan(mean[0])
    assert np.isnan(error[0])
    assert np.isfinite(mean[1])
    resolution, error = binned_resolution(x, 1 + 0.1 * v, edges, np.random.default_rng(1))
    assert np.isnan(resolution[0])
    assert np.isnan(error[0])
    assert error[1] > 0
    _, mirrored = binned_resolution(2 - x, 1 + 0.1 * v, edges, np.random.default_rng(1))
    assert mirrored[0] > 0
    assert np.isnan(mirrored[1])
    full = Curve("c", edges, np.array([0.0, mean[1]]), np.array([0.1, error[1]]))
    result = compare_curves(full, Curve("c", edges, mean, error))
    assert result["ndf"] == 1
    assert result["empty"] == 1
    nothing = Curve("c", edges, np.full(2, np.nan), np.full(2, np.nan))
    result = compare_curves(full, nothing)
    assert result["ndf"] == 0
    assert result["empty"] == 2
    assert np.isnan(result["p_value"])


def test_few_events_with_large_weights_are_still_few():
    # Eleven events, one of which carries nearly all the weight: (sum w)^2 / sum w^2 is near one.
    weights = np.array([1000.0] + [1.0] * 10)
    mean, _ = binned_mean(np.full(11, 0.5), np.arange(11.0), np.array([0.0, 1.0]), weights)
    assert np.isnan(mean).all()


def test_p_values_of_equal_simulations_are_uniform():
    found = []
    for seed in range(30):
        a, b = made(toy(1500, 2 * seed), seed), made(toy(1500, 2 * seed + 1), seed)
        names = ("response_vs_energy", "resolution_rms_vs_energy", "width_phi_middle_vs_energy", "longitudinal_profile")
        found.append([compare_curves(a[name], b[name])["p_value"] for name in names])
    p = np.array(found)
    assert np.abs(p.mean(0) - 0.5).max() < 4 * np.sqrt(1 / 12 / 30)
    assert (p < 0.01).sum() <= 6


def test_a_small_shift_of_the_response_is_found():
    a, b = made(toy(4000, 1)), made(toy(4000, 2, response=0.96))
    result = compare_curves(a["response_vs_energy"], b["response_vs_energy"])
    assert result["p_value"] < 1e-6
    assert result["max_pull"] > 4
    assert compare_curves(a["longitudinal_profile"], b["longitudinal_profile"])["ndf"] == 4


def test_chi_squared_by_hand():
    edges = np.arange(4.0)
    a = Curve("c", edges, np.array([1.0, 2.0, 3.0]), np.array([0.3, 0.3, 0.3]))
    b = Curve("c", edges, np.array([1.5, 2.0, 2.0]), np.array([0.4, 0.4, 0.4]))
    np.testing.assert_allclose(pulls(a, b), [1.0, 0.0, -2.0])
    result = compare_curves(a, b)
    assert result == {
        "chi2": pytest.approx(5.0),
        "ndf": 3,
        "p_value": pytest.approx(0.17180, abs=1e-4),
        "max_pull": 2.0,
        "empty": 0,
    }


def test_correlated_bins_count_once():
    """Three bins that are the same number have one degree of freedom."""
    edges, ones = np.arange(4.0), np.ones(3)
    a = Curve("c", edges, 0 * ones, ones, covariance=np.ones((3, 3)))
    b = replace(a, y=2 * ones)
    result = compare_curves(a, b)
    assert result["ndf"] == 1
    assert result["chi2"] == pytest.approx(2.0)


def test_profile_covariance_is_that_of_the_means():
    profile = longitudinal_profile(toy(3000), GEOMETRY)
    means = np.array([longitudinal_profile(toy(300, seed), GEOMETRY).y for seed in range(200)])
    np.testing.assert_allclose(np.cov(means.T) / 10, profile.covariance, atol=0.3 * np.diag(profile.covariance).max())
    np.testing.assert_allclose(profile.error**2, np.diag(profile.covariance))


def test_equal_constants_without_error_agree_and_different_ones_do_not():
    edges = np.arange(3.0)
    a = Curve("c", edges, np.ones(2), np.zeros(2))
    assert compare_curves(a, a)["chi2"] == 0
    assert compare_curves(a, replace(a, y=np.array([1.0, 2.0])))["p_value"] == 0


def test_bins_are_those_of_the_reference():
    events = toy(100)
    edges = energy_edges(events, GEOMETRY, 5)
    assert len(edges) == 6
    assert edges[0] <= events["incident_energies"].min()
    assert edges[-1] > events["incident_energies"].max()
    c = Curve("c", np.arange(3.0), np.ones(2), np.ones(2))
    with pytest.raises(ValueError, match="different bins; make both with the reference's edges"):
        compare_curves(c, replace(c, edges=np.arange(3.0) + 0.1))


def test_bad_input():
    with pytest.raises(ValueError, match="no resolution of kind 'fwhm'"):
        binned_resolution(np.ones(3), np.ones(3), np.arange(3.0), np.random.default_rng(1), "fwhm")
    empty = Events(Schema((Block("energy", "MeV"),)), {"energy": np.zeros(3)})
    with pytest.raises(ValueError, match="no event has an energy above zero"):
        energy_edges(empty)


def test_paired_samples_fluctuate_together():
    # Values that follow a hidden condition: without pairing, the error of their difference would be far too large.
    generator = np.random.default_rng(11)
    x, hidden, edges = generator.uniform(0, 2, 3000), generator.normal(size=3000), np.array([0.0, 1.0, 2.0])
    chi2 = {True: [], False: []}
    for _ in range(60):
        values = [hidden + 0.2 * generator.normal(size=3000) for _ in range(2)]
        for paired, kept in chi2.items():
            a, b = (
                Curve("c", edges, *binned_mean(x, v, edges), influence=influence(x, v, edges) if paired else None) for v in values
            )
            kept.append(compare_curves(a, b)["chi2"])
    assert np.mean(chi2[False]) < 0.3
    assert np.mean(chi2[True]) == pytest.approx(2.0, abs=4 * 2 / np.sqrt(60))


def test_influence_of_events_gives_the_error_of_the_mean():
    generator = np.random.default_rng(12)
    x, v, edges = generator.uniform(-0.5, 2.5, 500), generator.normal(5, 1, 500), np.array([0.0, 1.0, 2.0])
    v[::7] = np.nan
    w = generator.normal(1, 0.5, 500)
    each = influence(x, v, edges, w)
    np.testing.assert_allclose(np.sqrt((each.astype(float) ** 2).sum(0)), binned_mean(x, v, edges, w)[1], rtol=1e-5)
    assert (each[::7] == 0).all()


def test_profiles_of_paired_samples_use_the_covariance_of_the_differences():
    events = toy(400, seed=3)
    plain, kept = longitudinal_profile(events, GEOMETRY), longitudinal_profile(events, GEOMETRY, paired=True)
    assert plain.influence is None
    np.testing.assert_allclose(kept.influence.astype(float).T @ kept.influence, plain.covariance, rtol=1e-4, atol=1e-12)
    same = compare_curves(kept, longitudinal_profile(events, GEOMETRY, paired=True))
    assert same["chi2"] == 0
