"""Detection from end to end: learned, drawn, exported, stored, compared."""

import dataclasses

import numpy as np
import pytest
import torch
import yaml

from small import small
from understudy import storage
from understudy.console import Console
from understudy.deployment.bundle import load_bundle, read_trained
from understudy.deployment.parity import ParityError, check_parity
from understudy.deployment.runtime import Session
from understudy.journey import run
from understudy.recipe import Recipe
from understudy.steps import export_run, sample_bundle, train_only

QUIET = Console(quiet=True)
pytestmark = pytest.mark.filterwarnings("ignore::understudy.domain.OutOfDomainWarning")
ANALYSIS = {
    "kind": "detector-response",
    "events": 2000,
    "times": 1000,
    "repeated": [[4250, 2.4, 1.5]],
    "etas": [0.2],
    "phis": [1],
}


def words():
    said = small("delphes-electron", events=4000)
    for stage in said["stages"]:
        stage["model"]["network"] = {"kind": "dense", "layers": 1, "width": 16}
        stage["training"] = {"epochs": 30, "batch_size": 500, "score_every": 30}
    return said


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A trained and exported run."""
    folder = tmp_path_factory.mktemp("detected")
    (folder / "r.yaml").write_text(yaml.safe_dump(words()))
    run = train_only(folder / "r.yaml", out=folder / "run", console=QUIET)
    export_run(run, console=QUIET)
    return run


@pytest.fixture(scope="module")
def surrogate_of(folder):
    return read_trained(folder)[0]


def asked(n, seed=1):
    return Recipe.load("delphes-electron").reference().gun.draw(n, np.random.default_rng(seed))


def test_the_mask_follows_the_learned_probability_and_directions_pass_through(surrogate_of):
    given = asked(5000)
    made = surrogate_of.simulate(given, np.random.default_rng(2))
    chance = surrogate_of.detection_probability(given)
    assert chance.shape == (5000,)
    assert abs(made.mask.mean() - chance.mean()) < 4 * 0.5 / 5000**0.5
    assert chance[np.abs(given["eta"]) < 1.2].mean() > chance[np.abs(given["eta"]) > 2.7].mean() + 0.1
    for name in ("eta", "phi"):
        assert np.array_equal(made[f"reconstructed_{name}"][made.mask], given[name].astype(np.float32)[made.mask])
        assert np.isnan(made[f"reconstructed_{name}"][~made.mask]).all()
    assert (made["reconstructed_pt"][made.mask] > 0).all()


def test_the_bundle_answers_as_torch_does(folder, surrogate_of):
    given = asked(3000)
    bundle = load_bundle(folder)
    torch_made = surrogate_of.simulate(given, np.random.default_rng(3))
    onnx_made = bundle.simulate(given, np.random.default_rng(3))
    assert (torch_made.mask != onnx_made.mask).sum() <= 1
    both = torch_made.mask & onnx_made.mask
    np.testing.assert_allclose(onnx_made["reconstructed_pt"][both], torch_made["reconstructed_pt"][both], rtol=2e-5)
    np.testing.assert_allclose(bundle.detection_probability(given), surrogate_of.detection_probability(given), atol=1e-5)
    assert bundle.manifest["graphs"][0]["outputs"] == ["response", "unprojected", "detected", "probability"]
    assert len(bundle.manifest["graphs"]) == 1


def test_a_graph_that_detects_otherwise_is_refused(folder, surrogate_of):
    session = Session(folder / "bundle" / "surrogate.onnx", threads=1)
    given = surrogate_of.simulate(asked(500), np.random.default_rng(1))
    check_parity(surrogate_of, session, given, np.random.default_rng(1))
    last = surrogate_of.detection.model.network.layers[-2]
    with torch.no_grad():
        last.bias.add_(1e-3)
    with pytest.raises(ParityError, match="detects otherwise than torch"):
        check_parity(surrogate_of, session, given, np.random.default_rng(1))
    with torch.no_grad():
        last.bias.sub_(1e-3)


def test_samples_are_stored_with_their_mask(folder, tmp_path):
    path, _ = sample_bundle(folder, tmp_path / "out.h5", events=300, console=QUIET)
    again = storage.read(path)
    assert 0.2 < again.mask.mean() < 1
    assert np.isnan(again["reconstructed_pt"][~again.mask]).all()


@pytest.mark.slow
def test_the_report_has_the_detector_s_response(tmp_path):
    said = words()
    said["validation"] |= {"analyses": [ANALYSIS]}
    finished = run(Recipe.from_dict(said), out=tmp_path / "run", console=QUIET)
    stored = storage.read(finished.directory / "samples.h5")
    assert 0.2 < stored.mask.mean() < 1
    found = finished.report.metrics["candidates"]["delphes-electron"]["analyses"]["detector-response"]
    assert {"regions", "maps", "reliability", "directions"} <= set(found)
    assert found["regions"]["efficiency"]["floor"] >= 0
    assert found["directions"]["eta"]["largest"] == 0
    assert "Efficiency and momentum response in regions" in (finished.directory / "report" / "report.html").read_text()


def test_a_reference_that_loses_particles_needs_the_stage(tmp_path):
    said = words()
    said["stages"] = said["stages"][1:]
    (tmp_path / "r.yaml").write_text(yaml.safe_dump(said))
    with pytest.raises(ValueError, match="has no stage that produces 'detected'; add one"):
        train_only(tmp_path / "r.yaml", out=tmp_path / "run", console=QUIET)


def test_events_without_a_mask_have_nothing_to_learn(surrogate, events):
    stage = surrogate.last
    from understudy.build import target_of
    from understudy.surrogate import DETECTED

    class Other:
        produces = DETECTED

    assert stage.produces != DETECTED
    with pytest.raises(ValueError, match="the reference has no mask"):
        target_of(Other(), dataclasses.replace(events, mask=None))


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"model": {"kind": "spline"}}, "needs the model 'detection', not 'spline'"),
        ({"produces": "seen"}, "a stage produces 'seen', which 'derived' does not name"),
    ],
)
def test_stages_that_cannot_detect(change, what):
    said = words()
    said["stages"][0] |= change
    with pytest.raises(ValueError, match=what):
        Recipe.from_dict(said)


def test_a_card_takes_the_place_of_the_reference(tmp_path):
    recipe = Recipe.load("delphes-electron")
    learned = recipe.using(card=tmp_path / "c.tcl", particle="muon")
    assert learned.reference.kind == "delphes-card"
    assert learned.reference.arguments["particle"] == "muon"
    assert learned.reference.to_dict()["gun"] == recipe.reference.to_dict()["gun"]
    with pytest.raises(ValueError, match="give one of the three"):
        recipe.using(card="c.tcl", data="events.h5")
    with pytest.raises(ValueError, match="simulates no single tracks"):
        Recipe.load("quickstart").using(card="c.tcl")
    with pytest.raises(ValueError, match="particle"):
        recipe.using(card="c.tcl", particle="tau")
