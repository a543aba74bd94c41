"""The division of an image into passes."""

import pytest
import torch

from understudy import hcal_geometry as hcal
from understudy.geometry import Calorimeter, Layer, builtin
from understudy.networks.grid import Grid
from understudy.networks.interlacing import PASSES, cut, gathered, pass_of_pixel, shares, spread

TOY = Grid.of(Calorimeter("toy", (Layer.grid("one", (8, 8), (1.0, 1.0), (0.0, 0.0)),)), 3, None, "a test")
HCAL = Grid.of(builtin("lhcb-hcal"), 3, None, "a test")
NONE = torch.zeros(4, 4, dtype=torch.bool)
OUTER = HCAL.pad(torch.tensor(~hcal.inner_pixels()).float().reshape(1, -1))[0, 0, ::2, ::2] > 0


def test_neighbours_in_a_pass_are_as_far_apart_as_they_can_be():
    assert pass_of_pixel(4, 4).tolist() == [[0, 5, 2, 5], [4, 3, 4, 3], [2, 5, 1, 5], [4, 3, 4, 3]]


@pytest.mark.parametrize(("grid", "whole", "cells"), [(TOY, NONE, 64), (HCAL, OUTER, 28 * 32 + 26 * 32 - 14 * 16)])
def test_every_cell_is_drawn_once(grid, whole, cells):
    found = torch.cat([share.cells for share in shares(grid, whole)])
    assert len(found) == len(found.unique()) == cells


@pytest.mark.parametrize(("grid", "whole"), [(TOY, NONE), (HCAL, OUTER)])
def test_a_pass_finds_its_cells_in_its_window_and_their_places_in_the_image(grid, whole):
    numbers = gathered(grid.pad(torch.arange(1.0, grid.n_cells + 1)[None]))
    for share in shares(grid, whole):
        assert torch.equal(numbers.flatten()[share.there].long() - 1, share.cells)
        looked = cut(numbers, share.window)[0].flatten(1)[:, share.blocks]
        drawn = sorted({int(t) // whole.numel() for t in share.there})  # pixels of a block
        assert len(drawn) == share.pixels
        mine = looked[drawn].T.flatten()[share.here].long() - 1
        assert torch.equal(mine, share.cells)


def test_cells_of_one_pass_do_not_touch():
    image = torch.full((8, 8), -1)
    for k, share in enumerate(shares(TOY, NONE)):
        image.view(-1)[share.cells] = k
    assert torch.equal(image, pass_of_pixel(8, 8))
    for step in ((0, 1), (1, 0)):
        assert (image != image.roll(step, (0, 1))).all()


def test_split_cells_are_drawn_by_their_first_pixel_two_blocks_apart():
    pixels = torch.zeros(1, HCAL.n_cells)
    for share in shares(HCAL, OUTER):
        pixels[0, share.cells] = 1
    blocks = gathered(HCAL.pad(pixels))[0]
    outer = OUTER & (gathered(HCAL.pad(torch.ones(1, HCAL.n_cells)))[0, 0] > 0)
    assert (blocks[0][outer] == 1).all()
    assert (blocks[1:, outer] == 0).all()


def test_a_pass_without_cells_looks_at_one_block():
    tiny = Grid(1, (2, 2), (1, 1), 1)
    found = shares(tiny, torch.ones(1, 1, dtype=torch.bool))
    assert [len(share.cells) for share in found] == [1] + [0] * (PASSES - 1)
    assert found[1].window == (0, 1, 0, 1)


def test_blocks_come_back_as_pixels():
    image = torch.rand(2, 3, 4, 6)
    assert torch.equal(spread(gathered(image)), image)
