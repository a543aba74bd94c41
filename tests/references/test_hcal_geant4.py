"""Pions of the HCAL in Geant4; skipped with a reason where the package or its data are not there."""

import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest

from understudy import hcal_geometry as hcal
from understudy.references.hcal_geant4 import FRONT, stack
from understudy.references.hcal_pions import check_on_face
from understudy.registry import factory

LEDATA = Path(os.environ.get("G4LEDATA") or Path(__file__).resolve().parents[2] / "../shared/geant4/ledata").resolve()
pytestmark = [
    pytest.mark.geant4,
    pytest.mark.skipif(importlib.util.find_spec("geant4_pybind") is None, reason="geant4-pybind is not installed"),
    pytest.mark.skipif(not LEDATA.is_dir(), reason="Geant4's data are not there: set G4LEDATA"),
]
PLACES = np.array([[1500.0, 700.0], [-2900.0, 1900.0], [900.0, -2600.0], [-4190.0, 0.0]])
"""Of pions (x, y) [mm]; the first flies into the inner region, the last along the edge."""


@pytest.fixture(autouse=True)
def _data(monkeypatch):
    monkeypatch.setenv("G4LEDATA", str(LEDATA))


def source(**words):
    return factory("references", {"kind": "lhcb-hcal-pions-geant4", "processes": 1, **words})()


def test_the_stack_is_as_deep_as_the_calorimeters():
    made = stack()
    lengths = {"G4_Pb": 175.9, "G4_Fe": 167.7, "G4_PLASTIC_SC_VINYLTOLUENE": 787.0}  # nuclear interaction lengths [mm]
    depths = [s.repeat * sum(slab.thickness / lengths[slab.material] for slab in s.slabs) for s in made.sections]
    assert depths == pytest.approx([1.1, 5.6], rel=0.05)
    assert pytest.approx(396) == FRONT
    assert made.calorimeter().n_cells == 21 * 21


def test_without_hadronic_physics_pions_ionise_where_they_fly():
    """A minimum-ionising pion leaves about 1.4 GeV on the electromagnetic scale, in the cells that its line passes."""
    simulator = source(physics_list="opt0").simulator
    position, n = np.repeat(PLACES, 8, 0), 8 * len(PLACES)
    check_on_face(position)
    made = simulator.simulate({"position": position, "et": np.full(n, 3000.0)}, np.random.default_rng(1))
    images = made["cells"].reshape(-1, *hcal.SHAPE)
    energy = (images / hcal.pixel_sines().clip(1e-9)).sum((1, 2)).reshape(-1, 8)
    for place, row in zip(PLACES, energy, strict=True):
        if abs(place[0]) < 4000:  # the last one leaves by the side
            assert 1200 < np.median(row) < 1700
    assert np.median(energy[3]) < 1000
    rows, columns = np.indices(hcal.SHAPE)
    for image, (x, y) in zip(images, position, strict=True):
        if abs(x) > 4000 or not image.any():
            continue
        centre = np.array([(image * columns).sum(), (image * rows).sum()]) / image.sum()
        line = (np.array([x, y]) * (1 + 560 / hcal.Z_FACE)) / hcal.CELL + (np.array(hcal.SHAPE[::-1]) - 1) / 2
        assert np.abs(centre - line).max() < 1.5  # outer cells are two pixels wide
    hcal.check_caps(images)


def test_the_same_seed_gives_the_same_pions():
    first, again = (source(physics_list="opt0").generate(6, np.random.default_rng(5)) for _ in range(2))
    assert np.array_equal(first["cells"], again["cells"])
    assert first.schema.response == (hcal.CELLS,)


def test_hadronic_showers_name_the_data_that_they_miss(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("GEANT4_DATA_DIR", "G4PARTICLEXSDATA"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(FileNotFoundError, match="G4PARTICLEXSDATA"):
        source().generate(1, np.random.default_rng(1))
