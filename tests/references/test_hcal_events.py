"""Single pions and whole events in the LHCb HCAL."""

from __future__ import annotations

import sys

import awkward
import numpy as np
import pytest

from understudy import hcal_geometry as hcal
from understudy import registry, storage
from understudy.references import hcal_events, hcal_pythia
from understudy.references.hcal_events import HcalEvents, lhcb_hcal_events
from understudy.references.hcal_flight import MAGNET, Tracking, charge, depositing, fly, tracks
from understudy.references.hcal_pions import PionGun, lhcb_hcal_pions
from understudy.references.hcal_pythia import Generated
from understudy.references.hcal_shower import BARYON, MUON


def rng(seed=1):
    return np.random.default_rng(seed)


def made(*particles):
    """Particles (pdg, px, py, pz [MeV], z [mm]) of one event each."""
    pdg, px, py, pz, z = (np.array(c, float) for c in zip(*particles, strict=True))
    n = len(pdg)
    return Generated(np.arange(n), pdg.astype(int), px, py, pz, np.zeros(n), np.zeros(n), z, np.zeros(n, bool))


@pytest.fixture(scope="module")
def events():
    return lhcb_hcal_events("stored").generate(300, rng())


def test_pions_answer_at_their_own_place_and_energy():
    source = lhcb_hcal_pions()
    found = source.generate(3000, rng())
    cells, et = found["cells"].reshape(-1, *hcal.SHAPE), found["et"]
    hcal.check_caps(cells)
    hard = et > 1000
    total = cells.sum((1, 2))
    assert 0.6 < (total[hard] / et[hard]).mean() < 0.85  # a third of the energy stays in front
    assert (total[hard] > 0).mean() > 0.99  # some showers end in front
    hard &= total > 0
    column = (cells.sum(1) @ np.arange(64))[hard] / total[hard]
    x = found["position"][hard, 0] / hcal.CELL + 31.5
    assert np.median(np.abs(column - x)) < 0.7
    assert np.isfinite(found["momentum"]).all()


def test_pions_are_the_same_for_the_same_generator_and_others_for_another():
    source = lhcb_hcal_pions()
    first, again, other = (source.generate(50, rng(s))["cells"] for s in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(("x", "y"), [(0.0, 0.0), (5000.0, 0.0), (0.0, -3500.0)], ids=["hole", "right", "below"])
def test_pions_that_miss_the_calorimeter_are_named(x, y):
    simulator = lhcb_hcal_pions().simulator
    position = np.array([[1000.0, 0.0], [x, y]])
    with pytest.raises(ValueError, match=r"event 1 points to x = .* beside the calorimeter or into its beam hole"):
        simulator.simulate({"position": position, "et": np.ones(2)}, rng())


def test_pions_need_all_their_conditions_and_a_gun_in_order():
    with pytest.raises(ValueError, match="the conditions lack et"):
        lhcb_hcal_pions().simulator.simulate({"position": np.array([[1000.0, 0.0]])}, rng())
    with pytest.raises(ValueError, match="et_range must go upwards"):
        PionGun(et_range=(100.0, 50.0))
    with pytest.raises(ValueError, match="hardly overlap"):
        PionGun(et_range=(5e5, 6e5))


def test_charges_and_the_kick_of_the_dipole():
    assert charge(np.array([11, -11, 13, 211, -321, 2212, 2112, 130, 3112, -3112])).tolist() == [-1, 1, -1, 1, -1, 1, 0, 0, -1, 1]
    flight = fly(made((211, 0.0, 900.0, 12_000.0, 0.0), (-211, 0.0, 900.0, 12_000.0, 0.0), (2112, 0.0, 900.0, 12_000.0, 0.0)))
    pz = np.sqrt(12_000.0**2 - 1200.0**2)
    bent = 1200.0 / pz * (hcal.Z_FACE - MAGNET)
    assert flight.x == pytest.approx([bent, -bent, 0.0])
    assert flight.slope_x == pytest.approx([1200.0 / pz, -1200.0 / pz, 0.0])
    assert flight.y[2] == pytest.approx(900 / 12_000 * hcal.Z_FACE)
    late = fly(made((211, 0.0, 900.0, 12_000.0, 6000.0)))
    assert late.x == pytest.approx([0.0])
    assert not fly(made((211, 0.0, 10.0, 1000.0, 0.0))).arrives[0]  # swept out


def test_who_leaves_what():
    particles = made(*((pdg, 0.0, 900.0, 12_000.0, 0.0) for pdg in (11, 13, 211, 2112, 2212, 130)))
    flight = fly(particles)
    arriving = depositing(particles, flight)
    assert arriving.event.tolist() == [1, 2, 3, 4, 5]  # no electron
    assert (arriving.sort == MUON).tolist() == [True, False, False, False, False]
    assert (arriving.sort == BARYON).tolist() == [False, False, True, True, False]
    momentum = np.hypot(900.0, 12_000.0)
    assert arriving.energy[2] == pytest.approx(np.hypot(momentum, 939.57) - 939.57)
    rows, found = tracks(particles, flight, Tracking(efficiency=1.0, turn_on=1.0), rng())
    assert rows.tolist() == [0, 1, 2, 4]  # no neutral ones
    assert found[:, 2] == pytest.approx(np.hypot(momentum, 139.57) * hcal.sine(flight.x[rows], flight.y[rows]), rel=0.03)


def test_the_tracking_efficiency_is_as_said():
    n = 20_000
    particles = made(*[(211, 0.0, 900.0, 12_000.0, 0.0)] * n)
    rows, _ = tracks(particles, fly(particles), Tracking(), rng())
    momentum = np.hypot(900, 12_000)
    assert len(rows) / n == pytest.approx(0.96 * (1 - np.exp(-momentum / 1500)), abs=0.01)


def test_whole_events_hold_together(events):
    cells = events["cells"].reshape(-1, *hcal.SHAPE)
    hcal.check_caps(cells)
    assert np.array_equal(hcal.as_read_out(cells), cells)
    assert np.array_equal(awkward.num(events["tracks"]), events["n_tracks"])
    np.testing.assert_allclose(hcal.tracker_image(events["tracks"]), events["tracker_image"], rtol=1e-5)
    assert 20 < events["n_tracks"].mean() < 45
    signal = events["signal"]
    assert awkward.num(signal).to_numpy().max() == 3
    np.testing.assert_allclose(awkward.to_numpy(awkward.sum(signal[..., 2], axis=1)), events["signal_et"], rtol=1e-4)
    assert 0.6 < cells.sum() / events["tracker_image"].sum() < 0.9


def test_whole_events_are_written_and_read_back(events, tmp_path):
    storage.write(tmp_path / "events.h5", events[:20], geometry=lhcb_hcal_events().geometry)
    again = storage.read(tmp_path / "events.h5")
    assert np.array_equal(again["cells"], events["cells"][:20])
    assert again["tracks"].tolist() == events["tracks"][:20].tolist()
    assert again.schema == events.schema


def test_an_event_without_tracks_or_particles_is_an_event():
    empty = made((211, 0.0, 900.0, 12_000.0, 0.0))
    found = HcalEvents("stored").detect(empty, 3, rng())
    assert len(found) == 3
    assert found["n_tracks"][1:].tolist() == [0, 0]
    assert found["cells"][1:].sum() == found["tracker_image"][1:].sum() == 0


def test_the_stored_sample_uses_every_event_before_any_twice():
    total = int(hcal_events._stored().event[-1]) + 1
    sample = hcal_events.stored(total, rng())
    momenta = np.bincount(sample.event, sample.pz)
    assert len(set(momenta.round(2).tolist())) == total
    assert (np.bincount(sample.event[sample.signal]) == 3).mean() > 0.95


def test_without_pythia_the_stored_sample_is_used_and_said(monkeypatch):
    monkeypatch.setattr(hcal_pythia, "available", lambda: False)
    with pytest.warns(UserWarning, match="Pythia 8 is not installed: the small stored sample"):
        assert len(lhcb_hcal_events().generate(3, rng())) == 3
    monkeypatch.setitem(sys.modules, "pythia8mc", None)
    with pytest.raises(ModuleNotFoundError, match="Pythia 8 is not installed; run: pip install"):
        lhcb_hcal_events("pythia").generate(3, rng())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"efficiency": 1.2}, "the tracking efficiency is 1.2"),
        ({"dead": [[40, 1]]}, r"the dead cell \(40, 1\)"),
        ({"particles": "herwig"}, "input should be 'auto', 'pythia' or 'stored'"),
    ],
)
def test_words_that_make_no_source(words, message):
    with pytest.raises(ValueError, match=message):
        registry.factory("references", {"kind": "lhcb-hcal-events", **words})()


@pytest.mark.skipif(not hcal_pythia.available(), reason="needs pythia8mc")
def test_pythia_makes_the_signal_decay():
    sample = hcal_pythia.generate(12, rng())
    mass = {211: 139.57039, 321: 493.677}
    for event in range(12):
        of_it = sample[np.flatnonzero((sample.event == event) & sample.signal)]
        charges = charge(of_it.pdg)
        kaon = np.abs(of_it.pdg) == 321
        if len(of_it) < 3:  # a slow one was left out
            continue
        assert kaon.sum() == 1
        assert len(set(charges[~kaon].tolist())) == 1
        assert charges[kaon][0] == -charges[~kaon][0]
        energy = sum(
            np.sqrt(m**2 + p @ p)
            for m, p in zip((mass[abs(k)] for k in of_it.pdg.tolist()), np.stack([of_it.px, of_it.py, of_it.pz], 1), strict=True)
        )
        momentum = np.array([of_it.px.sum(), of_it.py.sum(), of_it.pz.sum()])
        assert np.sqrt(energy**2 - momentum @ momentum) == pytest.approx(1869.66, abs=0.5)
