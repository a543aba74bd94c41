"""Recipes of whole events in the LHCb HCAL, cut down to seconds: each family trained, the default and the pipeline exported."""

import json

import awkward
import numpy as np
import pytest
import yaml

from understudy import hcal_geometry as hcal
from understudy import storage
from understudy.console import Console
from understudy.deployment import bundle as bundles
from understudy.deployment.bundle import load_bundle, read_trained
from understudy.deployment.pipeline import load_pipeline
from understudy.events import Events
from understudy.journey import resolve, run
from understudy.propagation import Propagate, Propagation, summed_images
from understudy.recipe import Recipe, read_yaml
from understudy.recipes import shipped
from understudy.references.hcal_events import HcalEvents
from understudy.references.hcal_pions import PionSimulator
from understudy.schema import Schema
from understudy.steps import export_run, train_only
from understudy.validation.hcal_images import tracks_of

QUIET = Console(quiet=True)
TINY = {"generator": {"width": 4}, "encoder": {"width": 2}, "discriminator": {"width": 2}, "velocity": {"width": 4}}
pytestmark = [
    pytest.mark.filterwarnings("ignore::understudy.domain.OutOfDomainWarning"),
    pytest.mark.filterwarnings("ignore:.*stored sample of its events"),
]


@pytest.fixture(scope="module")
def events(tmp_path_factory):
    """A file of a few whole events."""
    path = tmp_path_factory.mktemp("events") / "events.h5"
    source = HcalEvents(particles="stored")
    storage.write(path, source.generate(60, np.random.default_rng(1)), geometry=source.geometry)
    return path


@pytest.fixture(scope="module")
def stp(tmp_path_factory):
    """A finished run of single pions: a library of a few of them."""
    folder = tmp_path_factory.mktemp("stp")
    simulator, rng = PionSimulator(), np.random.default_rng(2)
    x = rng.uniform(-3000, 3000, (60, 2))
    x[:, 1] = rng.uniform(700, 3000, 60)
    made = simulator.simulate({"position": x, "et": rng.uniform(500, 5000, 60)}, rng)
    schema = Schema(made.schema.conditions, made.schema.response)
    storage.write(folder / "pions.h5", Events(schema, made.conditions, made.response), geometry=simulator.geometry)
    words = {
        "name": "stp",
        "reference": {"kind": "file", "path": str(folder / "pions.h5"), "geometry": "lhcb-hcal"},
        "geometry": "lhcb-hcal",
        "projections": ["hcal-readout"],
        "stages": [{"features": {"et": "log", "position": "standardise"}, "model": "library"}],
    }
    (folder / "stp.yaml").write_text(yaml.safe_dump(words))
    run = train_only(folder / "stp.yaml", out=folder / "run", console=QUIET)
    export_run(run, console=QUIET)
    return run


def small(name, events, stp):
    """A shipped recipe with next to no network, on a few events."""
    words = dict(read_yaml(name))
    words["reference"] = {"kind": "file", "path": str(events), "geometry": "lhcb-hcal"}
    words |= {"events": None, "split": {"train": 0.6, "validation": 0.2, "test": 0.2}, "validation": {"replicas": 5}}
    if words.get("needs"):
        words["needs"] = {"stp": {"run": str(stp), "own_events": True}}
    (stage,) = words["stages"]
    stage["training"] = {"epochs": 1, "batch_size": 18, "score_every": 1}
    model = stage["model"]
    for part, change in TINY.items():
        if isinstance(model.get(part), dict):
            model[part] |= change
    if model["kind"] == "interlaced":
        model |= {"trunk": 4, "width": 4, "bins": 4}
    if "noise" in model:
        model["noise"] = 3
    return words


def trained(words, folder):
    (folder / "recipe.yaml").write_text(yaml.safe_dump(words))
    return train_only(folder / "recipe.yaml", out=folder / "run", console=QUIET)


EVENTS = sorted(n for n in shipped() if n.startswith(("lhcb-hcal-tip", "lhcb-hcal-cir")))
REFINED = {n for n in EVENTS if "-cir-" in n}
"""The same models as those of tracker images, with another image."""


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in REFINED else n for n in EVENTS])
def test_it_is_trained_and_answers_with_what_the_read_out_can_report(name, events, stp, tmp_path):
    run = trained(small(name, events, stp), tmp_path)
    surrogate, recipe, _ = read_trained(run)
    asked = {b.name: np.abs(np.random.default_rng(1).normal(size=(7, *b.shape))) * 300 for b in surrogate.schema.given}
    made = surrogate.simulate(asked, np.random.default_rng(1))["cells"]
    assert recipe.name == name
    assert made.shape == (7, hcal.N_PIXELS)
    hcal.check_caps(made.reshape(7, *hcal.SHAPE))
    np.testing.assert_array_equal(hcal.as_read_out(made.reshape(7, *hcal.SHAPE)), made.reshape(7, *hcal.SHAPE))


@pytest.mark.slow
def test_the_whole_journey_from_events_that_are_simulated_to_the_report(events, stp, tmp_path):
    words = small("lhcb-hcal-tip", events, stp)
    words |= {
        "events": 120,
        "split": {"train": 0.3, "validation": 0.2, "test": 0.5},
        "reference": {"kind": "lhcb-hcal-events", "particles": "stored"},
    }
    words["validation"] |= {"analyses": read_yaml("lhcb-hcal-tip")["validation"]["analyses"]}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(words))
    finished = run(tmp_path / "recipe.yaml", out=tmp_path / "run", console=QUIET)
    assert (tmp_path / "run" / "bundle" / "surrogate.onnx").is_file()
    metrics = json.loads((tmp_path / "run" / "report" / "metrics.json").read_text())
    assert {"hcal-images", "event-ranks"} <= metrics["candidates"]["lhcb-hcal-tip"]["analyses"].keys()
    assert finished is not None


def test_the_bundle_of_a_refinement_holds_both_steps(events, stp, tmp_path, monkeypatch):
    monkeypatch.setattr(bundles, "COMPARED", 40)
    run = trained(small("lhcb-hcal-cir", events, stp), tmp_path)
    export_run(run, console=QUIET)
    pipeline, tracks = load_pipeline(run, threads=1), storage.read(events)[:9]["tracks"]
    tracks = awkward.concatenate([tracks, awkward.Array([[]])])
    made = pipeline.simulate({"tracks": tracks}, np.random.default_rng(3))
    hcal.check_caps(made["stp_image"])
    hcal.check_caps(made["cells"].reshape(-1, *hcal.SHAPE))
    assert not made["stp_image"][-1].any()  # an event without tracks
    assert made["stp_image"][:-1].sum() > 0
    refined = load_bundle(run).simulate({"stp_image": made["stp_image"]}, np.random.default_rng(3))
    assert refined["cells"].shape == made["cells"].shape
    with pytest.raises(ValueError, match="event 0 has a track beside the calorimeter or into its beam hole"):
        pipeline.simulate({"tracks": awkward.Array([[[0.0, 0.0, 500.0]]])}, np.random.default_rng(3))


def test_sums_of_tracks_do_not_depend_on_what_is_propagated_together(stp):
    surrogate = load_bundle(stp, engine="torch")
    tracks = awkward.Array([[[900.0, 900.0, 4000.0]] * 4, [], [[2500.0, 1500.0, 300.0]]])
    image = summed_images(surrogate, tracks, np.random.default_rng(1))
    rows = [[900.0, 900.0]] * 4 + [[2500.0, 1500.0]]
    each = surrogate.simulate({"position": rows, "et": [4000.0] * 4 + [300.0]}, np.random.default_rng(1))["cells"]
    expected = np.stack([each[:4].sum(0), 0 * each[0], each[4]]).reshape(-1, *hcal.SHAPE)
    np.testing.assert_allclose(image, np.minimum(expected, hcal.pixel_caps()), rtol=1e-6)


def test_propagated_events_keep_their_tracks_aside(events, stp):
    propagation = Propagation(Propagate(need="stp"), lambda: load_bundle(stp, engine="torch"), 1)
    before = storage.read(events)[:8].select_conditions(["tracks"])
    after = propagation(before, "test")
    assert list(after.conditions) == ["stp_image"]
    assert after.aux["tracks"].tolist() == before["tracks"].tolist()
    assert after.schema == propagation.schema(before.schema)
    counts, items = tracks_of(after)
    assert counts.sum() == len(items) > 0


def test_an_stp_run_that_changed_is_refused(events, stp, tmp_path):
    words = small("lhcb-hcal-cir", events, stp)
    words["needs"]["stp"]["sha256"] = "0" * 64
    with pytest.raises(ValueError, match=r"needs 'stp' from .*, whose bundle has changed since it was pinned"):
        resolve(Recipe.from_dict(words))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"propagate": {"need": "other"}}, "'propagate' uses the need 'other', but 'needs' names stp; add it"),
        ({"propagate": {"need": "stp", "tracks": "tracker_image"}}, "'tracker_image' is no such condition; these events have"),
    ],
)
def test_a_propagation_of_what_is_not_there_is_refused(change, message, events, stp, tmp_path):
    with pytest.raises(ValueError, match=message):
        trained(small("lhcb-hcal-cir", events, stp) | change, tmp_path)
