"""The merged image of the LHCb HCAL, and the way back to real cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from understudy import hcal_geometry as hcal
from understudy.geometry import builtin
from understudy.transforms.hcal_readout import HcalReadout

RNG = np.random.default_rng(1)


@pytest.fixture(scope="module")
def cells():
    """Inner and outer cells as they can be: nothing in the hole, nothing where the inner region is."""
    image = RNG.random((4, *hcal.SHAPE), np.float32) * ~hcal.hole_pixels()
    return hcal.real_cells(image)


def test_numbers_of_cells_are_those_of_the_detector():
    assert hcal.inner_pixels().sum() - hcal.hole_pixels().sum() == 880
    assert (~hcal.inner_pixels()).sum() == 4 * 608
    assert (hcal.alive() & hcal.inner_pixels()).sum() == 871
    assert builtin("lhcb-hcal").n_cells == hcal.N_PIXELS == 3328


@pytest.mark.parametrize("wrap", [np.asarray, torch.tensor], ids=["numpy", "torch"])
def test_the_way_back_from_the_merged_image_is_exact(cells, wrap):
    inner, outer = map(wrap, cells)
    image = hcal.merge(inner, outer)
    again = hcal.real_cells(image)
    assert all(np.array_equal(a, b) for a, b in zip(again, cells, strict=True))
    assert np.allclose(image.sum((1, 2)), inner.sum((1, 2)) + outer.sum((1, 2)), rtol=1e-5)
    assert np.array_equal(hcal.as_read_out(image), image)


def test_merging_is_what_its_readable_twin_does(cells):
    inner, outer = cells
    image = np.zeros((len(inner), *hcal.SHAPE), np.float32)
    for row in range(52):
        for column in range(64):
            if 12 <= row < 40 and 16 <= column < 48:
                image[:, row, column] = inner[:, row - 12, column - 16]
            else:
                image[:, row, column] = outer[:, row // 2, column // 2] / 4
    assert np.array_equal(hcal.merge(inner, outer), image)


@pytest.mark.parametrize("rows", [56, 64])
def test_padding_is_undone(rows):
    image = RNG.random((2, *hcal.SHAPE))
    padded = hcal.pad(image, rows)
    assert padded.shape == (2, rows, 64)
    assert np.array_equal(hcal.unpad(padded), image)
    assert padded.sum() == pytest.approx(image.sum())
    assert padded[:, 0].sum() == padded[:, -1].sum() == 0


def test_pixels_agree_with_the_layers_cells():
    layer = builtin("lhcb-hcal").layers[0]
    x, y = RNG.uniform(-4500, 4500, 500), RNG.uniform(-3600, 3600, 500)
    assert np.array_equal(layer.find(y, x), hcal.pixel(x, y))
    assert not hcal.accepted(np.array([0.0, 250.0]), np.array([0.0, -250.0])).any()
    assert hcal.accepted(np.array([270.0]), np.array([0.0])).all()


def test_the_sine_is_that_of_the_polar_angle():
    assert hcal.sine(np.array([3000.0]), np.array([4000.0]), 12000.0) == pytest.approx(5 / 13)
    sines = hcal.pixel_sines()
    assert sines[0, 0] == sines[1, 1] == sines[0, 1] == sines[-1, -1]  # one outer cell, and its mirror image
    assert sines[26, 32] != sines[26, 33]


def test_tracks_are_summed_in_their_pixels_and_events_without_tracks_are_empty():
    image = hcal.tracker_image([[[300.0, 10.0, 50.0], [390.0, 20.0, 25.0], [-4000.0, 3000.0, 8.0]], []])
    assert image[0, 26, 34] == 75.0
    assert image[0].sum() == 83.0
    assert image[1].sum() == 0.0
    assert hcal.tracker_image([[], []]).shape == (2, 52, 64)


@pytest.mark.parametrize(
    ("track", "what"),
    [
        ([5000.0, 0.0, 10.0], "event 1 has a track beside the calorimeter or into its beam hole"),
        ([100.0, -100.0, 10.0], "event 1 has a track beside the calorimeter or into its beam hole"),
        ([1000.0, 0.0, -3.0], "event 1 has a track with a negative energy"),
    ],
    ids=["outside", "hole", "negative"],
)
def test_tracks_that_cannot_be(track, what):
    with pytest.raises(ValueError, match=what):
        hcal.tracker_image([[[1000.0, 0.0, 5.0]], [track], []])
    with pytest.raises(ValueError, match="tracks need three numbers each"):
        hcal.tracker_image([[track[:2]]])


def test_images_of_the_wrong_size_or_beyond_the_cap_are_refused():
    with pytest.raises(ValueError, match=r"the file has shape \(3, 64, 52\) where \(..., 52 rows, 64 columns\) is expected"):
        hcal.check_image(np.zeros((3, 64, 52)), "the file")
    image = np.zeros((2, *hcal.SHAPE), np.float32)
    image[1, 20, 20] = 6120.0  # inner: as much as there can be
    hcal.check_caps(image)
    image[1, 3, 4] = 1531.0  # a quarter of an outer cell
    with pytest.raises(ValueError, match=r"has 1531 MeV in row 3, column 4, more than the read-out can report \(1530 MeV\)"):
        hcal.check_caps(image)
    with pytest.raises(ValueError, match="a pixel of -1 MeV"):
        hcal.check_caps(np.full((1, *hcal.SHAPE), -1.0))
    with pytest.raises(ValueError, match=r"the inner cells have shape \(1, 26, 32\) where \(..., 28, 32\) is expected"):
        hcal.merge(np.zeros((1, 26, 32)), np.zeros((1, 26, 32)))
    with pytest.raises(ValueError, match="cannot be padded to 55 rows"):
        hcal.pad(image, 55)
    with pytest.raises(ValueError, match=r"the dead cell \(28, 0\) is none of the 28 rows x 32 columns of inner cells"):
        hcal.alive([(28, 0)])
    with pytest.raises(ValueError, match=r"hcal-readout needs images of 3328 pixels \(52 x 64\)"):
        HcalReadout()(torch.zeros(2, 89), {})


def test_the_projection_is_the_read_out():
    image = torch.tensor(RNG.exponential(300.0, (5, hcal.N_PIXELS)).astype(np.float32))
    image[:, :400] *= 20
    out = HcalReadout()(image, {}).reshape(-1, *hcal.SHAPE)
    hcal.check_caps(out.numpy())
    inner, outer = hcal.real_cells(out.numpy())
    assert float(outer.max()) == hcal.CAP
    assert inner[inner > 0].min() >= hcal.COUNT
    assert outer[outer > 0].min() >= hcal.COUNT
    assert (out.numpy()[:, ~hcal.alive()] == 0).all()
    before = hcal.real_cells(image.reshape(-1, *hcal.SHAPE).numpy())[1]
    middle = (before > hcal.COUNT) & (before < hcal.CAP)
    np.testing.assert_allclose(outer[middle], before[middle], rtol=1e-5)
