"""The built-in electron of Delphes against its closed forms."""

import numpy as np
import pytest
from scipy import stats

from understudy.references.delphes import SCHEMA, answer, delphes_electron, efficiency, log_normal, regions, resolution
from understudy.references.track_guns import TrackGun

PTS = {0: 60.0, 1: 500.0, 2: 30_000.0, 3: 200_000.0}
ETAS = {0: -0.3, 1: 1.0, 2: -2.2, 3: 2.7}
EXPECTED = {(0, 1): 0.73, (0, 2): 0.95, (0, 3): 0.99, (1, 1): 0.73, (1, 2): 0.95, (1, 3): 0.99}
EXPECTED |= {(2, 1): 0.50, (2, 2): 0.83, (2, 3): 0.90}
TERMS = {0: (0.03, 1.3e-3), 1: (0.05, 1.7e-3), 2: (0.15, 3.1e-3)}


def simulated(n=100_000, seed=1, **one):
    """The same electron again and again."""
    conditions = {name: np.full(n, one.get(name, 1.0)) for name in ("pt", "eta", "phi")}
    return delphes_electron().simulator.simulate(conditions, np.random.default_rng(seed))


@pytest.mark.parametrize("across", ETAS)
@pytest.mark.parametrize("along", PTS)
def test_efficiency_mean_and_quantiles_of_each_region(across, along):
    pt, eta = PTS[along], ETAS[across]
    events = simulated(pt=pt, eta=eta)
    chance = EXPECTED.get((across, along), 0.0)
    assert abs(events.mask.mean() - chance) <= 4 * np.sqrt(chance * (1 - chance) / len(events))
    if chance == 0:
        assert not events.mask.any()
        return
    made = events["reconstructed_pt"][events.mask].astype(float)
    c, k = TERMS[across]
    r = min(np.hypot(c, k * pt / 1000), 1.0)
    b = np.sqrt(np.log1p(r**2))
    exact = stats.lognorm(b, scale=pt * np.exp(-(b**2) / 2))
    assert exact.mean() == pytest.approx(pt)
    assert exact.std() == pytest.approx(r * pt)
    assert abs(made.mean() - pt) < 5 * r * pt / np.sqrt(len(made))
    assert stats.kstest(made, exact.cdf).pvalue > 1e-4
    for q in (0.16, 0.5, 0.84):
        spread = np.sqrt(q * (1 - q) / len(made)) / exact.pdf(exact.ppf(q))
        assert abs(np.quantile(made, q) - exact.ppf(q)) < 4.5 * spread


def test_the_formulae_as_they_are_printed():
    """The slow twin: one electron after the other."""
    rng = np.random.default_rng(3)
    pt, eta = np.exp(rng.uniform(np.log(30), np.log(9e5), 500)).astype(np.float32), rng.uniform(-3, 3, 500).astype(np.float32)
    u, z = rng.random(500, dtype=np.float32), rng.standard_normal(500).astype(np.float32)
    found, made = answer(pt, eta, u, z)
    for i in range(500):
        gev, size = float(pt[i]) / 1000, abs(float(eta[i]))
        chance = EXPECTED.get(
            (int(size > 0.5) + int(size > 1.5) + int(size > 2.5), int(gev > 0.1) + int(gev > 1) + int(gev > 100)), 0
        )
        assert found[i] == (u[i] < np.float32(chance))
        if size <= 2.5 and gev > 0.1:
            c, k = TERMS[int(size > 0.5) + int(size > 1.5)]
            res = min(np.sqrt(c**2 + gev**2 * k**2), 1.0)
            b = np.sqrt(np.log(1 + res**2))
            assert made[i] == pytest.approx(1000 * np.exp(np.log(gev) - 0.5 * b * b + b * z[i]), rel=2e-5)


def test_a_region_holds_its_upper_end():
    pt, eta = np.array([100, 100.01, 1000, 100_000], np.float32), np.array([0.5, 0.50001, 1.5, 2.5], np.float32)
    across, along = regions(pt, eta)
    assert across.tolist() == [0, 1, 1, 2]
    assert along.tolist() == [0, 1, 1, 2]
    assert efficiency(pt, eta) == pytest.approx([0, 0.73, 0.73, 0.83])
    assert resolution(pt, eta)[0] == 0
    assert resolution(np.array([4e5], np.float32), np.array([2.0], np.float32)) == 1.0
    assert log_normal(np.array([3.0]), np.array([0.0]), np.array([2.0])) == 3.0


def test_direction_passes_through_and_what_is_lost_is_undefined():
    source = delphes_electron(TrackGun(eta=(-3, 3)))
    events = source.generate(70_000, np.random.default_rng(2))
    assert events.schema == SCHEMA
    for name in ("eta", "phi"):
        assert np.array_equal(events[f"reconstructed_{name}"][events.mask], events[name][events.mask])
    assert np.isnan(events["reconstructed_pt"][~events.mask]).all()
    assert 0.3 < events.mask.mean() < 0.9
    again = source.generate(70_000, np.random.default_rng(2))
    assert np.array_equal(events.mask, again.mask)


@pytest.mark.parametrize(
    ("pt", "what"),
    [(-1.0, "'pt' holds -1 MeV in event 3, below its minimum 0"), (np.inf, "'pt' holds NaN or infinity, first in event 3")],
)
def test_impossible_momenta_are_refused(pt, what):
    conditions = {"pt": np.full(5, 1000.0), "eta": np.zeros(5), "phi": np.zeros(5)}
    conditions["pt"][3] = pt
    with pytest.raises(ValueError, match=what):
        delphes_electron().simulator.simulate(conditions, np.random.default_rng(1))


def test_an_electron_without_transverse_momentum_is_lost():
    assert not simulated(100, pt=0.0).mask.any()


def test_guns_draw_what_they_say():
    rng = np.random.default_rng(1)
    b = TrackGun(momentum=(0, 20_000), of="total", spectrum="uniform").draw(20_000, rng)
    p = b["pt"] * np.cosh(b["eta"])
    assert stats.kstest(p / 20_000, "uniform").pvalue > 1e-3
    assert stats.kstest(b["phi"] / (2 * np.pi), "uniform").pvalue > 1e-3
    a = TrackGun(momentum=(4250, 4250), spectrum="fixed", eta=(2.5, 2.5), phi=(1.5, 1.5)).draw(3, rng)
    assert [set(v.tolist()) for v in a.values()] == [{4250.0}, {2.5}, {1.5}]
    c = TrackGun().draw(20_000, rng)
    assert stats.kstest(np.log(c["pt"] / 100) / np.log(5000), "uniform").pvalue > 1e-3
    assert set(TrackGun(values=(0, 2000)).draw(100, rng)["pt"].tolist()) == {0.0, 2000.0}


@pytest.mark.parametrize(
    ("words", "what"),
    [
        ({"momentum": (2000, 1000)}, "go upwards, not from 2000 to 1000"),
        ({"momentum": (0, 1000)}, "cannot start at 0 MeV"),
        ({"momentum": (1000, 2000), "spectrum": "fixed"}, "a range with equal ends"),
        ({"eta": (0, float("inf"))}, "the range of eta must be finite"),
    ],
)
def test_guns_that_cannot_be(words, what):
    with pytest.raises(ValueError, match=what):
        TrackGun(**words)
