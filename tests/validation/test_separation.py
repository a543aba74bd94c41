"""Separation of particles: maps against closed forms, empty bins, and the analysis on tracks of the RICH."""

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from scipy import stats

from understudy.events import Events
from understudy.references.rich import RichSimulator, TrackGun
from understudy.registry import factory
from understudy.schema import Block, Schema
from understudy.validation.analyses.base import Samples
from understudy.validation.analyses.separation import Separation
from understudy.validation.tracks import (
    PAIRS,
    Tracks,
    auc,
    auc_curve,
    auc_map,
    compared,
    correlations,
    efficiency,
    full_grid,
    populated_grid,
    summary,
)

SCHEMA = RichSimulator().schema
KAONS = PAIRS[0]


def normal_tracks(n, seed, shift=1.0, weights=None):
    """DLLs of unit normal distributions, kaons `shift` above pions, at uniform conditions."""
    rng = np.random.default_rng(seed)
    species = rng.integers(0, 2, n)
    dll = rng.standard_normal((n, 5))
    dll[:, 0] += shift * species
    given = {
        "momentum": np.exp(rng.uniform(np.log(3e3), np.log(1e5), n)),
        "pseudorapidity": rng.uniform(2, 5, n),
        "n_tracks": rng.integers(20, 400, n),
        "species": species,
    }
    return Events(SCHEMA, given, {"dll": dll}, weights)


def test_an_auc_of_normal_distributions_is_the_closed_form_and_its_error_the_spread():
    expected = stats.norm.cdf(1 / math.sqrt(2))
    found = [auc(Tracks.of(normal_tracks(1000, k)), KAONS, np.ones(1000, bool), 40, np.random.default_rng(k)) for k in range(40)]
    values, errors = np.array([v for v, _ in found]), np.array([r.std() for _, r in found])
    assert values.mean() == pytest.approx(expected, abs=0.01)
    assert errors.mean() == pytest.approx(values.std(), rel=0.3)


def test_a_background_is_subtracted_by_its_weights():
    """Pairs of background tracks of opposite weights leave the separation of the rest."""
    signal, other = normal_tracks(6000, 1), normal_tracks(4000, 2, shift=-3.0)
    both = Events.concatenate([signal, other[:2000], other[:2000]])
    w = np.concatenate([np.ones(6000), np.ones(2000), -np.ones(2000)])
    tracks, clean = Tracks.of(replace(both, weights=w)), Tracks.of(signal)
    edges = full_grid(clean)
    for a, b in zip(_map(tracks, edges), _map(clean, edges), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-9)
    bins = np.array([3e3, 2e4, 1.1e5])
    np.testing.assert_allclose(*(efficiency(t, "kaon", "DLLk", 0.0, bins).y for t in (tracks, clean)), atol=1e-9)
    np.testing.assert_allclose(*(correlations(t, "pion") for t in (tracks, clean)), atol=1e-9)


def _map(tracks, edges):
    return auc_map(tracks, KAONS, edges, 5, np.random.default_rng(1))[:1]


def test_bins_with_fewer_than_ten_tracks_are_empty_and_never_agree():
    events = normal_tracks(3000, 3)
    here = (np.asarray(events["momentum"]) < 9000) & (np.asarray(events["species"]) == 1)
    few = events[np.flatnonzero(~here | (np.cumsum(here) <= 9))]
    tracks, edges = Tracks.of(few), (np.array([3e3, 9e3, 1.1e5]), np.array([2.0, 5.1]))
    found = auc_map(tracks, KAONS, edges, 5, np.random.default_rng(1))
    assert found[1].shape == (5, 2, 1)
    assert np.isnan(found[0][0, 0])
    assert np.isfinite(found[0][1, 0])
    told = summary([compared(found, found)])
    assert told["bins"] == 1
    assert told["largest"] == 0
    empty = compared((np.full((2, 1), np.nan), np.full((5, 2, 1), np.nan)), found)
    assert summary([empty])["bins"] == 0
    assert np.isnan(efficiency(tracks, "kaon", "DLLk", 0.0, edges[0]).y[0])
    assert np.isnan(correlations(tracks, "muon")).all()
    assert np.isnan(auc_curve(tracks, KAONS, "momentum", edges[0], 5, np.random.default_rng(1)).y[0])


def test_a_bin_of_negative_weights_alone_is_empty():
    events = normal_tracks(500, 4, weights=-np.ones(500))
    assert np.isnan(auc(Tracks.of(events), KAONS, np.ones(500, bool), 5, np.random.default_rng(1))[0])


def test_grids_hold_all_tracks_or_the_middle():
    tracks = Tracks.of(normal_tracks(5000, 5))
    assert (tracks.cells(full_grid(tracks)) >= 0).all()
    cells = tracks.cells(populated_grid(tracks))
    assert (cells >= 0).mean() == pytest.approx(0.36, abs=0.02)
    assert np.bincount(cells[cells >= 0]).min() > 120


def test_an_efficiency_of_zero_or_one_has_an_error():
    tracks = Tracks.of(normal_tracks(400, 6))
    for cut, value in ((-1e9, 1.0), (1e9, 0.0)):
        found = efficiency(tracks, "pion", "DLLk", cut, np.array([1e3, 2e5]))
        assert found.y[0] == value
        assert 0 < found.error[0] < 0.02


@dataclass(frozen=True)
class Shifted:
    """The RICH with the DLLk of kaons off by some."""

    shift: float
    schema: Schema = SCHEMA

    def simulate(self, conditions, generator):
        made = RichSimulator().simulate(conditions, generator)
        dll = made["dll"].copy()
        dll[np.asarray(conditions["species"]) == 1, 0] -= self.shift
        return made.with_response({"dll": dll})


@pytest.fixture(scope="module")
def samples():
    rng, gun = np.random.default_rng(7), TrackGun(momentum_range=(8000, 60000))
    given = gun.draw(4000, rng)
    first, second = (RichSimulator().simulate(given, rng) for _ in range(2))
    standins = {"good": Shifted(0.0), "off": Shifted(15.0)}
    made = {name: s.simulate(given, rng) for name, s in standins.items()}
    paired = dict.fromkeys(made, True)
    return Samples(first, second, made, paired, None, None, RichSimulator(), standins, "lhcb-rich", 20, (), 1)


def test_the_analysis_finds_a_wrong_separation_and_no_other(samples):
    findings = Separation(events=2500, difference=0.02)(samples)
    first = findings[0]
    assert [f.title for f in findings] == [
        "Separation of particles",
        "Distributions of DLLk",
        "Efficiency and misidentification",
        "Dependence on occupancy",
        "Correlations of the DLLs",
    ]
    good, off = (first.numbers[name]["separation"]["grid"] for name in ("good", "off"))
    assert good["largest"]["value"] < 3 * good["largest"]["floor"]
    assert good["chi2_per_bin"]["value"] < 3
    assert off["chi2_per_bin"]["value"] > 5
    assert set(first.reasons) == {"off"}
    assert "the AUC of a DLL differs from the reference's by" in first.reasons["off"][0]
    cells = first.numbers["good"]["separation_maps"]["grid"][KAONS.name]
    assert np.shape(cells["difference"]) == (3, 3)
    curves = findings[2].curves
    assert curves["off"]["efficiency_kaon_DLLk_above_0"]["p_value"] < 1e-6
    assert curves["good"]["efficiency_pion_DLLk_above_0"]["p_value"] > 1e-4
    assert findings[3].curves["good"]["auc_kaon_pion_DLLk_vs_n_tracks"]["ndf"] == 6
    assert all(p.data.startswith(b"<svg") for f in findings for p in f.pictures)
    assert len(findings[1].pictures) == 2


def test_without_a_simulator_the_samples_themselves_are_looked_at(samples, monkeypatch):
    monkeypatch.setattr("understudy.validation.analyses.separation.svg", lambda figure, alt: None)  # drawn in the test before
    found = Separation(momentum_bins=3, tracks_bins=2, cuts={"DLLk": (0.0,)})(replace(samples, simulator=None))
    assert found[0].numbers["good"]["separation"]["grid"]["bins"]["value"] == 27


def test_bad_input(samples):
    with pytest.raises(ValueError, match="the edges of 'momentum' must increase, but they are 5, 3"):
        Separation(momentum=(5.0, 3.0))
    with pytest.raises(ValueError, match="'cuts' names 'DLLx'; the response has DLLk, DLLp"):
        Separation(events=None, cuts={"DLLx": (0.0,)})(samples)
    bare = samples.reference.select_conditions(["momentum", "pseudorapidity", "n_tracks"])
    with pytest.raises(ValueError, match="needs the condition 'species'; these events have"):
        Separation(events=None)(replace(samples, reference=bare))
    pions = samples.reference[np.asarray(samples.reference["species"]) == 0]
    with pytest.raises(ValueError, match="needs pions and another species with its DLL"):
        Separation(events=None)(replace(samples, reference=pions))
    odd = Events(Schema(SCHEMA.conditions, (Block("y"),)), pions.conditions, {"y": np.zeros(len(pions))})
    with pytest.raises(ValueError, match="a response whose columns have names"):
        Separation(events=None)(replace(samples, reference=odd))


def test_a_recipe_says_it_in_plain_words():
    made = factory("analyses", {"kind": "separation", "cuts": {"DLLk": [0, 5]}, "events": 1000})
    assert factory("analyses", made.to_dict()).to_dict() == made.to_dict()
