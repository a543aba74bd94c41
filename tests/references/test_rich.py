import math

import numpy as np
import pytest

from understudy.references import rich
from understudy.references.cherenkov import MASSES, RICH1, RICH2, SPECIES, separation
from understudy.references.rich import DLL, RichSimulator, TrackGun, differences, lhcb_rich
from understudy.registry import factory
from understudy.simulator import Simulator, Source

QUIET = RICH1.model_copy(update={"background": 1e-6})


def tracks(n, species, momentum=20_000.0, eta=3.5, n_tracks=100.0):
    fixed = {"momentum": momentum, "pseudorapidity": eta, "n_tracks": n_tracks}
    return {name: np.full(n, value) for name, value in fixed.items()} | {"species": np.full(n, SPECIES.index(species))}


class Script:
    """A generator whose draws are known: the slow twin reads the same ones."""

    def __init__(self, seed):
        self.rng, self.said = np.random.default_rng(seed), []

    def __getattr__(self, name):
        def draw(*args, **kwargs):
            self.said.append(getattr(self.rng, name)(*args, **kwargs))
            return self.said[-1]

        return draw


def slow(radiators, momentum, eta, n_tracks, species, said):
    """Photon by photon, hypothesis by hypothesis, in double precision."""
    said = iter(said)
    total = np.zeros((5, len(momentum)))
    for gas in radiators:
        own, other, normal, uniform = next(said), next(said), iter(next(said)), iter(next(said))
        angles = [[] for _ in momentum]
        for i, k in enumerate(own):
            beta = momentum[i] / math.hypot(momentum[i], MASSES[species[i]])
            angles[i] += [abs(math.acos(1 / (gas.index * beta)) + gas.resolution * next(normal)) for _ in range(k)]
        for i, k in enumerate(other):
            angles[i] += [gas.window * math.sqrt(next(uniform)) for _ in range(k)]
        for i, found in enumerate(angles):
            theta = 2 * math.atan(math.exp(-eta[i]))
            if not gas.acceptance[0] <= theta <= gas.acceptance[1]:
                assert not found
                continue
            for h, mass in enumerate(MASSES):
                x = 1 / (gas.index * momentum[i] / math.hypot(momentum[i], mass))
                centre = math.acos(x) if x < 1 else 0.0
                mu = gas.photons * math.sin(centre) ** 2 / (1 - 1 / gas.index**2)
                for a in found:
                    g = math.exp(-0.5 * ((a - centre) / gas.resolution) ** 2) / math.sqrt(2 * math.pi) / gas.resolution
                    total[h, i] += math.log1p(mu * g / (gas.background * n_tracks[i] * 2 * a / gas.window**2))
                total[h, i] -= mu
    return total


def test_kernel_against_its_slow_twin():
    given = TrackGun().draw(200, np.random.default_rng(3))
    arguments = [given[k] for k in ("momentum", "pseudorapidity", "n_tracks", "species")]
    script = Script(4)
    fast = RichSimulator().log_likelihood(*arguments, script)
    np.testing.assert_allclose(fast, slow((RICH1, RICH2), *arguments, script.said), atol=2e-3, rtol=2e-5)


def test_dlls_are_relative_to_the_pion():
    likelihood = np.arange(10.0).reshape(5, 2) ** 2  # pion, kaon, proton, muon, electron
    assert differences(likelihood)[1].tolist() == [9 - 1, 25 - 1, 49 - 1, 81 - 1, -1]
    assert DLL.columns == ("DLLk", "DLLp", "DLLmu", "DLLe", "DLLbt")


@pytest.mark.parametrize("momentum", [35_000.0, 50_000.0, 80_000.0])
def test_separation_of_kaon_and_pion_is_that_of_the_textbook(momentum):
    """Without background, DLLk of kaons and pions lie a square of the separation apart, each with a spread of the separation,
    times the root of 1 + separation^2 / 4 N, since the number of photons is a Poisson number."""
    simulator, n = RichSimulator((QUIET,)), 20_000
    photons = QUIET.expected(momentum, MASSES[0])
    sigmas = separation(momentum, MASSES[0], MASSES[1], QUIET.index, QUIET.resolution / np.sqrt(photons))
    kaon, pion = (
        simulator.simulate(tracks(n, s, momentum), np.random.default_rng(1))["dll"][:, 0].astype(float) for s in ("kaon", "pion")
    )
    assert kaon.mean() - pion.mean() == pytest.approx(sigmas**2, rel=0.12)
    assert (kaon.mean() - pion.mean()) / math.sqrt(0.5 * (kaon.var() + pion.var())) == pytest.approx(
        sigmas / math.sqrt(1 + sigmas**2 / 4 / photons), rel=0.05
    )


def test_pull_of_the_mean_angle(monkeypatch):
    """The mean of a ring's photons is the Cherenkov angle, with an error of the resolution over the root of their number."""
    seen = {}
    monkeypatch.setattr(rich.np, "bincount", lambda t, w, minlength: seen.setdefault("n", len(t)) * np.zeros(minlength))
    script = Script(5)
    given = tracks(400, "pion")
    RichSimulator((QUIET,)).log_likelihood(*(given[k] for k in ("momentum", "pseudorapidity", "n_tracks", "species")), script)
    own, normal = script.said[0], script.said[2]
    assert own.mean() == pytest.approx(QUIET.expected(20_000.0, MASSES[0]), abs=4 * math.sqrt(30 / 400))
    rings = np.split(normal, np.cumsum(own)[:-1])
    pulls = np.array([r.mean() * math.sqrt(len(r)) for r in rings if len(r)])
    assert abs(pulls.mean()) < 4 / math.sqrt(400)
    assert pulls.std() == pytest.approx(1, abs=0.15)


def test_more_tracks_blur_more():
    simulator = RichSimulator()
    quiet, busy = (
        simulator.simulate(tracks(5000, "kaon", 60_000.0, n_tracks=t), np.random.default_rng(2))["dll"][:, 0]
        for t in (20.0, 500.0)
    )
    assert quiet.mean() > busy.mean() + 1


def test_hypotheses_below_threshold_are_one_and_outside_all_is_zero():
    simulator = RichSimulator()
    slow_kaons = simulator.simulate(tracks(300, "kaon", 5000.0), np.random.default_rng(0))["dll"]
    np.testing.assert_array_equal(slow_kaons[:, [0, 1]], slow_kaons[:, [4, 4]])
    assert (slow_kaons[:, 0] > 0).mean() > 0.95
    outside = simulator.simulate(tracks(10, "pion", eta=4.95), np.random.default_rng(0))["dll"]
    assert (outside == 0).all()


def test_it_is_a_simulator_with_a_gun_and_repeats_with_the_seed():
    source = factory("references", {"kind": "lhcb-rich"})()
    assert isinstance(source, Source)
    assert isinstance(source.simulator, Simulator)
    one, two, other = (source.generate(6000, np.random.default_rng(s)) for s in (1, 1, 2))
    np.testing.assert_array_equal(one["dll"], two["dll"])
    assert not np.array_equal(one["dll"], other["dll"])
    assert one["dll"].shape == (6000, 5)
    assert one["momentum"].min() >= 3000
    assert one["momentum"].max() <= 150_000
    assert set(one["species"]) == {0, 1, 2, 3, 4}


def test_one_species_is_no_condition():
    source = factory("references", {"kind": "lhcb-rich", "particle": "kaon"})()
    events = source.generate(100, np.random.default_rng(1))
    assert list(events.conditions) == ["momentum", "pseudorapidity", "n_tracks"]
    given = {**events.conditions, "species": np.ones(100)}
    np.testing.assert_array_equal(
        RichSimulator(particle="kaon").simulate(events.conditions, np.random.default_rng(7))["dll"],
        RichSimulator().simulate(given, np.random.default_rng(7))["dll"],
    )


def test_spectra_of_the_gun():
    n, rng = 100_000, np.random.default_rng(9)
    flat = TrackGun(momentum_slope=0.0, species={"kaon": 1, "pion": 3}).draw(n, rng)
    assert flat["momentum"].mean() == pytest.approx(76_500, rel=0.01)
    assert (flat["species"] == 1).mean() == pytest.approx(0.25, abs=0.01)
    assert np.log(TrackGun().draw(n, rng)["momentum"]).mean() == pytest.approx(np.log(3000 * 150_000) / 2, rel=0.002)
    steep = TrackGun(momentum_slope=2.0, pseudorapidity_tilt=-1.0, mean_tracks=50).draw(n, rng)
    assert np.median(steep["momentum"]) == pytest.approx(2 / (1 / 3000 + 1 / 150_000), rel=0.02)
    assert steep["pseudorapidity"].mean() == pytest.approx(3.0, abs=0.01)  # a triangle
    assert steep["n_tracks"].mean() == pytest.approx(50, rel=0.01)
    assert steep["n_tracks"].std() == pytest.approx(25, rel=0.02)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"momentum": [0.0]}, r"the momentum of track 0 is 0 MeV; it must be above 0"),
        ({"momentum": [-5.0]}, "below its minimum"),
        ({"momentum": [np.nan]}, "NaN"),
        ({"species": [7]}, "track 0 has species 7, which is none of 0 pion, 1 kaon"),
    ],
)
def test_bad_conditions(change, message):
    with pytest.raises(ValueError, match=message):
        RichSimulator().simulate({**tracks(1, "pion"), **change}, np.random.default_rng(0))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"gun": {"momentum_range": [9, 3]}}, "the range of momentum goes from 9 to 3; give the lower end first"),
        ({"gun": {"species": {"kaon": 0}}}, "add up to 0"),
        ({"gun": {"species": {"deuteron": 1}}}, "deuteron"),
        ({"particle": "tau"}, "particle"),
    ],
)
def test_bad_words(words, message):
    with pytest.raises(ValueError, match=message):
        factory("references", {"kind": "lhcb-rich", **words})()


def test_no_radiators():
    with pytest.raises(ValueError, match="at least one radiator"):
        lhcb_rich(radiators=())
