"""The response to isolated tracks: which ones count, and a shower shared wrongly that only this analysis sees."""

from dataclasses import replace

import numpy as np
import pytest

from understudy import hcal_geometry as hcal
from understudy.events import Events
from understudy.geometry import builtin
from understudy.registry import factory
from understudy.schema import Schema
from understudy.validation.analyses.base import Samples
from understudy.validation.hcal_isolated import isolated_tracks, track_images

SCHEMA = Schema((hcal.TRACKER_IMAGE,), (hcal.CELLS,))


def events(tracks, cells):
    images = np.stack([hcal.merge(*hcal.real_cells(np.asarray(x, np.float64))) for x in cells])
    tracks = np.asarray(tracks, np.float32)
    return Events(SCHEMA, {"tracker_image": tracks}, {"cells": images.reshape(len(images), -1).astype(np.float32)})


def blank():
    return np.zeros(hcal.SHAPE)


def test_tracks_with_neighbours_or_at_the_edge_of_a_region_do_not_count():
    tracks, cells = blank(), blank()
    tracks[16, 20], cells[15:18, 19:22], cells[16, 23] = 1000.0, 50.0, 400.0  # inner, alone
    tracks[30, 30], tracks[30, 32] = 1000.0, 150.0  # not alone
    tracks[20, 40], tracks[20, 43] = 2000.0, 150.0  # alone enough
    tracks[12, 30] = 1000.0  # first row of the inner region
    tracks[6, 10], cells[4:10, 8:14] = 800.0, 30.0  # outer: 3 x 3 cells of four pixels
    tracks[36, 25] = 499.0  # too soft
    found = isolated_tracks(events([tracks], [cells]), tracks[None], 500.0)
    order = np.argsort(found["inner"].et)
    np.testing.assert_allclose(found["inner"].et[order], [1000.0, 2000.0])
    np.testing.assert_allclose(found["inner"].ratio[order], [0.45, 0.0], atol=1e-6)
    np.testing.assert_allclose(found["outer"].ratio, [36 * 30 / 800], rtol=1e-5)
    assert found["inner"].event.tolist() == [0, 0]


def showers(n, seed, together):
    """One track of 1 GeV each; its energy lies in two cells, of which the second has what the first lacks, or not."""
    rng = np.random.default_rng(seed)
    tracks, cells = np.zeros((n, *hcal.SHAPE)), np.zeros((n, *hcal.SHAPE))
    tracks[:, 20, 25] = 1000.0 + 100 * rng.random(n)
    first = rng.uniform(0, 0.8, n)
    second = 0.8 - first if together else rng.permutation(0.8 - first)
    cells[:, 20, 25], cells[:, 20, 26] = first * tracks[:, 20, 25], second * tracks[:, 20, 25]
    return events(tracks, cells)


def test_a_shower_shared_wrongly_between_its_cells_is_seen():
    n = 1500
    looked = Samples(
        showers(n, 1, True),
        showers(n, 2, True),
        {"right": showers(n, 3, True), "shared": showers(n, 4, False)},
        geometry=builtin("lhcb-hcal"),
    )
    (finding,) = factory("analyses", {"kind": "hcal-isolated-tracks", "bins": 2, "least_p": 1e-3})()(looked)
    assert finding.numbers["right"]["inner"]["candidate"]["width"] < 0.01
    assert finding.numbers["shared"]["inner"]["candidate"]["width"] == pytest.approx(0.8 / 6**0.5, rel=0.05)
    assert finding.numbers["shared"]["inner"]["candidate"]["mean"] == pytest.approx(0.8, abs=0.03)
    assert "outer" not in finding.numbers["shared"]
    curves = finding.curves
    assert set(curves["shared"]) == {"isolated_mean_inner", "isolated_width_inner", "isolated_tail_inner"}
    assert curves["shared"]["isolated_width_inner"]["p_value"] < 1e-6 < 0.01 < curves["right"]["isolated_tail_inner"]["p_value"]
    assert any("the width of the response to isolated tracks (inner region)" in reason for reason in finding.reasons["shared"])
    assert not finding.reasons["right"]
    assert len(finding.pictures) == 4
    assert len(finding.rows) == 2


def test_events_that_do_not_say_their_tracks_are_refused():
    other = Schema((replace(hcal.TRACKER_IMAGE, name="stp_image"),), (hcal.CELLS,))
    bare = Events(other, {"stp_image": np.zeros((2, *hcal.SHAPE), np.float32)}, {"cells": np.zeros((2, 3328), np.float32)})
    assert track_images(bare) is None
    with pytest.raises(ValueError, match="needs events with the condition or aux 'tracker_image' or 'tracks'"):
        factory("analyses", "hcal-isolated-tracks")()(Samples(bare, bare, {}))
