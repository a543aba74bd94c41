import numpy as np
import pytest

from understudy.events import Block, Events, Schema
from understudy.validation.curves import Curve, binned_resolution
from understudy.validation.resolution_fit import compare_fits, fit_resolution, fit_sample, inverse_power, pulls

EDGES = np.geomspace(1e3, 64e3, 13)
TRUTH = {"a": 0.08, "b": 0.15, "c": 0.007}


def energies(n=40_000, seed=1):
    return np.exp(np.random.default_rng(seed).uniform(np.log(1e3), np.log(64e3), n))


def resolution(energy, a=0.0, b=0.0, c=0.0):
    gev = energy / 1000
    return np.sqrt(a**2 / gev + b**2 / gev**2 + c**2)


def exact(energy, relative=0.02, **terms):
    """The curve that these terms have in the bins, without fluctuations."""
    index = np.searchsorted(EDGES, energy, side="right") - 1
    y = np.array([np.sqrt((resolution(energy[index == k], **terms) ** 2).mean()) for k in range(len(EDGES) - 1)])
    return Curve("resolution_vs_energy", EDGES, y, relative * y)


def test_exact_curves_give_their_terms_back():
    energy = energies()
    fit = fit_resolution(exact(energy, **TRUTH), energy, noise_term=True)
    assert fit.terms == ("a", "b", "c")
    np.testing.assert_allclose(fit.values, list(TRUTH.values()), rtol=1e-4)
    assert fit.chi2 == pytest.approx(0, abs=1e-6)
    assert fit.ndf == 9
    np.testing.assert_allclose(fit(energy[:5]), resolution(energy[:5], **TRUTH), rtol=1e-4)


def test_without_noise_there_is_no_noise_term():
    energy = energies()
    fit = fit_resolution(exact(energy, a=0.1, c=0.01), energy)
    assert fit.terms == ("a", "c")
    np.testing.assert_allclose(fit.values, [0.1, 0.01], rtol=1e-4)
    assert "b" not in fit.plain()
    assert fit.plain()["a"] == {"value": pytest.approx(0.1, rel=1e-4), "error": pytest.approx(fit.errors[0]), "unit": "sqrt(GeV)"}
    assert r"10.00\,\%/\sqrt{E}" in fit.formula()


def test_a_term_that_is_not_there_is_zero_within_its_error():
    energy = energies()
    fit = fit_resolution(exact(energy, a=0.1), energy, noise_term=True)
    np.testing.assert_allclose(fit.values, [0.1, 0, 0], atol=1e-3)
    assert (fit.errors[1:] > 0).all()
    assert np.isfinite(fit.covariance).all()


def test_errors_are_the_spread_of_many_fits():
    generator, energy = np.random.default_rng(5), energies()
    base = exact(energy, **TRUTH)
    fits = []
    for _ in range(150):
        y = base.y + base.error * generator.normal(size=len(base.y))
        fits.append(fit_resolution(Curve(base.name, EDGES, y, base.error), energy, noise_term=True))
    values, central = np.array([f.values for f in fits]), fit_resolution(base, energy, noise_term=True)
    np.testing.assert_allclose(values.std(0), central.errors, rtol=0.25)
    np.testing.assert_allclose(values.mean(0), list(TRUTH.values()), atol=3 * central.errors.max() / np.sqrt(150) + 1e-3)
    correlation = central.covariance / np.outer(central.errors, central.errors)
    np.testing.assert_allclose(np.corrcoef(values.T), correlation, atol=0.2)
    assert np.mean([f.chi2 for f in fits]) == pytest.approx(9, abs=1.2)
    assert np.mean([f.p_value for f in fits]) == pytest.approx(0.5, abs=0.1)


def test_widths_of_simulated_responses():
    generator, energy = np.random.default_rng(6), energies(30_000)
    response = 0.9 * (1 + resolution(energy, a=0.08, c=0.01) * generator.normal(size=len(energy)))
    y, error = binned_resolution(energy, response, EDGES, generator)
    fit = fit_resolution(Curve("resolution_vs_energy", EDGES, y, error), energy)
    assert (np.abs(fit.values - [0.08, 0.01]) < 4 * fit.errors).all()
    assert fit.errors[0] < 0.003


def test_means_over_a_bin_by_hand():
    energy, edges = np.array([1000.0, 2000.0, 4000.0, 9e5]), np.array([500.0, 3000.0, 5000.0, 6000.0])
    w = np.array([1.0, 3.0, 2.0, 1.0])
    np.testing.assert_allclose(inverse_power(energy, edges, 1, w), [(1 + 1.5) / 4, 0.25, np.nan])
    np.testing.assert_allclose(inverse_power(energy, edges, 2), [(1 + 0.25) / 2, 1 / 16, np.nan])


def test_too_few_bins_have_no_fit():
    energy = energies(1000)
    y = np.full(12, np.nan)
    y[:2] = 0.1
    assert fit_resolution(Curve("c", EDGES, y, 0.01 * np.ones(12)), energy) is None
    assert fit_sample({}, energy, None, False) == {}
    assert compare_fits({}, {}, {}) == {}


def test_comparison_has_fits_and_pulls():
    energy = energies()
    mine, other = (fit_resolution(exact(energy, a=a, c=0.01), energy) for a in (0.1, 0.11))
    (found,) = compare_fits({"resolution": mine}, {}, {"resolution": other}).values()
    assert set(found) == {"reference", "candidate", "pulls"}
    assert found["pulls"]["a"] == pytest.approx(0.01 / np.hypot(mine.errors[0], other.errors[0]), rel=1e-2)
    assert pulls(mine, mine) == {"a": 0.0, "c": 0.0}


def test_the_noise_term_is_told_where_two_terms_do_not_describe_the_reference():
    energy = energies()
    events = Events(Schema((Block("e", "MeV"),)), {"e": energy})
    plain, thresholds = (
        fit_sample({"resolution_vs_energy": exact(energy, **terms)}, energy, events, False) for terms in (TRUTH | {"b": 0}, TRUTH)
    )
    assert list(compare_fits(plain, {}, thresholds)) == ["resolution"]
    found = compare_fits(thresholds, {}, plain)
    assert list(found) == ["resolution", "resolution_with_b"]
    assert set(found["resolution"]["reference"]) == {"a", "c", "covariance", "chi2", "ndf", "p_value"}
    assert found["resolution"]["reference"]["p_value"] < 1e-4
    assert found["resolution_with_b"]["reference"]["b"]["value"] == pytest.approx(TRUTH["b"], rel=1e-3)
    assert set(found["resolution_with_b"]["pulls"]) == {"a", "b", "c"}
    (asked,) = fit_sample({"resolution_vs_energy": exact(energy, **TRUTH)}, energy, events, True).values()
    assert asked.terms == ("a", "b", "c")
