from __future__ import annotations

import pytest
import yaml

from understudy.recipe import Recipe


@pytest.fixture
def write(tmp_path):
    def call(name, /, **words):
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(words))
        return path

    return call


def test_a_recipe_that_extends_another_says_only_what_is_different(write):
    change = {"stages.response.model.generator.layers": 5, "split.seed": 4}
    path = write("deeper", extends="quickstart", change=change, title="Deeper", events=700)
    recipe, base = Recipe.load(path), Recipe.load("quickstart")
    assert (recipe.name, recipe.title, recipe.events, recipe.split.seed) == ("deeper", "Deeper", 700, 4)
    assert recipe.stages[1].model.arguments["generator"].arguments["layers"] == 5
    assert recipe.stages[0] == base.stages[0]
    written = yaml.safe_load(recipe.to_yaml())
    assert not {"extends", "change"} & set(written)
    assert Recipe.from_dict(written) == recipe


def test_files_beside_each_other_extend_each_other_in_a_chain(write):
    write("one", extends="quickstart", name="first", change={"seed": 5})
    recipe = Recipe.load(write("two", extends="one.yaml", change={"events": 650}))
    assert (recipe.name, recipe.seed, recipe.events) == ("two", 5, 650)


def test_the_larger_cluster_is_the_paper_s_system_with_another_geometry():
    small, large = (Recipe.load(f"atlas-photon-{n}-paper").to_dict() for n in (89, 247))
    assert [key for key in small if small[key] != large[key]] == ["name", "title", "geometry"]


def test_circles_are_refused(write):
    write("one", extends="two.yaml")
    with pytest.raises(ValueError, match=r"in a circle: two extends one extends two"):
        Recipe.load(write("two", extends="one.yaml"))
    with pytest.raises(ValueError, match=r"in a circle: me extends me"):
        Recipe.load(write("me", extends="me.yaml"))


def test_what_is_extended_must_be_there_and_be_a_recipe(write):
    with pytest.raises(FileNotFoundError, match="no recipe 'quickstrt'; shipped recipes are"):
        Recipe.load(write("mine", extends="quickstrt"))
    write("wrong", name="wrong")
    with pytest.raises(ValueError, match=r"recipe wrong.yaml: the key 'reference' is missing"):
        Recipe.load(write("mine", extends="wrong.yaml"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"change": {"seed": 2}}, "recipe mine: 'change' changes nothing without 'extends'"),
        ({"extends": ["quickstart"]}, "'extends' is the name or file of one recipe"),
        ({"extends": "quickstart", "change": ["seed"]}, "'change' gives a value to each dotted path"),
        (
            {"extends": "quickstart", "change": {"stages.responce.model.noise": 3}},
            r"recipe mine: change: the path 'stages.responce.model.noise' leads to nothing: .*did you mean 'response'",
        ),
        ({"extends": "quickstart", "change": {"stages.response.model.noize": 3}}, r"unknown key 'noize' \(did you mean 'noise'"),
        ({"extends": "quickstart", "change": {"split.sede": 3}}, r"unknown key 'sede' \(did you mean 'seed'"),
    ],
)
def test_wrong_words_are_one_sentence(write, words, message):
    with pytest.raises(ValueError, match=message):
        Recipe.load(write("mine", **words))
