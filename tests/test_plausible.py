"""Files that are not what they say: wrong units are asked for, particles that miss the calorimeter are named."""

from __future__ import annotations

import sys

import h5py
import numpy as np
import pytest
import yaml

from small import small
from understudy import cli, geometry, storage
from understudy.domain import OutOfDomainWarning
from understudy.geometry import Calorimeter, Layer
from understudy.plausible import check_energy_scale, check_plausible, front_face
from understudy.registry import factory

ECAL, ATLAS = geometry.builtin("lhcb-ecal"), geometry.builtin("atlas-em-89")


@pytest.fixture(scope="module")
def electrons():
    return factory("references", {"kind": "parametric-lhcb-ecal"})().generate(60, np.random.default_rng(1))


@pytest.fixture(scope="module")
def photons():
    return factory("references", {"kind": "parametric-atlas"})().generate(60, np.random.default_rng(1))


def changed(events, name, values):
    if name == "showers":
        return events.with_response({"showers": values})
    return events.with_condition(events.schema.block(name), values)


def test_good_showers_are_not_questioned(electrons, photons, shared):
    check_plausible(electrons, ECAL)
    check_plausible(photons, ATLAS)
    check_plausible(photons, None)
    check_plausible(photons[:0], ATLAS)
    for name, calorimeter in (("lhcb_ecal_electrons", ECAL), ("atlas_photons", geometry.builtin("atlas-em-247"))):
        check_plausible(storage.read(shared / "geant4" / f"{name}.h5", stop=1000), calorimeter)


@pytest.mark.parametrize("which", ["electrons", "photons"])
@pytest.mark.parametrize(
    ("name", "factor", "words"),
    [
        ("showers", 1e-3, "do the showers hold GeV where MeV are declared?"),
        ("incident_energy", 1e-3, "do the incident energies hold GeV where MeV are declared?"),
        ("showers", 1e3, "GeV where MeV are declared?"),
        ("incident_energy", 1e3, "GeV where MeV are declared?"),
        ("showers", 1e6, "have showers and incident energies the units that are declared?"),
    ],
)
def test_energies_off_by_a_thousand_are_a_question(request, which, name, factor, words):
    events = request.getfixturevalue(which)
    calorimeter = ECAL if which == "electrons" else ATLAS
    bad = changed(events, name, events[name] * factor)
    with pytest.raises(ValueError, match=r"of the incident energy where 0\.01 to 1\.5 are expected") as error:
        check_plausible(bad, calorimeter, where="mine.h5")
    assert words in str(error.value).replace("\n", " ")
    assert str(error.value).startswith("mine.h5: the cells hold ")
    check_energy_scale(bad.packed(), bad["incident_energy"], (1e-9, 1e9), "mine.h5")  # said to be so


@pytest.mark.parametrize(
    ("response", "words"),
    [
        (1.02e-3, "do the showers hold GeV"),  # a calibrated calorimeter that answers a little high
        (1e-3, "do the showers hold GeV"),
        (12.0, "do the incident energies hold GeV"),  # a sampling fraction of 1.2 %
        (5e-3, None),  # a sampling fraction of half a per cent
        (2e-3, None),
        (5.0, None),
    ],
)
def test_what_a_factor_of_a_thousand_explains_is_asked_for_near_the_expected_range_as_well(response, words):
    energy = np.full(5, 1000.0)
    cells = np.full((5, 2), 500.0 * response)
    if words is None:
        check_energy_scale(cells, energy, (0.01, 1.5), "mine.h5")
        return
    with pytest.raises(ValueError, match=words):
        check_energy_scale(cells, energy, (0.01, 1.5), "mine.h5")
    check_energy_scale(cells, energy, (0.5 * response, 2 * response), "mine.h5")


def test_the_true_energy_is_asked_for_too(photons):
    eta = np.full(60, 0.5)
    pt = photons["incident_energy"] / np.cosh(eta) / 1e3
    blocks = storage.layout._KNOWN
    bad = photons.select_conditions(["position"]).with_condition(blocks["true_pt"], pt).with_condition(blocks["true_eta"], eta)
    with pytest.raises(ValueError, match="do the incident energies hold GeV"):
        check_plausible(bad, ATLAS)


@pytest.mark.parametrize(("factor", "which"), [(1e-3, "momenta"), (1e3, "incident energies")])
def test_momentum_and_energy_off_by_a_thousand_are_a_question(electrons, factor, which):
    bad = changed(electrons, "momentum", electrons["momentum"] * factor)
    with pytest.raises(ValueError, match=f"momenta are .* of the incident energies; do the {which} hold GeV"):
        check_plausible(bad, ECAL)


def test_particles_that_fly_away_are_named(electrons):
    momentum = electrons["momentum"].copy()
    momentum[[7, 9], 2] *= -1
    with pytest.raises(ValueError, match=r"event 7 has pz = -\d.* MeV, away from the calorimeter, and 2 of 60 events have"):
        check_plausible(changed(electrons, "momentum", momentum), ECAL)


@pytest.mark.parametrize(
    ("which", "at", "words"),
    [
        (
            "electrons",
            (301.0, 0.0),
            r"event 4 enters at \(301, 0\) mm, beside the cells of 'lhcb-ecal', which cover \(-300, -300\)",
        ),
        ("electrons", (0.0, -3000.0), r"event 4 enters at \(0, -3000\) mm"),
        ("photons", (1500.0, 0.0), r"event 4 enters at \(1500, 0\) mm, beside the cells of 'atlas-em-89'"),
    ],
)
def test_particles_beside_the_cells_are_named(request, which, at, words):
    events = request.getfixturevalue(which)
    position = events["position"].copy()
    position[4] = at
    with pytest.raises(ValueError, match=words):
        check_plausible(changed(events, "position", position), ECAL if which == "electrons" else ATLAS)


def test_the_front_face_in_millimetres():
    np.testing.assert_allclose(front_face(ECAL), [[-300, -300], [300, 300]])
    np.testing.assert_allclose(front_face(geometry.builtin("lhcb-hcal"))[1], [32 * 131.3, 26 * 131.3], rtol=1e-3)  # rows along y
    low, high = front_face(ATLAS)
    np.testing.assert_allclose(low, [-75, -4 * geometry.DPHI * 1500])
    np.testing.assert_allclose(high, [75, 4 * geometry.DPHI * 1500])
    ring = Layer("ring", ((-1.0, 1.0), (1.0, 2.0)), ("alpha", "r"), ("rad", "mm"), "polar")
    assert front_face(Calorimeter("ring", (ring,))) is None


@pytest.fixture
def understudy(monkeypatch, capfd):
    """The last line that a failing command says."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["understudy", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        assert stop.value.code == 1
        return capfd.readouterr().err.strip().splitlines()[-1]

    return call


@pytest.fixture
def recipe_file(tmp_path, photons):
    """A recipe for a file of 89 cells without a header, as a user brings it."""
    with h5py.File(tmp_path / "photons.h5", "w") as file:
        file["incident_energies"] = photons["incident_energy"][:, None]
        file["position"], file["showers"] = photons["position"], photons["showers"]
    words = small(name="mine", events=None, baseline=None)
    words["reference"] = {"kind": "file", "geometry": "atlas-em-89", "conditions": ["incident_energy", "position"]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(words))
    return tmp_path / "mine.yaml"


def scale(factor, *names):
    def change(file):
        for name in names:
            file[name][:] = file[name][:] * factor

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (scale(1e-3, "showers"), "do the showers hold GeV where MeV are declared?"),
        (scale(1e-3, "incident_energies"), "do the incident energies hold GeV where MeV are declared?"),
        (scale(1e-3, "showers", "incident_energies"), "do showers and energies hold GeV where MeV are declared?"),
        (scale(100, "position"), "enters at"),
    ],
)
def test_the_question_comes_from_the_command_line_before_anything_is_learned(understudy, recipe_file, tmp_path, change, words):
    path = tmp_path / "photons.h5"
    with h5py.File(path, "a") as file:
        change(file)
    said = understudy("train", recipe_file, "--data", path, "--out", tmp_path / "run")
    assert said.startswith("error: ")
    assert words in said
    assert "photons.h5" in said
    assert list((tmp_path / "run").iterdir()) == []


def test_a_geometry_that_does_not_match_the_number_of_cells(understudy, recipe_file, tmp_path):
    words = yaml.safe_load(recipe_file.read_text())
    words["reference"]["geometry"] = "atlas-em-247"
    recipe_file.write_text(yaml.safe_dump(words))
    said = understudy("train", recipe_file, "--data", tmp_path / "photons.h5", "--out", tmp_path / "run")
    assert "has 89 cells per event where geometry 'atlas-em-247' has 247; name the geometry that the file was made with" in said


def test_outside_the_calorimeter_a_stand_in_answers_and_says_so(surrogate, events):
    """A user may ask for anything; what lies beside the cells lies outside what was trained on, and is flagged."""
    given = {b.name: events.conditions[b.name][:5].copy() for b in events.schema.given}
    given["position"][2] = (5000.0, 0.0)
    with pytest.warns(OutOfDomainWarning, match="1 of 5 events have position outside the trained range"):
        answer = surrogate.simulate(given, np.random.default_rng(1))
    np.testing.assert_array_equal(answer["out_of_domain"], [0, 0, 1, 0, 0])
    assert np.isfinite(answer["showers"]).all()
