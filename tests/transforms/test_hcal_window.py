"""The window around a track: what goes in comes back to its place."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from understudy import hcal_geometry as hcal
from understudy.references.guns import POSITION
from understudy.references.hcal_pions import ET, lhcb_hcal_pions
from understudy.schema import Block, Schema
from understudy.transforms.hcal_window import HcalWindow

SCHEMA = Schema((POSITION, ET), (hcal.CELLS,))


def at(*positions):
    given = {"position": torch.tensor(positions, dtype=torch.float32), "et": torch.full((len(positions),), 1000.0)}
    return HcalWindow(SCHEMA, 3).fit(torch.zeros(len(positions), hcal.N_PIXELS), given), given


def x_of(column):
    return (column + 0.5 - 32) * hcal.CELL


def y_of(row):
    return (row + 0.5 - 26) * hcal.CELL


def test_a_fine_window_is_the_cells_around_the_track():
    window, given = at((x_of(40), y_of(20)))
    image = torch.rand(1, *hcal.SHAPE)
    assert torch.equal(window(image.flatten(1), given).reshape(7, 7), image[0, 17:24, 37:44])


def test_a_coarse_window_is_the_outer_cells_around_the_track():
    window, given = at((x_of(57), y_of(45)))
    image = torch.tensor(hcal.as_read_out(np.random.default_rng(1).random((1, *hcal.SHAPE), np.float32)))
    _, outer = hcal.real_cells(image)
    found = window(image.flatten(1), given).reshape(7, 7)
    assert torch.equal(found[:6], outer[0, 19:25, 25:32][:6])  # row 22, column 28, three to each side


def test_windows_away_from_the_regions_border_come_back_exactly():
    source = lhcb_hcal_pions()
    pions = source.generate(3000, np.random.default_rng(1))
    x, y = np.abs(pions["position"]).T
    inside = (x < 12 * hcal.CELL) & (y < 10 * hcal.CELL)
    outside = (x > 24 * hcal.CELL) | (y > 22 * hcal.CELL)
    pions = pions[np.flatnonzero(inside | outside)]
    given = {k: torch.tensor(np.asarray(v)) for k, v in pions.conditions.items()}
    window = HcalWindow(SCHEMA, 3).fit(torch.tensor(pions["cells"]), given)
    cells = torch.tensor(pions["cells"])
    within = window(cells, given)
    back = window.inverse(within, given)
    torch.testing.assert_close(back.sum(1), within.sum(1))
    torch.testing.assert_close(window(back, given), within)
    kept = (back - cells).abs()
    assert bool(((kept < 1e-2) | (back == 0)).all())  # a cell is as it was, or outside the window and empty
    assert float(within.sum() / cells.sum()) > 0.96


def test_energy_is_kept_where_a_window_reaches_into_the_other_region():
    places = [(x_of(47), y_of(30)), (x_of(49), y_of(30)), (x_of(20), y_of(39)), (x_of(20), y_of(41)), (x_of(60), y_of(2))]
    window, given = at(*places)
    cells = torch.rand(len(places), 49, generator=torch.Generator().manual_seed(1))
    cells = cells * (window.local(given, window.place(given["position"]))["seen"] > 0)
    back = window.inverse(cells, given)
    torch.testing.assert_close(back.sum(1), cells.sum(1))
    torch.testing.assert_close(hcal.as_read_out(back.reshape(-1, *hcal.SHAPE)).flatten(1), back)


def test_what_the_inner_transforms_know():
    middle = x_of(56.5), y_of(44.5)  # of an outer cell
    window, given = at((x_of(40.25), y_of(20)), (middle[0], middle[1] + 0.5 * hcal.CELL), (270.0, 0.0))
    known = window.local(given, window.place(given["position"]))
    torch.testing.assert_close(known["window"][0], torch.tensor([0.25, 0.0, 0.0]), rtol=0, atol=1e-4)
    torch.testing.assert_close(known["window"][1], torch.tensor([0.0, 0.25, 1.0]), rtol=0, atol=1e-4)
    seen = known["seen"].reshape(3, 7, 7)
    assert set(seen.unique().tolist()) <= {0.0, 0.5, 1.0}
    assert float(seen[2, :, :2].sum()) < 14  # the beam hole
    r = given["position"].norm(dim=1)
    torch.testing.assert_close(known["energy"], 1000 * (r**2 + hcal.Z_FACE**2).sqrt() / r)


def test_events_that_are_no_single_tracks_are_refused():
    with pytest.raises(ValueError, match="needs the conditions position and et of single tracks, and et is missing"):
        HcalWindow(Schema((POSITION, Block("energy")), (hcal.CELLS,)))
    with pytest.raises(ValueError, match="hcal-window needs images of 3328 pixels"):
        HcalWindow(SCHEMA).fit(torch.zeros(2, 89), {"position": torch.zeros(2, 2), "et": torch.ones(2)})
