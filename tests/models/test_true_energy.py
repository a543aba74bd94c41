"""Conditioning on the true energy: the user gives transverse momentum and pseudorapidity and gets showers."""

from __future__ import annotations

import h5py
import numpy as np
import pytest
import torch
import yaml

from small import small
from understudy import load_bundle
from understudy.build import build_preparation
from understudy.console import Console
from understudy.deployment.bundle import read_trained
from understudy.deployment.parity import check_parity
from understudy.deployment.runtime import Session
from understudy.events import Events
from understudy.kinematics import true_energy
from understudy.models.kinematics import TrueEnergy
from understudy.recipe import Recipe
from understudy.schema import Block, Schema
from understudy.steps import export_run, train_only
from understudy.validation.curves import binned_mean, curves, energy_edges
from understudy.validation.observables import energy_block, incident_energy

pytestmark = pytest.mark.filterwarnings("ignore::understudy.domain.OutOfDomainWarning")

PT, ETA = np.array([1e3, 2e4, 5e4]), np.array([0.0, -1.1, 2.4])


def test_the_closed_form():
    expected = PT * np.cosh(ETA)
    np.testing.assert_allclose(true_energy({"true_pt": PT, "true_eta": ETA[:, None]}), expected, rtol=1e-14)
    model = TrueEnergy(feature_size=2, response_size=1)
    features = torch.tensor(np.stack([PT, ETA], 1), dtype=torch.float32)
    np.testing.assert_allclose(model.sample(torch.zeros(3, 0), features)[:, 0].numpy(), expected, rtol=1e-6)
    assert model.turns() == ()
    massless = np.stack([PT, PT * np.sinh(ETA)], 1)
    np.testing.assert_allclose(np.linalg.norm(massless, axis=1), expected, rtol=1e-12)


def test_the_features_are_found_by_name_and_must_be_raw():
    model = TrueEnergy(feature_size=2, response_size=1, feature_names=("true_eta", "true_pt"))
    features = torch.tensor(np.stack([ETA, PT], 1), dtype=torch.float32)
    np.testing.assert_allclose(model.sample(torch.zeros(3, 0), features)[:, 0].numpy(), PT * np.cosh(ETA), rtol=1e-6)
    with pytest.raises(ValueError, match=r"needs the features \{true_pt: raw, true_eta: raw\}, found log\(true_pt\), true_eta"):
        TrueEnergy(feature_size=2, response_size=1, feature_names=("log(true_pt)", "true_eta"))
    with pytest.raises(ValueError, match="one number per event, but 89"):
        TrueEnergy(feature_size=2, response_size=89)
    with pytest.raises(ValueError, match="the conditions lack true_eta; they are true_pt"):
        true_energy({"true_pt": PT})


def test_the_energy_of_curves_is_the_true_energy_where_the_file_has_only_its_parts():
    blocks = (Block("true_pt", "MeV"), Block("true_eta"))
    events = Events(Schema(blocks), {"true_pt": PT, "true_eta": ETA})
    assert energy_block(events.schema).name == "true_energy"
    np.testing.assert_allclose(incident_energy(events), PT * np.cosh(ETA), rtol=1e-6)
    both = Schema((*blocks, Block("incident_energy", "MeV")))
    assert energy_block(both).name == "incident_energy"
    assert energy_block(Schema(blocks[:1])) is None


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The journey on a file as a user brings it: true_pt in GeV, true_eta, the impact position, and 89 cells in MeV."""
    folder = tmp_path_factory.mktemp("true")
    words = small(name="true-energy", events=400)
    made = Recipe.from_dict(words).reference().generate(400, np.random.default_rng(2))
    eta = np.random.default_rng(3).uniform(0.1, 1.1, 400)
    with h5py.File(folder / "photons.h5", "w") as file:
        file["true_pt"] = made["incident_energy"] / np.cosh(eta) / 1e3
        file["true_pt"].attrs["unit"] = "GeV"
        file["true_eta"] = eta
        file["position"] = made["position"]
        file["showers"] = made["showers"]
    words["reference"] = {
        "kind": "file",
        "path": str(folder / "photons.h5"),
        "geometry": "atlas-em-89",
        "conditions": ["true_pt", "true_eta", "position"],
    }
    gan = words["stages"][1]
    gan["features"] = {"true_energy": "log", "position": "standardise"}
    gan["transforms"] = [{"kind": "divide-by-energy", "by": "true_energy"}]
    gan["model"]["generator"]["output"] = "softplus"
    first = {
        "produces": "true_energy",
        "features": {"true_pt": "raw", "true_eta": "raw"},
        "model": {"kind": "true-energy"},
    }
    words |= {"derived": ["true_energy"], "select": {}, "stages": [first, gan], "baseline": None}
    del words["alternatives"], words["events"]
    (folder / "recipe.yaml").write_text(yaml.safe_dump(words))
    console = Console(quiet=True)
    train_only(folder / "recipe.yaml", out=folder / "run", console=console)
    return export_run(folder / "run", console=console)


def test_the_energy_is_taken_from_the_file_and_the_response_is_judged_against_it(finished):
    recipe, surrogate = Recipe.load(finished / "recipe.yaml"), load_bundle(finished)
    geometry = surrogate.geometry
    events = recipe.reference().events()
    assert events.schema.block("true_pt").unit == "MeV"
    prepared = build_preparation(recipe, geometry)(events)
    energy = events["true_pt"] * np.cosh(events["true_eta"])
    np.testing.assert_allclose(prepared["true_energy"], energy, rtol=1e-6)
    answer = surrogate.simulate(prepared.without_response().conditions, np.random.default_rng(1))
    edges = energy_edges(prepared, geometry)
    for sample in (prepared, answer):
        found = curves(sample, geometry, edges, np.random.default_rng(2))
        assert {"response_vs_energy", "resolution_vs_energy"} <= set(found)
        expected, _ = binned_mean(energy, sample["showers"].sum(1) / energy, edges)
        np.testing.assert_allclose(found["response_vs_energy"].y, expected, rtol=1e-5)


def test_a_user_gives_pt_and_eta_and_gets_showers_that_scale_with_the_energy(finished):
    surrogate = load_bundle(finished)
    n = 300
    position = np.tile([18.0, 18.0], (n, 1))
    rng = np.random.default_rng(1)
    at = {"true_pt": np.full(n, 1e4), "true_eta": np.full(n, 0.2), "position": position}
    low = surrogate.simulate(at, rng)["showers"].sum(1).mean()
    high = surrogate.simulate({**at, "true_eta": np.full(n, 1.0)}, rng)["showers"].sum(1).mean()
    assert high / low == pytest.approx(np.cosh(1.0) / np.cosh(0.2), rel=0.1)


def test_the_exported_graph_begins_with_pt_and_eta_and_agrees_with_torch(finished):
    surrogate, _, _ = read_trained(finished.parent)
    session = Session(finished / "surrogate.onnx")
    assert set(session._inputs) == {"noise", "true_pt", "true_eta", "position"}
    assert surrogate.noise_size == surrogate.last.model.noise_size  # the first stage draws nothing
    asked = Recipe.load(finished / "recipe.yaml").reference().events()[:100].without_response()
    assert check_parity(surrogate, session, asked, np.random.default_rng(4)).largest_difference < 1e-5
