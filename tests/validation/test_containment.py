import math

import numpy as np
import pytest

from understudy.geometry import Layer
from understudy.validation.containment import STEPS, cell_size, contained, counted, radius

LAYER = Layer.grid("ecal", (15, 11), (20.0, 20.0), (-150.0, -110.0), axes=("x", "y"), units=("mm", "mm"))


def slow_contained(cells, radius):
    """One shower, cell by cell, with distances rounded to an eighth of a cell."""
    total = sum(float(e) for e in cells)
    x, y = (sum(float(e) * c[axis] for e, c in zip(cells, LAYER.centres, strict=True)) / total for axis in (0, 1))
    found = 0.0
    for energy, (cx, cy) in zip(cells, LAYER.centres, strict=True):
        r = round(math.hypot(cx - x, cy - y) / 2.5) * 2.5
        low, high = max(r - 10, 0.0), r + 10
        found += float(energy) * min(max((radius**2 - low**2) / (high**2 - low**2), 0.0), 1.0)
    return found / total


def test_slow_twin():
    generator = np.random.default_rng(1)
    cells = (generator.gamma(0.3, 10.0, (140, LAYER.n_cells)) * (generator.random((140, LAYER.n_cells)) < 0.4)).astype(np.float32)
    radii = np.array([0.0, 7.0, 33.0, 80.0, 400.0])
    found = contained(cells, LAYER, radii)
    for i in (0, 5, 127, 128, 139):
        np.testing.assert_allclose(found[i], [slow_contained(cells[i], r) for r in radii], atol=1e-5)
    np.testing.assert_allclose(found[:, 0], 0.0)
    np.testing.assert_allclose(found[:, -1], 1.0)
    assert (np.diff(found, axis=1) >= 0).all()


@pytest.mark.parametrize("sigma", [25.0, 30.0])
def test_radii_of_a_gaussian_shower(sigma):
    """A two-dimensional Gaussian holds q within sigma (-2 ln(1 - q))^(1/2); spreading over a cell widens it by size^2 / 12."""
    generator = np.random.default_rng(2)
    wide = Layer.grid("ecal", (31, 31), (20.0, 20.0), (-310.0, -310.0), axes=("x", "y"), units=("mm", "mm"))
    centre = generator.uniform(-10, 10, (60, 2))
    cells = np.exp(-0.5 * ((wide.centres[None] - centre[:, None]) ** 2).sum(2) / sigma**2).astype(np.float32)
    found = radius(counted(cells, wide), wide, (0.68, 0.9))
    seen = math.sqrt(sigma**2 + 20**2 / 12)
    expected = [seen * math.sqrt(-2 * math.log(1 - q)) for q in (0.68, 0.9)]
    np.testing.assert_allclose(found.mean(0), expected, rtol=0.03)
    assert (found.std(0) < 0.02 * found.mean(0)).all()


def test_the_radius_holds_what_it_says():
    generator = np.random.default_rng(3)
    cells = generator.gamma(0.3, 10.0, (20, LAYER.n_cells)).astype(np.float32)
    found = radius(counted(cells, LAYER), LAYER, (0.5, 0.9))
    for j, fraction in enumerate((0.5, 0.9)):
        held = [contained(cells[i : i + 1], LAYER, found[i, j : j + 1])[0, 0] for i in range(20)]
        np.testing.assert_allclose(held, fraction, atol=0.01)


def test_one_cell_and_none():
    cells = np.zeros((2, LAYER.n_cells), np.float32)
    cells[0, 40] = 3.0
    found = radius(counted(cells, LAYER), LAYER, (0.5, 0.9))
    np.testing.assert_allclose(found[0], [7.07, 9.49], atol=0.5)  # spread over a circle of the cell's size
    assert np.isnan(found[1]).all()
    assert cell_size(LAYER) / STEPS == 2.5
    assert counted(cells[:0], LAYER).shape[0] == 0
