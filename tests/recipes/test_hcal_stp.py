"""Recipes of single tracks in the LHCb HCAL, cut down to seconds."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import yaml

from understudy import hcal_geometry as hcal
from understudy import storage
from understudy.console import Console
from understudy.deployment.bundle import load_bundle, read_asked, read_trained
from understudy.recipe import read_yaml
from understudy.recipes import shipped
from understudy.steps import export_run, sample_bundle, train_only

QUIET = Console(quiet=True)
GAMES = sorted(n for n in shipped() if n.startswith("lhcb-hcal-stp-"))


def trained(name, folder, events=300):
    """A shipped recipe with few events and next to no training; its run's directory."""
    words = copy.deepcopy(dict(read_yaml(name)))
    words |= {"events": events, "split": {"train": 0.6, "validation": 0.2, "test": 0.2}, "baseline": None}
    stage = words["stages"][-1]
    for transform in stage["transforms"]:
        for inner in transform.get("transforms", []):
            inner |= {"epochs": 5, "layers": 1, "width": 32, "impute": 1}
    if stage["model"]["kind"] == "gan":
        stage["model"]["generator"]["channels"], stage["model"]["critic"]["channels"] = [16, 8, 4], [4, 8]
        stage["training"] = {"epochs": 1, "batch_size": 60, "score_every": 1}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(words))
    return train_only(path, out=folder / "run", console=QUIET)


@pytest.mark.filterwarnings("ignore::understudy.domain.OutOfDomainWarning")
@pytest.mark.filterwarnings("ignore:.*their covariance was shrunk")
def test_the_default_answers_from_a_bundle_where_the_track_is(tmp_path):
    run = trained("lhcb-hcal-stp", tmp_path, 600)
    load_bundle(export_run(run, console=QUIET))
    sample_bundle(run, tmp_path / "out.h5", events=200, seed=3, console=QUIET)
    made = storage.read(tmp_path / "out.h5")
    images = made["cells"].reshape(-1, *hcal.SHAPE)
    hcal.check_caps(images)
    np.testing.assert_allclose(hcal.as_read_out(images), images, rtol=1e-5)
    total = images.sum((1, 2))
    hit = total > 0
    assert hit.mean() > 0.7
    column = (images.sum(1) @ np.arange(64))[hit] / total[hit]
    assert np.abs(column - (made["position"][hit, 0] / hcal.CELL + 31.5)).max() < 10.5  # nothing lies outside the window


@pytest.mark.filterwarnings("ignore::understudy.domain.OutOfDomainWarning")
@pytest.mark.parametrize("name", GAMES)
def test_the_games_are_played_and_answer(name, tmp_path):
    run = trained(name, tmp_path)
    surrogate, recipe, _ = read_trained(run)
    asked = read_asked(run, surrogate)[:50]
    answer = surrogate.simulate({b.name: asked[b.name] for b in surrogate.schema.given}, np.random.default_rng(1))
    assert recipe.name == name
    hcal.check_caps(answer["cells"].reshape(-1, *hcal.SHAPE))


def test_the_published_sizes_and_settings():
    stage = read_yaml("lhcb-hcal-stp-paper")["stages"][0]
    model = stage["model"]
    assert (model["noise"], model["critic_steps"], stage["training"]["batch_size"]) == (32, 5, 32)
    assert model["generator_optimiser"]["lr"] == model["critic_optimiser"]["lr"] == 1e-4
    assert (model["generator"]["channels"], model["critic"]["channels"]) == ([512, 256, 128], [64, 128])
