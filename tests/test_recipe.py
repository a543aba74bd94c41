from __future__ import annotations

import re

import pytest
import yaml

from understudy.recipe import Recipe
from understudy.recipes import shipped, titles


@pytest.fixture
def words():
    from small import small

    return small()


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_recipes_are_named_after_their_file_and_come_back_from_their_resolved_form(name, tmp_path):
    recipe = Recipe.load(name)
    assert recipe.name == name
    assert titles()[name] == recipe.title != ""
    (tmp_path / "again.yaml").write_text(recipe.to_yaml())
    again = Recipe.load(tmp_path / "again.yaml")
    assert again.to_dict() == recipe.to_dict()
    assert again.fingerprint == recipe.fingerprint


def test_resolved_recipe_says_every_default(words):
    training = Recipe.from_dict(words).to_dict()["stages"][1]["training"]
    assert {"epochs", "batch_size", "score_every", "patience", "ema", "device"} <= set(training)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("colour",), 1, "colour"),
        (("stages", 1, "model", "nois"), 10, "unknown key 'nois' .did you mean 'noise'"),
        (("stages", 1, "model", "kind"), "gam", "no kind 'gam' in models .did you mean 'gan'"),
        (("stages", 1, "model", "noise"), "many", r"noise.*found 'many'"),
        (("stages", 1, "model", "generator", "widht"), 3, "unknown key 'widht' .did you mean 'width'"),
        (("stages", 0, "transforms", 0, "kind"), "divide", "no kind 'divide' in transforms"),
        (
            ("stages", 1, "training", "epoch"),
            3,
            r"^recipe\.stages\.1\.training: unknown key 'epoch' .did you mean 'epochs'.*allowed",
        ),
        (("split", "train"), 0.9, r"^recipe\.split: train, validation and test add up to 1\.4, more than 1$"),
        (("select",), {"total_energy": [5, 1]}, "the range of 'total_energy' goes from 5 to 1"),
        (("select",), {"total_energy": [5]}, r"^recipe\.select\.total_energy: entry '1' is missing"),
        (("needs",), {"first": {"rn": "x"}}, r"^recipe\.needs\.first: unknown key 'rn' \(did you mean 'run'\?\); allowed: run,"),
        (("baseline", "produces"), "total_energy", "the baseline produces 'total_energy'"),
        (("alternatives", "parametric-atlas"), "geant4-atlas-lar", "which is the reference's own kind"),
        (("seed",), -1, "seed"),
        (("name",), "a/b", "name"),
        (("reference", "kind"), "geant5", "no kind 'geant5' in references"),
        (("stages", 0, "produces"), "energy", "'derived' does not name"),
        (("stages", 1, "produces"), "total_energy", "must produce 'response'"),
    ],
)
def test_a_wrong_key_kind_or_value_is_one_sentence_that_names_it(words, path, value, message):
    *parents, last = path
    target = words
    for key in parents:
        target = target[key]
    target[last] = value
    with pytest.raises(ValueError, match=message) as caught:
        Recipe.from_dict(words)
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named(words):
    del words["stages"]
    with pytest.raises(ValueError, match="'stages' is missing"):
        Recipe.from_dict(words)


def test_files_that_are_no_recipes(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no recipe 'quickstrat'; shipped recipes are .*quickstart"):
        Recipe.load("quickstrat")
    (tmp_path / "list.yaml").write_text("- 1\n- 2\n")
    with pytest.raises(ValueError, match="is not a recipe: expected keys and values, found list"):
        Recipe.load(tmp_path / "list.yaml")
    (tmp_path / "torn.yaml").write_text("name: [unclosed")
    with pytest.raises(ValueError, match="is not YAML"):
        Recipe.load(tmp_path / "torn.yaml")
    (tmp_path / "code.yaml").write_text("name: !!python/object/apply:os.system ['true']")
    with pytest.raises(ValueError, match="is not YAML"):
        Recipe.load(tmp_path / "code.yaml")


def test_data_and_seed_of_the_command_line_replace_those_of_the_recipe():
    recipe = Recipe.load("atlas-photon-89-paper")
    changed = recipe.using(data="mine.h5", seed=9)
    assert changed.reference.to_dict()["path"] == "mine.h5"
    assert changed.reference.to_dict()["geometry"] == "atlas-em-247"
    assert changed.seed == 9
    assert recipe.seed == 1
    assert changed.fingerprint != recipe.fingerprint


def test_an_error_in_a_long_recipe_is_still_short(words):
    words["stages"][1]["produces"] = "total_energy"
    with pytest.raises(ValueError, match=r"which 'derived' does not name|must produce") as caught:
        Recipe.from_dict(words)
    assert len(str(caught.value)) < 120


def test_a_file_and_a_simulator_are_not_asked_for_together():
    with pytest.raises(ValueError, match="give --data or --reference, not both"):
        Recipe.load("atlas-photon-89-paper").using(data="mine.h5", reference="geant4")
    assert Recipe.load("atlas-photon-89-paper").using(data="mine.h5", reference="file").reference.arguments["path"] == "mine.h5"
    with pytest.raises(ValueError, match="events must be at least 1, not 0"):
        Recipe.load("quickstart").using(events=0)
    assert Recipe.load("quickstart").using(events=7).events == 7


def test_references_by_name():
    recipe = Recipe.load("lhcb-ecal")
    assert recipe.using(reference="geant4").reference.kind == recipe.alternatives["geant4"].kind
    with pytest.raises(ValueError, match="has no reference 'delphes'; it has file, geant4"):
        recipe.using(reference="delphes")


def test_recipes_hold_only_plain_yaml():
    for path in shipped().values():
        assert re.search(r"!!", path.read_text()) is None
        yaml.safe_load(path.read_text())
