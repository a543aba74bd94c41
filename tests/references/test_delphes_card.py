"""Delphes cards: what is read from them, real ones where they are, and what bad ones say."""

import numpy as np
import pytest

from understudy.references.delphes import efficiency, resolution
from understudy.references.delphes_card import Card, delphes_card
from understudy.references.tcl import read_card
from understudy.references.track_guns import TrackGun

CARD = """
# a card {
set LOW 0.1
set ExecutionPath {
  ParticlePropagator
  Efficiency ; # the way of an electron
  Smearing
  Merger
  ECal
}
module ParticlePropagator ParticlePropagator {
  set InputArray Delphes/stableParticles
  set ElectronOutputArray electrons
}
module Efficiency Efficiency {
  set InputArray ParticlePropagator/electrons
  set OutputArray found
  set EfficiencyFormula { (pt <= $LOW) * 0.0 + \\
                          (pt > 0.1) * (abs(eta) <= 2.5) * EFF }
}
module SMEARING Smearing {
  set InputArray Efficiency/found
  set OutputArray smeared
  set ResolutionFormula {RES}
}
module Merger Merger {
  add InputArray Smearing/smeared
  set OutputArray tracks
}
module SimpleCalorimeter ECal {
  set ParticleInputArray ParticlePropagator/stableParticles
  set TrackInputArray Merger/tracks
  set EFlowTowerOutputArray photons
  set EnergyMin 1.0
  set EnergySignificanceMin 2.0
  add EnergyFraction {0} {0.0}
  add EnergyFraction {22} {1.0}
  set ResolutionFormula {sqrt(energy^2*0.01^2 + energy*0.1^2)}
}
"""


def card(folder, efficiency="0.8", resolution="0.05", kind="MomentumSmearing", **more):
    text = CARD.replace("EFF", efficiency).replace("RES", resolution).replace("SMEARING", kind).replace("$LOW", "0.1")
    path = folder / "card.tcl"
    path.write_text(text + more.get("tail", ""))
    return path


def one(path, particle="electron", n=20_000, pt=20_000.0, eta=1.0, **words):
    conditions = {"pt": np.full(n, pt), "eta": np.full(n, eta), "phi": np.full(n, 2.0)}
    return delphes_card(str(path), particle, **words).simulator.simulate(conditions, np.random.default_rng(4))


def test_a_track_is_found_and_smeared(tmp_path):
    events = one(card(tmp_path))
    ratio = events["reconstructed_pt"][events.mask] / 20_000
    assert events.mask.mean() == pytest.approx(0.8, abs=0.012)
    assert ratio.mean() == pytest.approx(1, abs=0.002)
    assert ratio.std() == pytest.approx(0.05, rel=0.05)
    assert set(events["reconstructed_eta"][events.mask].tolist()) == {1.0}
    assert not one(card(tmp_path), eta=2.6).mask.any()


def test_energies_are_smeared_by_a_normal_number(tmp_path):
    events = one(card(tmp_path, "1", "0.1*energy", "EnergySmearing"))
    ratio = events["reconstructed_pt"][events.mask] / 20_000
    assert ratio.mean() == pytest.approx(1, abs=0.004)
    assert ratio.std() == pytest.approx(0.1, rel=0.05)


def test_a_time_resolution_leaves_the_momentum(tmp_path):
    events = one(card(tmp_path, "1", "0", "TimeSmearing"))
    assert np.allclose(events["reconstructed_pt"], 20_000)


def test_a_photon_deposits_its_energy_and_may_fall_below_the_threshold(tmp_path):
    path = card(tmp_path)
    assert [m.name for m in Card.read(path).way("photon")] == ["ECal"]
    events = one(path, "photon", pt=20_000.0, eta=0.0)
    ratio = events["reconstructed_pt"] / 20_000
    assert events.mask.all()
    assert ratio.std() == pytest.approx(np.sqrt(0.01**2 + 0.1**2 / 20), rel=0.05)
    assert not one(path, "photon", pt=500.0, eta=0.0).mask.any()
    assert one(path, "photon", pt=1000.0, eta=0.0).mask.mean() == pytest.approx(0.48, abs=0.03)


def test_what_is_not_covered_is_named_and_may_be_passed_by(tmp_path):
    path = card(tmp_path, kind="TrackCovariance")
    assert Card.read(path).uncovered() == ("Smearing (TrackCovariance)",)
    with pytest.raises(ValueError, match=r"goes through Smearing, a TrackCovariance, which is not covered"):
        delphes_card(str(path))
    assert one(path, leave_out=("TrackCovariance",)).mask.mean() == pytest.approx(0.8, abs=0.012)


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"resolution": "0.1 * mass"}, "card.tcl, Smearing: the formula '0.1 \\* mass' names 'mass'"),
        ({"tail": "module Merger Broken {\n set A {"}, "line \\d+: a brace is opened that nothing closes"),
        ({"tail": "}"}, "a closing brace too many"),
        ({"tail": 'set A "open'}, "a quote is not closed"),
        ({"tail": "source card.tcl"}, "card.tcl sources card.tcl, which leads back to itself"),
    ],
)
def test_bad_cards_are_said_in_a_sentence(tmp_path, changes, what):
    with pytest.raises(ValueError, match=what):
        delphes_card(str(card(tmp_path, **changes)))


def test_files_that_source_each_other_in_a_circle(tmp_path):
    (tmp_path / "a.tcl").write_text("source b.tcl")
    (tmp_path / "b.tcl").write_text("source card.tcl")
    with pytest.raises(ValueError, match=r"b.tcl sources card.tcl, which leads back to itself"):
        delphes_card(str(card(tmp_path, tail="source a.tcl")))


def test_files_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"sources gone.tcl, which is not in"):
        delphes_card(str(card(tmp_path, tail="source gone.tcl")))
    with pytest.raises(FileNotFoundError, match=r"none.tcl, the Delphes card, is not there"):
        delphes_card(str(tmp_path / "none.tcl"))


def test_a_text_that_is_no_card(tmp_path):
    (tmp_path / "x.tcl").write_text("set A 1")
    with pytest.raises(ValueError, match=r"sets no ExecutionPath"):
        delphes_card(str(tmp_path / "x.tcl"))


def test_a_formula_that_divides_by_zero(tmp_path):
    with pytest.raises(ValueError, match=r"Smearing: the formula '0.1/\(pt-20\)' divides by zero .* at pt = 20"):
        one(card(tmp_path, resolution="0.1/(pt-20)"))


def test_tcl_values_continuations_comments_and_sourced_files(tmp_path):
    (tmp_path / "more.tcl").write_text('set B [expr {2*$A}]\nset Q "$A and ${B}"\n# set A {\\\n 9}\nadd L $A\nadd L {x y} z')
    path = tmp_path / "c.tcl"
    path.write_text("set A 3; set C \\\n 4\nforeach x {1 2} { set A 9 }\nsource more.tcl\n")
    values = read_card(path).values
    assert values.set == {"A": "3", "C": "4", "B": "6.0", "Q": "3 and 6.0"}
    assert values.added == {"L": [("3",), ("x y", "z")]}


CARDS = ["ATLAS", "CLICdet_Stage3", "CMS", "CMS_NoFastJet", "FCCeeDetWithSiTracking", "IDEA", "LHCb"]


@pytest.mark.parametrize("name", CARDS)
def test_every_formula_of_a_real_card_evaluates(shared, name):
    rng = np.random.default_rng(1)
    eta, pt = rng.uniform(-5, 5, 2000), np.exp(rng.uniform(-3, 6, 2000))
    read = Card.read(shared / "data" / "delphes_cards" / f"delphes_card_{name}.tcl")
    formulae = read.formulae()
    assert len(formulae) >= 5
    for name_of, formula in formulae.items():
        value = formula(pt=pt, eta=eta, phi=0 * pt, energy=pt * np.cosh(eta))
        assert (value >= 0).all(), name_of
        if "Efficiency" in name_of:
            assert (value <= 1.0001).all(), name_of


@pytest.mark.parametrize("particle", ["electron", "muon", "charged-hadron", "photon"])
@pytest.mark.parametrize("name", ["ATLAS", "CLICdet_Stage3", "CMS", "LHCb"])
def test_every_particle_of_a_real_card_is_simulated(shared, name, particle):
    path = shared / "data" / "delphes_cards" / f"delphes_card_{name}.tcl"
    source = delphes_card(str(path), particle, TrackGun(momentum=(20_000, 50_000)), leave_out=("PhotonConversions",))
    events = source.generate(3000, np.random.default_rng(1))
    ratio = events["reconstructed_pt"][events.mask] / events["pt"][events.mask]
    assert events.mask.mean() > 0.7
    assert ratio.mean() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("name", ["IDEA", "FCCeeDetWithSiTracking"])
def test_real_cards_name_what_is_not_covered(shared, name):
    path = shared / "data" / "delphes_cards" / f"delphes_card_{name}.tcl"
    uncovered = " ".join(Card.read(path).uncovered())
    assert "TrackCovariance" in uncovered
    assert "DualReadoutCalorimeter" in uncovered
    with pytest.raises(ValueError, match=r"DualReadoutCalorimeter, which is not covered"):
        delphes_card(str(path), "photon")


def test_the_electron_of_the_cms_card_is_the_built_in_one(shared):
    read = Card.read(shared / "data" / "delphes_cards" / "delphes_card_CMS.tcl")
    rng = np.random.default_rng(2)
    pt = np.exp(rng.uniform(np.log(30), np.log(1e6), 5000)).astype(np.float32)
    eta = rng.uniform(-3, 3, 5000).astype(np.float32)
    formulae = read.formulae()
    known = {"pt": pt.astype(float) / 1000, "eta": eta.astype(float), "phi": 0.0 * pt, "energy": 0.0 * pt}
    assert formulae["ElectronTrackingEfficiency"](**known) == pytest.approx(efficiency(pt, eta), abs=1e-6)
    smeared = np.minimum(formulae["ElectronMomentumSmearing"](**known), 1)
    assert smeared == pytest.approx(resolution(pt, eta), rel=1e-5, abs=1e-9)
