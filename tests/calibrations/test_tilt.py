"""The maximum-entropy tilt against its definition, and the shape of a layer that it imposes."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from understudy.calibrations.layer import NARROW, SHAPES, LayerShape
from understudy.calibrations.tilt import Basis, solve, tilt
from understudy.geometry import Layer
from understudy.validation import calorimeter as shower
from understudy.validation.containment import cell_size

GRID = Layer.grid("ecal", (12, 10), (20.0, 20.0), (-120.0, -100.0), axes=("x", "y"), units=("mm", "mm"))
STRIPS = Layer.grid("strips", (16, 2), (0.003, 0.1), (0.0, 0.0))


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def showers(layer=GRID, n=200, empty=0.3):
    """Cells around a spot, some of them empty."""
    rng = np.random.default_rng(2)
    centre = layer.centres.mean(0) + rng.normal(0, 1, (n, 2)) * layer.centres.std(0) * 0.2
    spread = layer.centres.std(0) * rng.uniform(0.3, 0.6, (n, 1))
    square = (((layer.centres[None] - centre[:, None]) / spread[:, None]) ** 2).sum(2)
    cells = 1000 * np.exp(-0.5 * square) * rng.gamma(2, 0.5, square.shape)
    return torch.tensor(np.where(rng.random(square.shape) < empty, 0, cells), dtype=torch.float32)


def test_the_tilt_against_a_general_minimiser():
    """The slow twin: relative entropy under constraints, by its dual, one event at a time."""
    g = generator()
    cells, fixed, own = torch.rand(5, 20, generator=g), torch.randn(20, 2, generator=g), torch.rand(5, 1, 20, generator=g)
    basis = Basis.of(fixed, own)
    targets = basis.means(cells, cells.sum(1, keepdim=True)) + torch.tensor([0.2, -0.1, 0.05])
    found = tilt(cells, basis, targets, steps=8)
    for event in range(5):
        x = cells[event].double().numpy()
        phi = torch.cat([fixed, own[event].T], 1).double().numpy() - targets[event].double().numpy()
        best = minimize(lambda m, x=x, phi=phi: np.log(x @ np.exp(phi @ m)), np.zeros(3), method="BFGS", options={"gtol": 1e-9})
        expected = x * np.exp(phi @ best.x)
        np.testing.assert_allclose(found[event], expected * x.sum() / expected.sum(), rtol=1e-3)


def test_the_means_are_those_asked_for_the_sum_stays_and_zeros_stay_zeros():
    cells = showers()
    basis = Basis.of(torch.as_tensor(GRID.centres / 20, dtype=torch.float32))
    energy = cells.sum(1, keepdim=True)
    targets = basis.means(cells, energy) + torch.tensor([0.3, -0.2])
    found = tilt(cells, basis, targets)
    torch.testing.assert_close(basis.means(found, energy), targets, atol=5e-4, rtol=0)
    torch.testing.assert_close(found.sum(1, keepdim=True), energy)
    assert torch.equal(found == 0, cells == 0)


def test_moments_that_a_shower_has_already_leave_it_as_it_is():
    cells = showers()
    basis = Basis.of(torch.as_tensor(GRID.centres / 20, dtype=torch.float32))
    found = tilt(cells, basis, basis.means(cells, cells.sum(1, keepdim=True)))
    torch.testing.assert_close(found, cells, rtol=1e-4, atol=1e-4)


def test_moments_out_of_reach_are_approached_and_nothing_is_nan():
    cells = torch.zeros(3, GRID.n_cells)  # one cell, a few, and none
    cells[0, 40], cells[1, [40, 41, 52, 63]] = 5.0, torch.tensor([1.0, 2.0, 3.0, 2.0])
    basis = Basis.of(torch.as_tensor(GRID.centres / 20, dtype=torch.float32))
    targets = torch.tensor([[50.0, 50.0]]).expand(3, 2)
    found = tilt(cells, basis, targets, steps=8)
    assert bool(found.isfinite().all())
    assert torch.equal(found == 0, cells == 0)
    torch.testing.assert_close(found[0], cells[0])
    before, after = (basis.means(c[1:2], c[1:2].sum(1, keepdim=True)) for c in (cells, found))
    assert float((targets[1] - after).norm()) < float((targets[1] - before).norm())


def test_the_elimination_against_torch():
    a = torch.randn(50, 8, 8, generator=generator(), dtype=torch.float64)
    matrix, right = a @ a.transpose(1, 2), torch.randn(50, 8, generator=generator(1), dtype=torch.float64)
    damped = matrix + torch.diag_embed(1e-6 * matrix.diagonal(dim1=1, dim2=2) + 1e-6)
    torch.testing.assert_close(solve(matrix, right), torch.linalg.solve(damped, right), rtol=1e-6, atol=1e-6)
    assert bool(solve(torch.zeros(1, 3, 3, dtype=torch.float64), torch.ones(1, 3, dtype=torch.float64)).isfinite().all())


def test_coordinates_are_the_moments_that_the_report_shows():
    cells, shape = showers(), LayerShape(GRID, SHAPES)
    found = dict(zip(shape.names, shape(cells).double().T.numpy(), strict=True))
    for direction in shower.directions(GRID):
        axis, u = direction.name, direction.positions
        np.testing.assert_allclose(20 * found[f"barycentre_{axis}_ecal"], shower.barycentre(cells.numpy(), u), atol=1e-3)
        width = 20 * np.sqrt(np.exp(2 * found[f"width_{axis}_ecal"]) - NARROW**2)
        np.testing.assert_allclose(width, shower.width(cells.numpy(), u), rtol=1e-4)
    assert [n for n in shape.names if n.startswith("cont")] == [f"containment_{r}mm_ecal" for r in (20, 40)]
    assert cell_size(GRID) == 20


@pytest.mark.parametrize("layer", [GRID, STRIPS], ids=["grid", "strips"])
@pytest.mark.parametrize("floor", [None, 0.5])
def test_coordinates_and_energy_are_imposed(layer, floor):
    cells, shape = showers(layer), LayerShape(layer, SHAPES)
    least = None if floor is None else torch.tensor([floor])
    cells = torch.where(cells < (floor or 0), 0.0, cells)
    asked = shape(cells)
    asked = asked + 0.03 * asked.std(0) * torch.randn(len(cells), 1, generator=generator())
    energy = 1.02 * cells.sum(1, keepdim=True)
    found = shape.impose(cells, asked, energy, least)
    torch.testing.assert_close(found.sum(1, keepdim=True), energy, rtol=1e-5, atol=0)
    assert float((shape(found) - asked).abs().quantile(0.9)) < 1e-3
    assert torch.equal(found == 0, cells == 0)
    if floor is not None:
        assert float(found[found > 0].min()) >= floor


def test_a_layer_has_the_shapes_that_its_cells_allow():
    assert LayerShape(STRIPS, SHAPES).names == ("barycentre_eta_strips", "barycentre_phi_strips", "width_eta_strips")
    assert LayerShape(Layer.grid("one", (1, 1), (1.0, 1.0), (0.0, 0.0)), SHAPES).names == ()
