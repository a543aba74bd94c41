"""Electronic noise: its size, its seeds, and where it is added."""

from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from small import small_recipe
from understudy import geometry, steps, storage
from understudy.build import build_geometry, build_preparation
from understudy.console import Console
from understudy.events import Events
from understudy.noise import BLOCK, CellNoise, NoiseSettings
from understudy.prepare import Preparation
from understudy.registry import factory
from understudy.schema import Block, Schema
from understudy.steps import validate_files

SMALL = geometry.builtin("atlas-em-89")
SIGMA = {"presampler": 40.0, "strips": 15.0, "middle": 40.0, "back": 30.0}
CUTS = {"presampler": 120.0, "strips": 60.0, "middle": 200.0, "back": 200.0}


def empty(n=3000):
    schema = Schema((Block("incident_energy", "MeV", minimum=0),), (Block("showers", "MeV", shape=(89,), minimum=0),))
    return Events(schema, {"incident_energy": np.full(n, 1e4)}, {"showers": np.zeros((n, 89))})


def noise(seed=1):
    return CellNoise(NoiseSettings(layers=SIGMA).sigma(SMALL), seed)


def test_every_layer_has_its_width_and_cells_are_independent():
    drawn = noise()(np.zeros((4000, 89), np.float32), "reference")
    expected = np.repeat([40.0, 15.0, 40.0, 30.0], [6, 48, 21, 14])
    assert np.abs(drawn.std(0) / expected - 1).max() < 5 / np.sqrt(2 * 4000)
    assert np.abs(drawn.mean(0) / expected).max() < 5 / np.sqrt(4000)
    assert np.abs(np.corrcoef(drawn.T) - np.eye(89)).max() < 6 / np.sqrt(4000)
    assert stats.kstest((drawn / expected).ravel()[:20000], "norm").pvalue > 1e-3


def test_the_noise_of_an_event_depends_on_seed_sample_and_row_alone():
    cells = np.zeros((BLOCK + 300, 89), np.float32)
    whole = noise()(cells, "reference")
    for n in (7, BLOCK, BLOCK + 5):
        np.testing.assert_array_equal(noise()(cells[:n], "reference"), whole[:n])
    for other in (noise(2)(cells, "reference"), noise()(cells, "floor")):
        assert abs(np.corrcoef(other.ravel(), whole.ravel())[0, 1]) < 0.02
    assert abs(np.corrcoef(whole[:300].ravel(), whole[BLOCK:].ravel())[0, 1]) < 0.05


def test_thresholds_remove_what_a_gaussian_tail_predicts():
    cut = factory("projections", {"kind": "threshold", "layers": CUTS})(geometry=SMALL)
    prepared = Preparation(SMALL, None, [cut], ["total_energy"], noise=noise())(empty())
    found = SMALL.images(prepared["showers"])
    for layer in ("presampler", "strips", "middle", "back"):
        above, chance = (found[layer] > 0).mean(), stats.norm.sf(CUTS[layer] / SIGMA[layer])
        assert abs(above - chance) < 5 * np.sqrt(chance / found[layer].size) + 1e-6
    assert prepared["showers"].min() == 0
    np.testing.assert_allclose(prepared["total_energy"], prepared["showers"].sum(1), rtol=1e-6)


def test_noise_without_a_cut_cannot_leave_negative_energies():
    with pytest.raises(ValueError, match=r"noise leaves cells of -\d.*add a threshold to every layer"):
        Preparation(SMALL, noise=noise())(empty(10))
    clipped = factory("projections", "non-negative")()
    assert Preparation(SMALL, None, [clipped], noise=noise())(empty(10))["showers"].max() > 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({}, "either layers"),
        ({"energy": 30.0, "layers": SIGMA}, "either layers"),
        ({"energy": -1.0}, "greater than 0"),
        ({"layers": {"strips": -15.0}}, "greater than or equal to 0"),
        ({"layer": SIGMA}, "Extra inputs|unknown key"),
    ],
)
def test_noise_that_cannot_be(words, message):
    with pytest.raises(ValidationError, match=message):
        NoiseSettings(**words)
    with pytest.raises(ValueError, match=f"recipe.noise.*({message})"):
        small_recipe(noise=words)


def test_every_layer_must_be_named():
    with pytest.raises(ValueError, match="values for layers strips do not fit 'atlas-em-89'"):
        NoiseSettings(layers={"strips": 15.0}).sigma(SMALL)
    with pytest.raises(ValueError, match="name its geometry"):
        NoiseSettings(layers=SIGMA).sigma(None)


def test_a_candidate_is_not_given_noise_that_it_has_already(tmp_path, monkeypatch):
    """Reference and floor are made noisy, each its own way; a candidate is taken as it is."""
    recipe = small_recipe(noise={"layers": SIGMA})
    target = build_geometry(recipe)
    prepare, plain = build_preparation(recipe, target), build_preparation(small_recipe(), target)
    clean = recipe.reference().generate(200, np.random.default_rng(1))
    storage.write(tmp_path / "reference.h5", clean, geometry=target)
    storage.write(tmp_path / "floor.h5", clean, geometry=target)
    storage.write(tmp_path / "standin.h5", prepare(clean, target), geometry=target)
    (tmp_path / "recipe.yaml").write_text(recipe.to_yaml())
    seen = {}

    class Seen:
        def write(self, folder):
            pass

    def compare(reference, candidates, *, floor, **_):
        seen.update(reference=reference, floor=floor, **candidates)
        return Seen()

    monkeypatch.setattr(steps, "compare", compare)
    validate_files(
        tmp_path / "reference.h5",
        [tmp_path / "standin.h5"],
        tmp_path / "report",
        recipe=str(tmp_path / "recipe.yaml"),
        floor=tmp_path / "floor.h5",
        console=Console(quiet=True),
    )
    np.testing.assert_array_equal(seen["reference"]["showers"], seen["standin"]["showers"])
    np.testing.assert_array_equal(seen["floor"]["showers"], prepare(clean, target, "floor")["showers"])
    for noisy in (seen["reference"], seen["floor"]):
        assert not np.array_equal(noisy["showers"], plain(clean, target)["showers"])
    assert not np.array_equal(seen["reference"]["showers"], seen["floor"]["showers"])
