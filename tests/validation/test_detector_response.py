"""Efficiency and momentum response in regions, and the analysis that reports them."""

import json

import numpy as np
import pytest
from scipy import stats

from understudy.references.delphes import DelphesElectron, delphes_electron
from understudy.references.track_guns import TrackGun
from understudy.validation.analyses.base import Samples
from understudy.validation.analyses.detector_response import DetectorResponse, reliability
from understudy.validation.response_regions import Region, Tracks, all_regions, differences, summary, worst

GUN = TrackGun(momentum=(50, 500_000), eta=(-3, 3))


def events(n=20_000, seed=1, **changes):
    made = delphes_electron(GUN).generate(n, np.random.default_rng(seed))
    return made if not changes else made.with_response({**made.response, **changes})


class Wrong(DelphesElectron):
    """Loses a twentieth of the electrons and overestimates momenta by 3 %."""

    def simulate(self, conditions, generator):
        made = super().simulate(conditions, generator)
        response = dict(made.response)
        response["reconstructed_pt"] = 1.03 * response["reconstructed_pt"]
        response["reconstructed_eta"] = response["reconstructed_eta"] + np.float32(0.01)
        kept = made.mask & (generator.random(len(made)) > 0.05)
        return made.with_response(response, mask=kept)

    def detection_probability(self, conditions):
        return np.full(len(conditions["pt"]), 0.5)


def samples(n=6000):
    reference = events(n)
    simulators = {"good": DelphesElectron(), "wrong": Wrong()}
    made = {k: s.simulate(reference.without_response().conditions, np.random.default_rng(3)) for k, s in simulators.items()}
    return Samples(
        reference,
        events(n, seed=2),
        made,
        dict.fromkeys(made, True),
        simulator=DelphesElectron(),
        standins=simulators,
        reference_name="good",
    )


SMALL = {"events": 60_000, "times": 2000, "repeated": ((4250, 2.5, 1.5),), "etas": (0.2,), "phis": (0.5,)}


def test_a_wrong_detector_fails_and_the_reference_asked_again_does_not():
    found = DetectorResponse(**SMALL)(samples())
    reasons = {name: r for f in found for name, r in f.reasons.items()}
    assert set(reasons) == {"wrong"}
    assert any("the efficiency of" in r for r in reasons["wrong"])
    assert any("the median of" in r for r in reasons["wrong"])
    numbers = {name: {k: v for f in found for k, v in f.numbers.get(name, {}).items()} for name in ("good", "wrong")}
    json.dumps(numbers)
    assert numbers["wrong"]["regions"]["median"]["value"] > 0.02
    assert numbers["wrong"]["directions"]["eta"]["largest"] == pytest.approx(0.01, abs=1e-5)
    assert numbers["good"]["directions"]["eta"] == {"rms": 0.0, "largest": 0.0}
    assert numbers["wrong"]["reliability"]["largest_difference"] > 0.05
    assert "reliability" not in numbers["good"]
    assert numbers["good"]["maps"]["efficiency"]["chi2"] > 0  # although the reference has the candidate's name
    assert numbers["good"]["maps"]["efficiency"]["chi2"] < 2 * numbers["good"]["maps"]["efficiency"]["ndf"]
    assert sum(len(f.pictures) for f in found) >= 8
    assert all(set(row) == set(found[0].rows[0]) for row in found[0].rows)


def test_files_are_judged_by_their_own_events():
    asked = samples(20_000)
    files = Samples(asked.reference, asked.floor, asked.candidates, asked.paired, reference_name="file")
    analysis = DetectorResponse(**SMALL)
    assert set(analysis._regions(*analysis._asked(files)).reasons) == {"wrong"}


def test_summaries_and_errors_of_a_known_distribution():
    rng = np.random.default_rng(2)
    values = {"efficiency": [], "median": [], "width": []}
    told = []
    for _ in range(300):
        ratio, found = np.exp(0.1 * rng.standard_normal(2000)), rng.random(2000) < 0.8
        zeros = np.zeros(2000)
        one = summary(Tracks(zeros + 5, zeros, zeros, found, np.where(found, ratio, np.nan), zeros, zeros))
        told.append({k: e for k, (_, e) in one.items()})
        for k, (v, _) in one.items():
            values[k].append(v)
    assert np.mean(values["efficiency"]) == pytest.approx(0.8, abs=0.003)
    assert np.mean(values["median"]) == pytest.approx(1, abs=0.001)
    exact = np.exp(0.1 * stats.norm.ppf(0.84)) - np.exp(0.1 * stats.norm.ppf(0.16))
    assert np.mean(values["width"]) == pytest.approx(exact, rel=0.01)
    for k, v in values.items():
        assert np.mean([t[k] for t in told]) == pytest.approx(np.std(v), rel=0.2), k


def test_regions_hold_their_upper_ends_and_every_particle_once():
    found = all_regions((100, 1000), (0.5, 1.5))
    assert len(found) == 9
    made = Tracks.of(events(3000))
    assert sum(r.inside(made).sum() for r in found) == 3000
    ends = Tracks(*(np.array([v]) for v in (100.0, -0.5, 0.0, True, 1.0, 0.0, 0.0)))
    assert found[0].inside(ends).all()
    assert found[0].name == "0 < pT <= 0.1 GeV, 0 < |eta| <= 0.5"
    assert Region((1000, np.inf), (1.5, np.inf)).name == "1 < pT [GeV], 1.5 < |eta|"


def test_differences_and_the_worst_of_them():
    a = {"efficiency": (0.9, 0.01), "median": (2.0, 0.1), "width": (0.5, 0.0)}
    b = {"efficiency": (0.8, 0.0), "median": (2.1, 0.0), "width": (0.4, 0.0)}
    one = differences(a, b)
    assert one["efficiency"] == pytest.approx((-0.1, 0.01))
    assert one["median"] == pytest.approx((0.05, 0.05))
    assert worst([one, one | {"median": (np.nan, np.nan)}])["width"] == pytest.approx(0.2)


def test_azimuths_are_compared_around_the_circle():
    made = events(200)
    turned = made.with_response({**made.response, "reconstructed_phi": made["reconstructed_phi"] - np.float32(2 * np.pi) + 0.1})
    shift = Tracks.of(turned).phi_shift[made.mask]
    assert shift == pytest.approx(np.full(len(shift), 0.1), abs=1e-5)


def test_a_calibrated_forecast_is_found_to_be_one():
    rng = np.random.default_rng(1)
    chance = rng.random(50_000)
    curve = reliability(chance, rng.random(50_000) < chance)
    assert curve["chi2"] < 3 * curve["ndf"]
    assert curve["brier"]["value"] == pytest.approx(curve["brier"]["floor"], abs=0.005)
    off = reliability(chance, rng.random(50_000) < np.clip(chance + 0.1, 0, 1))
    assert off["largest_difference"] > 0.08


def test_events_that_are_no_tracks():
    from understudy.events import Events
    from understudy.schema import Block, Schema

    other = Events(Schema((Block("pt"),), (Block("y"),)), {"pt": np.ones(3)}, {"y": np.ones(3)})
    with pytest.raises(ValueError, match="needs eta, phi, reconstructed_pt, reconstructed_eta, reconstructed_phi; found pt, y"):
        Tracks.of(other)
