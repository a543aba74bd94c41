import warnings

import numpy as np
import pytest

from understudy import storage
from understudy.events import Block, Events, Schema
from understudy.geometry import builtin
from understudy.references.file import File
from understudy.registry import factory
from understudy.simulator import Source

SCHEMA = Schema(
    (Block("incident_energy", "MeV", minimum=0.0), Block("eta")), (Block("showers", "MeV", shape=(89,), minimum=0.0),)
)


@pytest.fixture
def path(tmp_path):
    events = Events(SCHEMA, {"incident_energy": np.arange(50.0), "eta": np.zeros(50)}, {"showers": np.ones((50, 89))})
    return str(storage.write(tmp_path / "events.h5", events))


def test_a_file_is_a_source(path):
    source = factory("references", {"kind": "file", "path": path})()
    assert isinstance(source, Source)
    assert source.schema == SCHEMA
    assert len(source) == 50
    assert source.events()["incident_energy"].tolist() == list(range(50))


def test_drawn_events_are_different_and_repeat_with_the_seed(path):
    source = File(path)
    drawn = source.generate(30, np.random.default_rng(1))["incident_energy"]
    assert len(set(drawn.tolist())) == 30
    assert sorted(drawn) != drawn.tolist()
    np.testing.assert_array_equal(source.generate(30, np.random.default_rng(1))["incident_energy"], drawn)
    assert not np.array_equal(source.generate(30, np.random.default_rng(2))["incident_energy"], drawn)
    assert sorted(source.generate(50, np.random.default_rng(1))["incident_energy"]) == list(range(50))


@pytest.mark.parametrize("n", [51, 0, -1])
def test_no_more_events_than_there_are(path, n):
    with pytest.raises(ValueError, match=f"cannot give {n} different events: it has 50; ask for fewer"):
        File(path).generate(n, np.random.default_rng(0))


def test_only_the_first_events(path):
    source = File(path, events=20)
    assert source.events()["incident_energy"].tolist() == list(range(20))
    assert source.generate(20, np.random.default_rng(0))["incident_energy"].max() == 19
    with pytest.raises(ValueError, match="cannot give 21 different events: it has 20"):
        source.generate(21, np.random.default_rng(0))
    with pytest.raises(ValueError, match="holds 50 events where the first 51 are asked for; ask for fewer"):
        File(path, events=51).events()
    with pytest.raises(ValueError, match="cannot give its first 0 events"):
        File(path, events=0)


def test_chosen_conditions(path):
    assert list(File(path, conditions=["eta"]).events().conditions) == ["eta"]
    with pytest.raises(ValueError, match="'phi' is not one of its conditions, which are incident_energy, eta"):
        File(path, conditions=["phi"]).events()


def test_the_geometry_is_that_of_the_file_or_else_of_the_recipe(path, tmp_path):
    assert File(path).geometry is None
    assert File(path, geometry="atlas-em-89").geometry == builtin("atlas-em-89")
    kept = storage.write(tmp_path / "kept.h5", storage.read(path), builtin("atlas-em-89"))
    assert File(str(kept)).geometry == builtin("atlas-em-89")
    assert File(str(kept), geometry="atlas-em-247").geometry == builtin("atlas-em-89")
    with pytest.raises(
        ValueError, match=r"events.h5 has 89 cells per event where geometry 'atlas-em-247' has 247; name the geometry"
    ):
        File(path, geometry="atlas-em-247").events()
    with pytest.raises(ValueError, match="no geometry called 'atlas'"):
        File(path, geometry="atlas").events()


def test_a_recipe_without_a_file():
    source = factory("references", "file")()
    for use in (source.events, lambda: source.schema, lambda: source.generate(1, np.random.default_rng(0))):
        with pytest.raises(ValueError, match=r"no.* is named; give --data FILE or a path in the recipe"):
            use()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no file .*none.h5; check the path".replace(".h5", r"\.h5")):
        File(str(tmp_path / "none.h5")).events()


def test_no_file_stays_open(path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        File(path).generate(5, np.random.default_rng(0))
        storage.write(path, File(path).events()[:7])
    assert len(File(path)) == 7


def test_real_photons(shared):
    source = File(str(shared / "geant4" / "atlas_photons.h5"), geometry="atlas-em-247", events=5000)
    drawn = source.generate(100, np.random.default_rng(0))
    assert drawn.packed().shape == (100, 247)
    assert 1000 <= drawn["incident_energy"].min() <= drawn["incident_energy"].max() <= 60000
