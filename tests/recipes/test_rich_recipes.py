"""The RICH's recipes, cut down to seconds: trained on weighted tracks, tested on pure ones, exported, loaded and run."""

import json

import numpy as np
import pytest
import yaml

from small import small
from understudy import storage
from understudy.console import Console
from understudy.deployment.bundle import load_bundle
from understudy.journey import run
from understudy.recipe import Recipe
from understudy.recipes import shipped
from understudy.steps import export_run, train_only

QUIET = Console(quiet=True)
NAMES = sorted(name for name in shipped() if name.startswith("lhcb-rich"))
QUICK = {
    "replicas": 5,
    "floor_repeats": 2,
    "classifier": {"seeds": 1, "epochs": 2, "iterations": 5},
    "variety": {"conditions": 0},
}


def words(name):
    """A recipe with few tracks; weights by truth with a sign, since a mass fit needs more."""
    data = small(name, events=600)
    data["reference"]["weights"] = "truth"
    model = data["stages"][0]["model"]
    model |= {"pairs": 500} if model["kind"] == "distilled" else {}
    for part in ("generator", "critic"):
        if part in model:
            model[part] = {"kind": "dense", "layers": 2, "width": 16, "activation": "relu"}
    return data


def written(data, folder):
    folder.mkdir(exist_ok=True)
    (folder / "small.yaml").write_text(yaml.safe_dump(data))
    return folder / "small.yaml"


@pytest.mark.filterwarnings("ignore::understudy.domain.OutOfDomainWarning")
@pytest.mark.parametrize("name", ["lhcb-rich-cramer", "lhcb-rich-energy-score"])
def test_they_train_export_and_answer(name, tmp_path):
    place = train_only(written(words(name), tmp_path), out=tmp_path / "run", console=QUIET)
    bundle = load_bundle(export_run(place, console=QUIET))
    asked = storage.read(place / "reference.h5")[:50]
    made = bundle.simulate({b.name: asked[b.name] for b in bundle.schema.given}, np.random.default_rng(1))
    assert made["dll"].shape == (50, 5)
    assert np.isfinite(made["dll"]).all()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::understudy.domain.OutOfDomainWarning")
@pytest.mark.parametrize("name", NAMES)
def test_all_of_them(name, tmp_path):
    data = words(name)
    for need, said in data.get("needs", {}).items():
        theirs = train_only(written(words(said["recipe"]), tmp_path / need), out=tmp_path / need / "run", console=QUIET)
        export_run(theirs, console=QUIET)
        data["needs"][need] = {"run": str(theirs)}
    place = train_only(written(data, tmp_path), out=tmp_path / "run", console=QUIET)
    assert load_bundle(export_run(place, console=QUIET)).schema.response_width == 5


@pytest.mark.filterwarnings("ignore::understudy.domain.OutOfDomainWarning")
def test_a_run_is_judged_on_tracks_of_another_reference(tmp_path):
    """Trained on weighted tracks and told what pure ones say, with the analysis of the separation in the report."""
    data = words("lhcb-rich-energy-score") | {"events": 1500}
    analysis = {"kind": "separation", "events": 300, "momentum_bins": 2, "tracks_bins": 2, "cuts": {"DLLk": [0.0]}}
    data["validation"] = {**QUICK, "reference": "lhcb-rich", "events": 700, "analyses": [analysis]}
    done = run(written(data, tmp_path), out=tmp_path / "run", console=QUIET)
    metrics = json.loads((done.directory / "report" / "metrics.json").read_text())
    assert metrics["reference"]["name"] == "lhcb-rich"
    assert metrics["reference"]["events"] == 700
    assert metrics["floor_paired"] is True
    found = metrics["analyses"]["separation"]
    assert found["separation"]["grid"]["largest"]["floor"] is not None
    tested = storage.read(done.directory / "test.h5")
    assert tested.weights is None
    assert storage.read(done.directory / "reference.h5").weights is not None
    assert "Separation of particles" in (done.directory / "report" / "report.html").read_text()


def test_what_the_published_network_is():
    model = Recipe.load("lhcb-rich-cramer").to_dict()["stages"][0]["model"]
    assert (model["noise"], model["critic_steps"], model["objective"]["dimension"]) == (64, 15, 256)
    for part in ("generator", "critic"):
        assert (model[part]["layers"], model[part]["width"], model[part]["activation"]) == (10, 128, "relu")
        assert model[f"{part}_optimiser"]["kind"] == "rmsprop"
        assert model[f"{part}_optimiser"]["schedule"] == "exponential"


def refused(change, match, tmp_path):
    data = words("lhcb-rich-energy-score")
    data["validation"] = {**QUICK, "reference": "lhcb-rich", "events": 100}
    with pytest.raises(ValueError, match=match):
        train_only(written({**data, **change}, tmp_path), out=tmp_path / "run", console=QUIET)


def test_test_events_that_do_not_fit_are_refused(tmp_path):
    refused(
        {"alternatives": {"lhcb-rich": {"kind": "lhcb-rich", "particle": "pion"}}},
        "the test events of 'lhcb-rich' have the conditions momentum, pseudorapidity, n_tracks where the training events have",
        tmp_path,
    )
    refused({"hold_out": {"momentum": [10_000, 20_000]}}, "does not go with 'hold_out'", tmp_path)
    refused({"alternatives": {}}, "has no reference 'lhcb-rich'; it has rich-calibration", tmp_path)


def test_the_variants_differ_in_the_weights_alone():
    full, bare, pure = (Recipe.load(n).to_dict() for n in ("lhcb-rich-flow", "lhcb-rich-unweighted", "lhcb-rich-pure"))
    assert [r["reference"]["weights"] for r in (full, bare, pure)] == ["sweights", "none", "truth"]
    assert full["stages"] == bare["stages"] == pure["stages"]
