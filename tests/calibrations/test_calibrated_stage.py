"""Calibrations in a recipe: fitted by the journey, kept by checkpoints and bundle, inside the graph, and refused where wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from small import small
from understudy.build import build_geometry, build_stage, check_stages
from understudy.console import Console
from understudy.deployment.bundle import load_bundle, read_trained, write_bundle
from understudy.deployment.export import export_graphs
from understudy.journey import train
from understudy.recipe import Recipe
from understudy.rundir import RunDirectory
from understudy.splits import prepare

FIT = {"hidden_layers": 1, "width": 8, "bins": 4, "training": {"epochs": 3, "batch_size": 100, "score_every": 1, "threads": 1}}
SHAPE = {"moments": ["width"], "layers": ["strips"]}
CALIBRATION = [{"kind": "total-energy", **FIT}, {"kind": "moments", **SHAPE, **FIT}]


def words(calibration):
    data = small(name="calibrated", events=600, baseline=None)
    data["stages"] = [
        {
            "features": {"incident_energy": "log", "position": "standardise"},
            "transforms": [{"kind": "divide-by-energy", "by": "incident_energy"}],
            "model": {"kind": "library"},
            "calibration": calibration,
        }
    ]
    return data


def trained(place, resume=False, calibration=CALIBRATION):
    recipe = Recipe.from_dict(words(calibration))
    run = RunDirectory.open(place, recipe, resume=resume)
    data = prepare(recipe, run, Console(quiet=True))
    return recipe, data, train(recipe, data, run, resume=resume, console=Console(quiet=True))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    place = tmp_path_factory.mktemp("calibrated") / "run"
    return place, *trained(place)


def showers(surrogate, data, seed=1):
    return surrogate.simulate(data.train.without_response().conditions, np.random.default_rng(seed))


def test_the_journey_fits_them_and_counts_their_time(run):
    place, recipe, _, done = run
    assert recipe.to_dict()["stages"][0]["calibration"][0]["kind"] == "total-energy"
    assert [bool(c.fitted) for c in done.surrogate.last.calibrations] == [True, True]
    assert (place / "checkpoints" / "response" / "calibration-1" / "last" / "state.json").is_file()
    again, _, _ = read_trained(place)
    ours, theirs = done.surrogate.state_dict(), again.state_dict()
    assert set(ours) == set(theirs)
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


def test_a_run_that_is_resumed_after_the_training_of_its_model_ends_the_same(run, tmp_path):
    _, _, data, done = run
    again = tmp_path / "run"
    trained(again)
    for name in ("surrogate.json", "surrogate.safetensors"):
        (again / "checkpoints" / name).unlink()
    _, _, resumed = trained(again, resume=True)
    np.testing.assert_array_equal(showers(resumed.surrogate, data)["showers"], showers(done.surrogate, data)["showers"])


def test_a_bundle_holds_them_in_graph_and_weights(run, tmp_path):
    """`write_bundle` holds the graph to parity over 2000 events."""
    _, recipe, data, done = run
    bundle = write_bundle(tmp_path / "bundle", done.surrogate, recipe, export_graphs(done.surrogate, tmp_path))
    ours = showers(done.surrogate, data)["showers"]
    rebuilt = showers(load_bundle(bundle, engine="torch"), data)["showers"]
    exported = showers(load_bundle(bundle), data)["showers"]
    np.testing.assert_array_equal(ours, rebuilt)
    assert np.isclose(ours, exported, rtol=1e-4, atol=1e-2).mean() > 0.999


def test_they_change_moments_and_not_which_cells_are_hit(run):
    _, _, data, done = run
    stage = done.surrogate.last
    kept, stage.calibrations = stage.calibrations, torch.nn.ModuleList()
    plain = showers(done.surrogate, data)["showers"]
    stage.calibrations = kept
    calibrated = showers(done.surrogate, data)["showers"]
    np.testing.assert_array_equal(plain == 0, calibrated == 0)
    assert np.abs(calibrated.sum(1) - plain.sum(1)).max() > 1e-4 * plain.sum(1).mean()


def test_calibration_asked_for_what_the_response_lacks_is_refused_before_anything_is_computed():
    recipe = Recipe.from_dict(words([{"kind": "moments", "moments": ["containment"]}]))
    with pytest.raises(ValueError, match=r"moments: the response has no 'containment'; geometry 'atlas-em-89' has total_energy"):
        check_stages(recipe, _schema(recipe), build_geometry(recipe))
    flat = recipe.model_copy(update={"geometry": None, "projections": []})
    stage = Recipe.from_dict(words([{"kind": "total-energy"}])).stages[0].model_copy(update={"transforms": []})
    with pytest.raises(ValueError, match="total-energy: the response is no calorimeter's"):
        build_stage(stage, flat, _schema(recipe), None)


def test_wrong_words_are_one_sentence():
    with pytest.raises(ValueError, match=r"no kind 'moment' in calibrations .did you mean 'moments'..; there are moments, total"):
        Recipe.from_dict(words([{"kind": "moment"}]))
    with pytest.raises(ValueError, match="unknown key 'radius'"):
        Recipe.from_dict(words([{"kind": "moments", "radius": 3}]))


def test_another_recipe_may_leave_them_out(tmp_path):
    (tmp_path / "first.yaml").write_text(Recipe.from_dict(words(CALIBRATION)).to_yaml())
    (tmp_path / "second.yaml").write_text("extends: first.yaml\nchange: {stages.response.calibration: []}\n")
    (tmp_path / "third.yaml").write_text("extends: first.yaml\nchange: {stages.response.calibration.1.bins: 5}\n")
    assert Recipe.load(tmp_path / "second.yaml").stages[0].calibration == []
    assert Recipe.load(tmp_path / "third.yaml").stages[0].calibration[1].arguments["bins"] == 5


def _schema(recipe):
    from understudy.build import build_preparation

    geometry = build_geometry(recipe)
    events = recipe.reference().generate(20, np.random.default_rng(0))
    return build_preparation(recipe, geometry)(events, geometry).schema
