from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from understudy.recipe import Recipe
from understudy.scan.plan import BASE, check_plan, make_plan
from understudy.scan.settings import Scan
from understudy.scans import shipped

LATENT = {"title": "Latent", "path": "stages.response.model.noise", "values": [1, 100]}
DATA = "photons.h5"


def scan(**words):
    return Scan.model_validate({"name": "s", "recipe": "quickstart", "groups": {"latent": LATENT}, **words})


@pytest.fixture
def write(tmp_path):
    def call(**words):
        path = tmp_path / "scan.yaml"
        path.write_text(yaml.safe_dump({"name": "s", "recipe": "quickstart", "groups": {"latent": LATENT}, **words}))
        return path

    return call


def model(recipe):
    return recipe.stages[-1].model.arguments


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_scans_are_named_after_their_file_and_fit_their_recipe(name):
    loaded = Scan.load(name)
    assert loaded.name == name
    assert loaded.title
    plan = make_plan(loaded, data=DATA if Recipe.load(loaded.recipe).reference.kind == "file" else None)
    assert len(plan.variants) > 1


def test_the_photon_paper_s_scan_is_the_paper_s():
    plan = make_plan(Scan.load("atlas-photon-89"), data=DATA)
    recipes = {name: variant.recipe for name, variant in plan.variants.items()}
    labels = {group: list(variants) for group, variants in plan.groups.items()}
    assert labels["layers"] == ["1", "2", "3", "4", "5"]
    assert labels["latent"] == ["1", "10", "100", "250"]
    assert labels["critic-steps"] == ["1", "5", "10"]
    assert labels["l1"] == ["0", "1e-05"]
    assert all(BASE in variants.values() for variants in plan.groups.values())  # the base is in every group, and run once
    assert len(recipes) == 1 + 4 + 3 + 2 + 2 + 1
    assert len(plan.tasks(Path("out"), list(plan.groups))) == 5 * len(recipes)
    deepest = model(recipes["layers-5"])
    assert deepest["generator"].arguments["layers"] == deepest["critic"].arguments["layers"] == 5
    assert model(recipes["lipschitz-0"])["penalty"].arguments["weight"] == 0
    clipped = model(recipes[plan.groups["lipschitz"]["clipping at 0.01"]])
    assert (clipped["penalty"], clipped["clip_weights"]) == (None, 0.01)


def test_equal_variants_are_one_and_the_base_is_added_where_it_is_missing():
    more = {
        "title": "Steps",
        "variants": {"same": {"stages.response.model.critic_steps": 5}, "tiny": {"stages.1.model.noise": 1}},
    }
    other = {"title": "L1", "path": "stages.response.model.l1", "values": [0.1], "base": "none"}
    plan = make_plan(scan(groups={"latent": LATENT, "more": more, "l1": other}))
    assert plan.groups == {
        "latent": {"1": "latent-1", "100": BASE},
        "more": {"same": BASE, "tiny": "latent-1"},
        "l1": {"none": BASE, "0.1": "l1-0.1"},
    }


def test_runs_share_the_division_of_events_and_differ_in_their_seed():
    plan = make_plan(scan(seeds=[4, 9], seed=7, common={"stages.response.training.epochs": 3}))
    tasks = plan.tasks(Path("out"), ["latent"])
    assert [(t.variant, t.seed) for t in tasks] == [("base", 4), ("latent-1", 4), ("base", 9), ("latent-1", 9)]
    assert {t.recipe.split.seed for t in tasks} == {7}
    assert [t.recipe.seed for t in tasks] == [4, 4, 9, 9]
    assert {t.recipe.stages[-1].training.epochs for t in tasks} == {3}
    assert {t.recipe.stages[-1].training.threads for t in tasks} == {1}
    assert make_plan(scan(seeds=2), seed=5).scan.run_seeds == [5, 6]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"groups": {}}, "groups: there are no variants; give at least one group of them"),
        ({"groups": {"g": {"title": "t"}}}, r"groups.g: there are no variants; give either 'path' with 'values', or 'variants'"),
        ({"groups": {"g": {"title": "t", "path": "seed"}}}, "there are no variants"),
        ({"groups": {"g": {**LATENT, "variants": {"a": {}}}}}, "give either"),
        ({"groups": {"g": {**LATENT, "values": [1, 1]}}}, "'values' holds the same value twice"),
        ({"grups": {}}, r"unknown key 'grups' \(did you mean 'groups'"),
        ({"seeds": 0}, "give a number of seeds, at least 1"),
        ({"seeds": [1, 1]}, "a list of different seeds"),
    ],
)
def test_a_scan_that_says_nothing_or_nonsense_is_refused(write, words, message):
    with pytest.raises(ValueError, match=message):
        Scan.load(write(**words))


def test_what_is_no_scan_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no scan 'atlas-photon'; shipped scans are atlas-photon-89"):
        Scan.load("atlas-photon")
    (tmp_path / "s.yaml").write_text("- a")
    with pytest.raises(ValueError, match="is not a scan: expected keys and values, found list"):
        Scan.load(tmp_path / "s.yaml")
    (tmp_path / "s.yaml").write_text("a: [")
    with pytest.raises(ValueError, match="is not YAML"):
        Scan.load(tmp_path / "s.yaml")


def test_an_unknown_group_is_refused():
    with pytest.raises(ValueError, match="scan s has no group 'layers'; it has latent"):
        scan().chosen(["layers"])
    assert scan().chosen(["latent"]) == scan().chosen([]) == ["latent"]


def one(path, value):
    return scan(groups={"g": {"title": "t", "path": path, "values": [value]}})


def test_an_unknown_path_is_refused_with_what_is_there():
    message = r"scan s, group g, variant '1': the path 'stages.response.modl.noise' leads to nothing: .*did you mean 'model'"
    with pytest.raises(ValueError, match=message):
        make_plan(one("stages.response.modl.noise", 1))
    with pytest.raises(ValueError, match=r"scan s: common: the path 'stages.respons.model' leads to nothing"):
        make_plan(scan(common={"stages.respons.model": 1}))
    with pytest.raises(ValueError, match=r"variant '1' \(stages.response.model.noize = 1\).*did you mean 'noise'"):
        make_plan(one("stages.response.model.noize", 1))


def test_a_value_that_the_recipe_refuses_is_named_with_its_variant_and_path():
    with pytest.raises(ValueError, match=r"scan s, group g, variant '-1' \(stages.response.model.noise = -1\).*greater than 0"):
        make_plan(one("stages.response.model.noise", -1))


@pytest.mark.parametrize(("path", "value"), [("split.test", 0.1), ("geometry", "atlas-em-247"), ("seed", 4), ("events", 10)])
def test_variants_share_their_events(path, value):
    with pytest.raises(
        ValueError, match=rf"variants share their events, so '{path.split('.')[0]}' cannot vary; put it into 'com"
    ):
        make_plan(one(path, value))


def test_variants_whose_parts_do_not_fit_are_refused_before_anything_is_trained():
    plan = make_plan(one("stages.response.features", {"total_enrgy": "log"}))
    with pytest.raises(ValueError, match=r"scan s, group g, variant .*total_enrgy"):
        check_plan(plan)
    check_plan(make_plan(scan()))
