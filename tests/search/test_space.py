from __future__ import annotations

import pytest
import yaml

from understudy.search.space import Parameter, Space
from understudy.searches import shipped

RATE = {"path": "stages.response.model.generator_optimiser.lr", "between": [1e-5, 1e-2], "log": True}
LOSS = {"variants": {"JS": {"stages.response.model.objective": "vanilla"}, "W": {}}}


@pytest.fixture
def load(tmp_path):
    def call(**words):
        path = tmp_path / "space.yaml"
        path.write_text(yaml.safe_dump({"name": "s", "parameters": {"rate": RATE}, **words}, sort_keys=False))
        return Space.load(path)

    return call


@pytest.mark.parametrize("name", sorted(shipped()))
def test_shipped_spaces_are_named_after_their_file(name):
    assert Space.load(name).name == name
    assert Space.load(name).title


def test_the_thesis_s_table_is_the_thesis_s():
    space = Space.load("hcal-appendix-b-images")
    counts = {name: len(p.labels) for name, p in space.parameters.items()}
    assert list(counts.values()) == [3, 6, 6, 2, 6, 5, 3, 3, 2, 2, 3, 5, 5, 5]
    assert space.sampler == "random"
    tracks = Space.load("hcal-appendix-b").parameters
    assert set(counts) - set(tracks) == {"PatchGAN", "lambda VAE", "lambda X", "lambda Z"}
    assert all(tracks[name].labels == space.parameters[name].labels for name in tracks)


def test_a_draw_becomes_values_of_paths():
    assert Parameter(path=["a.b", "c"], values=[0.5, None]).changes("None") == {"a.b": None, "c": None}
    assert Parameter.model_validate(LOSS).changes("JS") == {"stages.response.model.objective": "vanilla"}
    assert Parameter(path="a", between=(1, 4), integer=True).changes(3) == {"a": 3}
    assert Parameter(path="a", between=(1, 4), integer=True).ends == [1, 4]


def test_a_parameter_that_depends_on_another_one_applies_with_its_values_only():
    parameter = Parameter(path="a", values=[1], when={"loss": ["JS", "KL"], "size": 4})
    assert parameter.applies({"loss": "KL", "size": "4"})
    assert not parameter.applies({"loss": "W", "size": "4"})
    assert not parameter.applies({"loss": "JS"})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"path": "a"}, "give a 'path' with either 'between' or 'values', or give 'variants'"),
        ({"values": [1]}, "give a 'path' with either"),
        ({**RATE, "values": [1]}, "give a 'path' with either"),
        ({"path": "a", "values": [1, 1.0]}, "'values' holds the same value twice"),
        ({"path": "a", "values": [1], "log": True}, "'log', 'integer' and 'step' belong to 'between'"),
        ({**RATE, "between": [1e-2, 1e-5]}, "'between' goes from 0.01 to 1e-05; give the lower end first"),
        ({**RATE, "between": [0, 1]}, "with 'log' the range begins above 0 and has no 'step'"),
        ({**RATE, "log": False, "between": [0, 1.5], "integer": True}, "the ends of the range and its step are whole numbers"),
        ({**RATE, "lg": True}, r"parameters.rate: unknown key 'lg' \(did you mean 'log'"),
    ],
)
def test_a_parameter_that_says_nothing_or_nonsense_is_refused(load, words, message):
    with pytest.raises(ValueError, match=message):
        load(parameters={"rate": words})


@pytest.mark.parametrize(
    ("when", "message"),
    [
        ({"later": 1}, "'later' has to be one with values or variants that stands before it"),
        ({"rate": 1}, "'rate' has to be one with values"),
        ({"loss": "KL"}, "parameter 'own' is drawn when 'loss' is KL, but 'loss' has the values JS, W"),
    ],
)
def test_what_a_parameter_depends_on_is_known(load, when, message):
    own = {"path": "b", "values": [1], "when": when}
    with pytest.raises(ValueError, match=message):
        load(parameters={"rate": RATE, "loss": LOSS, "own": own, "later": {"path": "c", "values": [1]}})


def test_what_is_no_space_is_refused(tmp_path, load):
    with pytest.raises(FileNotFoundError, match="no search space 'hcal'; shipped ones are hcal-appendix-b"):
        Space.load("hcal")
    (tmp_path / "s.yaml").write_text("- a")
    with pytest.raises(ValueError, match="is not a search space: expected keys and values, found list"):
        Space.load(tmp_path / "s.yaml")
    (tmp_path / "s.yaml").write_text("a: [")
    with pytest.raises(ValueError, match="is not YAML"):
        Space.load(tmp_path / "s.yaml")
    with pytest.raises(ValueError, match="parameters"):
        load(parameters={})
    with pytest.raises(ValueError, match="sampler"):
        load(sampler="grid")
