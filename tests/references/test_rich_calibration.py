import numpy as np
import pytest

from understudy import extras
from understudy.production import produce
from understudy.references.cherenkov import SPECIES
from understudy.references.mass_fit import Peak, fit_mass
from understudy.references.rich_calibration import CHANNELS, rich_calibration
from understudy.registry import factory
from understudy.simulator import Source

PEAK = CHANNELS["kaon"]


@pytest.fixture(scope="module")
def source():
    return factory("references", {"kind": "rich-calibration", "signal": {"species": {"pion": 1, "kaon": 1}}})()


@pytest.fixture(scope="module")
def events(source):
    return source.generate(60_000, np.random.default_rng(1))


def test_densities_are_normalised_and_the_derivative_of_what_is_below():
    for peak in CHANNELS.values():
        m = np.linspace(*peak.window, 20_001)
        shape = (peak.mean + 1, peak.width, 0.6)
        np.testing.assert_allclose(np.trapezoid(peak.signal(m, *shape), m), 1, rtol=1e-6)
        np.testing.assert_allclose(np.trapezoid(peak.background(m, peak.slope), m), 1, rtol=1e-6)
        for density, below in (
            (peak.signal(m, *shape), peak.signal_cdf(m, *shape)),
            (peak.background(m, peak.slope), peak.background_cdf(m, peak.slope)),
        ):
            np.testing.assert_allclose(np.gradient(below, m)[1:-1], density[1:-1], rtol=1e-3)


def test_drawn_masses_follow_the_densities():
    rng = np.random.default_rng(2)
    edges = np.linspace(*PEAK.window, 21)
    shape = (PEAK.mean, PEAK.width, PEAK.core)
    for drawn, below in (
        (PEAK.draw_signal(50_000, rng), PEAK.signal_cdf(edges, *shape)),
        (PEAK.draw_background(50_000, rng), PEAK.background_cdf(edges, PEAK.slope)),
    ):
        expected = 50_000 * np.diff(below)
        chi2 = ((np.histogram(drawn, edges)[0] - expected) ** 2 / expected).sum()
        assert chi2 < 50  # 19 degrees of freedom


def test_it_is_a_source_with_truth_in_aux(source, events):
    assert isinstance(source, Source)
    assert list(events.conditions) == ["momentum", "pseudorapidity", "n_tracks", "species"]
    assert list(events.aux) == ["mass", "is_signal", "true_species"]
    signal = events["is_signal"] == 1
    assert signal.mean() == pytest.approx(0.6, abs=0.01)
    np.testing.assert_array_equal(events["species"][signal], events["true_species"][signal])
    assert set(events["true_species"][~signal]) == {0, 1, 2, 3, 4}
    assert events["momentum"][~signal].mean() < 0.8 * events["momentum"][signal].mean()


def test_weights_add_up_to_the_fitted_yield_and_background_to_nothing(source, events):
    signal, fits = events["is_signal"] == 1, source.fits(events)
    assert set(fits) == {"pion", "kaon"}
    for name, fit in fits.items():
        of = events["species"] == SPECIES.index(name)
        w = events.weights[of]
        assert w.sum() == pytest.approx(fit.yields[0], rel=1e-6)
        assert fit.yields[0] == pytest.approx((signal & of).sum(), abs=4 * fit.errors[0])
        background = w[~signal[of]]
        assert background.min() < -0.5
        assert background.sum() == pytest.approx(0, abs=4 * np.sqrt((background**2).sum()))


@pytest.mark.parametrize(
    ("name", "column"), [("momentum", None), ("n_tracks", None), ("pseudorapidity", None), ("dll", 0), ("dll", 2)]
)
def test_weighted_distributions_are_those_of_pure_signal(events, name, column):
    values = events[name] if column is None else events[name][:, column]
    signal, w = events["is_signal"] == 1, events.weights
    edges = np.quantile(values[signal], np.linspace(0, 1, 13))
    edges[-1] += 1

    def difference(weights):
        """Chi-squared of normalised histograms of weighted events and pure signal, which are partly the same events."""
        ours, variance = (np.histogram(values, edges, weights=x)[0] for x in (weights, (weights - signal) ** 2))
        true = np.histogram(values[signal], edges)[0]
        return float(((ours / ours.sum() - true / true.sum()) ** 2 / (variance / true.sum() ** 2)).sum())

    assert difference(w) < 35  # 11 degrees of freedom
    assert difference(np.ones(len(w))) > 200


def test_weights_of_truth_and_none(source):
    plain, true = (
        factory("references", {"kind": "rich-calibration", "weights": w, "particle": "kaon"})().generate(
            500, np.random.default_rng(3)
        )
        for w in ("none", "truth")
    )
    assert plain.weights is None
    np.testing.assert_array_equal(true.weights, true["is_signal"])
    np.testing.assert_array_equal(plain["dll"], true["dll"])
    assert "species" not in true.conditions


def test_a_production_fits_all_tracks_together(tmp_path):
    from understudy import storage

    source = factory("references", {"kind": "rich-calibration", "particle": "muon"})()
    made = storage.read(produce(source, 3000, tmp_path / "tracks.h5", chunk=100))
    assert made.weights.sum() == pytest.approx(source.fits(made)["muon"].yields[0], rel=1e-4)


def test_a_fit_that_does_not_converge():
    mass = PEAK.draw_signal(2000, np.random.default_rng(0))
    with pytest.raises(
        ValueError, match=r"a sample: the mass fit of 2000 tracks .* does not converge \(too many evaluations\); give"
    ):
        fit_mass(mass, PEAK, "a sample", calls=3)


def test_no_peak():
    mass = PEAK.draw_background(5000, np.random.default_rng(0))
    with pytest.raises(
        ValueError, match=r"a sample: the mass fit (finds no peak near 1864.84 MeV|of 5000 tracks .* does not converge)"
    ):
        fit_mass(mass, PEAK, "a sample")


def test_too_few_tracks_are_an_error_not_a_guess():
    with pytest.raises(ValueError, match="kaon calibration sample: the mass fit"):
        rich_calibration(particle="kaon", purity=0.05).generate(40, np.random.default_rng(1))


@pytest.mark.parametrize("bad", [np.nan, 0.0])
def test_masses_outside_the_window(bad):
    with pytest.raises(ValueError, match="a sample: masses are NaN or outside the fit's window from 1825 to 1905 MeV"):
        fit_mass(np.array([bad, 1860.0]), PEAK, "a sample")


def test_a_peak_is_checked():
    with pytest.raises(ValueError, match="the mean 9 MeV lies outside the window from 1 to 5 MeV"):
        Peak(window=(1, 5), mean=9, width=1, slope=1)


def test_without_the_extra(monkeypatch):
    def missing(name):
        raise ModuleNotFoundError("no", name=name)

    monkeypatch.setattr(extras.importlib, "import_module", missing)
    with pytest.raises(
        ModuleNotFoundError, match=r"a mass fit needs the package iminuit; install it with: pip install 'understudy\[sweights\]'"
    ):
        fit_mass(PEAK.draw_signal(100, np.random.default_rng(0)), PEAK, "a sample")


def test_pulls_of_the_yield_and_of_the_background_under_the_weights():
    yields, backgrounds = [], []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        signal, background = rng.poisson(3000), rng.poisson(2000)
        mass = np.concatenate([PEAK.draw_signal(signal, rng), PEAK.draw_background(background, rng)])
        fit = fit_mass(mass, PEAK, "a sample")
        w = fit.sweights(mass)[signal:]
        yields.append((fit.yields[0] - 3000) / fit.errors[0])
        backgrounds.append(w.sum() / np.sqrt((w**2).sum()))
    for pulls in (np.array(yields), np.array(backgrounds)):
        assert abs(pulls.mean()) < 4 / np.sqrt(60)
        assert 0.7 < pulls.std() < 1.3
