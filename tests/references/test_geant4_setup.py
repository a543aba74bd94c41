"""What of the Geant4 reference needs no Geant4: descriptions, data folders, chunks, conditions."""

import importlib.util
import re
from pathlib import Path

import numpy as np
import pytest
import yaml

from understudy.geometry import builtin
from understudy.references import geant4_data
from understudy.references.geant4 import Geant4
from understudy.references.geant4_data import DATASETS, child_environment, find_data, missing_data, require_geant4
from understudy.references.geant4_pool import explain, split
from understudy.references.geant4_stack import STACKS, Section, Slab, Stack, ready
from understudy.registry import factory

LEAD = Slab(material="G4_Pb", thickness=2)
ARGON = Slab(material="G4_lAr", thickness=4, active=True)

OWN = yaml.safe_load("""
kind: geant4
particle: gamma
gun: {energy_range: [1000, 1000], mass: 0}
stack:
  name: mine
  size: [100, 60]
  sections:
    - name: dead
      slabs: [{material: G4_Fe, thickness: 10}]
    - name: front
      slabs: [{material: G4_Pb, thickness: 1}, {material: G4_lAr, thickness: 3, active: true}]
      repeat: 5
      cells: [10, 6]
      keep: [[2, 8], [1, 5]]
      calibration: 6.5
    - name: back
      slabs: [{material: G4_Pb, thickness: 2}, {material: G4_lAr, thickness: 3, active: true}]
      repeat: 20
      cells: [5, 3]
""")


def test_a_stack_from_yaml_has_its_geometry():
    source = factory("references", OWN)()
    stack, geometry = source.simulator.stack, source.geometry
    assert stack.depth == 10 + 5 * 4 + 20 * 5
    assert geometry.layer_names == ("front", "back")
    assert geometry.layer("front").shape == (6, 4)
    assert geometry.layer("front").edges[0][0] == pytest.approx(-30)
    assert geometry.layer("front").edges[1][-1] == pytest.approx(20)
    assert geometry.layer("back").edges[0] == pytest.approx((-50, -30, -10, 10, 30, 50))
    assert stack.layer_depths()[[0, 4, 5]] == pytest.approx([12, 28, 32.5])
    assert len(stack.layer_depths()) == 25


def test_the_stack_of_the_how_to_builds():
    page = (Path(__file__).resolve().parents[2] / "docs" / "howto-geant4.md").read_text()
    source = factory("references", yaml.safe_load(re.search(r"```yaml\n(.*?)```", page, re.DOTALL)[1]))()
    assert source.geometry.layer("front").shape == (40, 20)
    assert source.geometry.layer("back").shape == (40, 40)
    assert source.simulator.particle == "gamma"


def test_a_recipe_is_written_back_with_its_whole_stack():
    written = factory("references", {"kind": "geant4", "stack": "testem3"}).to_dict()
    assert yaml.safe_load(yaml.safe_dump(written)) == written
    again = factory("references", written)()
    assert again.simulator.stack == ready("testem3")


@pytest.mark.parametrize("name", STACKS)
def test_ready_stacks_survive_json(name):
    assert Stack.model_validate_json(ready(name).model_dump_json()) == ready(name)


def test_ready_stacks_have_the_built_in_geometries():
    assert ready("lhcb-ecal").calorimeter() == builtin("lhcb-ecal")
    assert ready("atlas-lar").calorimeter() == builtin("atlas-em-247")
    grid = Stack(**{**dict(ready("lhcb-ecal")), "geometry": None}).calorimeter()
    np.testing.assert_allclose(grid.layers[0].centres, builtin("lhcb-ecal").layers[0].centres)


def test_atlas_cells_lie_where_the_geometry_says():
    """The kept cells of the box, in mm over the barrel radius, are the cluster's in eta and phi."""
    stack, cluster = ready("atlas-lar"), builtin("atlas-em-247")
    box = Stack(**{**dict(stack), "geometry": None}).calorimeter()
    for mine, theirs in zip(box.layers, cluster.layers, strict=True):
        np.testing.assert_allclose(mine.centres / 1500.0, theirs.centres, atol=1e-9)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"slabs": (LEAD,)}, "exactly one active slab"),
        ({"slabs": (ARGON, ARGON)}, "exactly one active slab"),
        ({"cells": None}, "no active slab because it has no cells"),
        ({"keep": ((0, 3), (0, 2))}, "cannot keep cells 0 to 3 of 2"),
        ({"keep": ((1, 1), (0, 2))}, "cannot keep cells 1 to 1 of 2"),
        ({"repeat": 0}, "greater than 0"),
        (
            {"slabs": (Slab(material="G4_lAr", thickness=4, active=True), {"material": "G4_Pb", "thickness": -1})},
            "greater than 0",
        ),
        ({"thickness": 3}, "not permitted"),
    ],
)
def test_sections_that_cannot_be(change, words):
    with pytest.raises(ValueError, match=words):
        Section(**{"name": "s", "slabs": (LEAD, ARGON), "cells": (2, 2), **change})


def test_stacks_that_cannot_be():
    section = Section(name="s", slabs=(LEAD, ARGON), cells=(2, 2))
    with pytest.raises(ValueError, match="names s more than once"):
        Stack(name="x", size=(1, 1), sections=(section, section))
    with pytest.raises(ValueError, match="nothing would be read out"):
        Stack(name="x", size=(1, 1), sections=(Section(name="d", slabs=(LEAD,)),))
    with pytest.raises(ValueError, match=r"keeps .* where 'lhcb-ecal' has"):
        Stack(name="x", size=(1, 1), sections=(section,), geometry="lhcb-ecal")
    with pytest.raises(ValueError, match="choose one of lhcb-ecal, atlas-lar, testem3"):
        ready("cms")
    with pytest.raises(ValueError, match=r"geant4\.stack.*choose one of lhcb-ecal"):
        factory("references", {"kind": "geant4", "stack": "cms"})


def test_the_package_is_named_when_it_is_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'understudy\[geant4\]'"):
        require_geant4({"G4LEDATA": str(tmp_path)}, tmp_path)


def test_the_variable_is_named_when_the_data_are_missing(monkeypatch, tmp_path):
    monkeypatch.setattr(geant4_data.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(FileNotFoundError, match="set G4LEDATA to the folder of the data set G4EMLOW"):
        require_geant4({}, tmp_path)
    with pytest.raises(FileNotFoundError, match="which is no folder"):
        require_geant4({"G4LEDATA": str(tmp_path / "nowhere")}, tmp_path)


def test_data_are_found_by_variable_then_folder_then_the_wheels_own_downloads(tmp_path):
    downloads, installed = tmp_path / ".geant4_pybind", tmp_path / "data"
    for folder in (
        downloads / "G4EMLOW8.5",
        downloads / "G4EMLOW8.10",
        downloads / "G4NDL4.7",
        installed / "G4NDL4.6",
        installed / "G4PII1.3",
    ):
        folder.mkdir(parents=True)
    assert find_data({}, tmp_path) == {
        "G4LEDATA": str(downloads / "G4EMLOW8.10"),
        "G4NEUTRONHPDATA": str(downloads / "G4NDL4.7"),
    }
    found = find_data({"GEANT4_DATA_DIR": str(installed), "G4PIIDATA": "/elsewhere"}, tmp_path)
    assert found["G4NEUTRONHPDATA"] == str(installed / "G4NDL4.6")
    assert found["G4PIIDATA"] == "/elsewhere"


def test_a_child_has_every_data_variable_so_that_it_is_never_asked(tmp_path):
    environment = child_environment({"CI": "true", "PATH": "/bin"}, {"G4LEDATA": "/le"}, tmp_path)
    assert set(DATASETS) <= set(environment)
    assert environment["G4LEDATA"] == "/le"
    assert environment["G4PIIDATA"] == environment["GEANT4_DATA_DIR"] == str(tmp_path)
    assert "CI" not in environment
    assert environment["PATH"] == "/bin"


def test_data_that_physics_lists_need(tmp_path):
    data = dict.fromkeys(("G4LEVELGAMMADATA", "G4PARTICLEXSDATA", "G4SAIDXSDATA", "G4ENSDFSTATEDATA"), str(tmp_path))
    assert missing_data("FTFP_BERT", data) == []
    assert missing_data("QGSP_BIC_HP", data) == ["G4NEUTRONHPDATA"]
    assert missing_data("FTFP_INCLXX", data) == ["G4INCLDATA", "G4ABLADATA"]
    assert missing_data("FTFP_BERT", data | {"G4SAIDXSDATA": str(tmp_path / "gone")}) == ["G4SAIDXSDATA"]


def test_chunks_cover_the_beam_with_different_seeds_from_the_generator_alone():
    beam = np.arange(7.0 * 11).reshape(11, 7)
    chunks = split(beam, 4, np.random.default_rng(3))
    assert [c.first for c in chunks] == [0, 4, 8]
    assert np.array_equal(np.concatenate([c.beam for c in chunks]), beam)
    assert len({c.seeds for c in chunks}) == 3
    assert all(0 <= seed < 2**32 for c in chunks for seed in c.seeds)
    assert [c.seeds for c in split(beam[:5], 4, np.random.default_rng(3))] == [c.seeds for c in chunks[:2]]


def test_a_geant4_exception_is_told_in_its_own_words():
    start = "-------- EEEE ------- G4Exception-START -------- EEEE -------"
    log = f"hello\n{start}\n\n*** G4Exception : em0003\n   issued by : X::Y()\nno file\n*** Fatal Exception *** core dump ***\n"
    assert explain(log) == "G4Exception : em0003 issued by : X::Y() no file"
    assert explain("a\nb\nc\nd\n") == "b c d"
    assert explain("") == "it printed nothing"


def test_conditions_that_the_detector_cannot_be_asked_for():
    simulator, generator = Geant4(ready("lhcb-ecal")), np.random.default_rng(1)
    good = {"incident_energy": [1000.0], "momentum": [[0.0, 0.0, 1000.0]], "position": [[0.0, 0.0]]}
    for change, words in [
        ({"position": [[301.0, 0.0]]}, r"event 0 enters at \(301, 0\) mm, beside the front face of 'lhcb-ecal'"),
        ({"momentum": [[0.0, 1000.0, 0.0]]}, "pz = 0 MeV and misses the front face"),
        ({"incident_energy": [-1.0]}, "below its minimum"),
        ({"incident_energy": [np.nan]}, "NaN"),
        ({"position": [[0.0]]}, "shape"),
        ({"eta": [0.0]}, "unknown condition eta"),
    ]:
        with pytest.raises(ValueError, match=words):
            simulator.simulate(good | change, generator)
    with pytest.raises(ValueError, match="the conditions lack momentum"):
        simulator.simulate({k: v for k, v in good.items() if k != "momentum"}, generator)


def test_options_that_cannot_be():
    with pytest.raises(ValueError, match="cut must be above 0 mm"):
        Geant4(ready("testem3"), cut=0.0)
    with pytest.raises(ValueError, match="at least one process"):
        Geant4(ready("testem3"), processes=0)
    with pytest.raises(ValueError, match="unknown key 'cuts'"):
        factory("references", {"kind": "geant4-lhcb-ecal", "cuts": 1.0})
