from __future__ import annotations

import copy

import pytest

from understudy.paths import changed, get

DATA = {
    "seed": 1,
    "split": {"train": 0.7},
    "stages": [
        {"produces": "total_energy", "model": {"kind": "spline"}},
        {"produces": "response", "transforms": [{"kind": "log"}, {"kind": "log"}], "model": {"kind": "gan", "penalty": None}},
    ],
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("seed", 1),
        ("split.train", 0.7),
        ("stages.response.model.kind", "gan"),
        ("stages.0.model.kind", "spline"),
        ("stages.1.transforms.1", {"kind": "log"}),
    ],
)
def test_a_path_leads_to_its_value(path, value):
    assert get(DATA, path) == value


def test_changes_are_made_in_a_copy_and_in_order():
    before = copy.deepcopy(DATA)
    value = {"kind": "gan", "generator": {"layers": 3}}
    made = changed(DATA, {"stages.response.model": value, "stages.response.model.generator.layers": 4, "split.seed": 9})
    assert before == DATA
    assert value["generator"]["layers"] == 3
    assert get(made, "stages.response.model.generator") == {"layers": 4}
    assert made["split"] == {"train": 0.7, "seed": 9}
    assert changed(DATA, {"stages.0": {"produces": "x"}})["stages"][0] == {"produces": "x"}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("stages.respons.model", r"no 'respons' in stages \(did you mean 'response'\?\); there are total_energy, response"),
        ("stage.response", r"no 'stage' in the recipe \(did you mean 'stages'\?\)"),
        ("stages.response.model.penalty.weight", r"stages.response.model.penalty is None and holds no 'weight'"),
        ("stages.response.transforms.log", "entries 0 and 1 of stages.response.transforms are 'log'; give the number"),
        ("stages.7", "no '7' in stages"),
        ("stages..model", "is no path; name the keys with dots"),
        (3, "3 is no path"),
    ],
)
def test_a_path_to_nothing_says_what_is_there(path, message):
    with pytest.raises(ValueError, match=message):
        changed(DATA, {path: 1})
