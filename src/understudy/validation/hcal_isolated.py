r"""The response to isolated tracks: $r = \sum_{3 \times 3} E_T / E_T^\mathrm{track}$ around a track that is alone.

Experiments check a hadronic calorimeter by the energy around isolated tracks, and it tells whether the energies of neighbouring
cells belong together: with a shower shared wrongly between its cells every cell by itself, and the sum over the whole image, can
be right while $r$ is too wide, and with it the tail that fires a trigger.

Cells are real ones of one region. A track is isolated if within 7 x 7 cells all others together have less than a tenth of its
transverse energy, and counts if its 3 x 3 cells all lie in the region. Two tracks in one cell are one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import uniform_filter

from understudy import hcal_geometry as hcal
from understudy.events import Events
from understudy.schema import Array
from understudy.validation.hcal_images import image

REGIONS = ("inner", "outer")
WINDOW = 3
ALONE = 7
OTHERS = 0.1


@dataclass(frozen=True, eq=False)
class IsolatedTracks:
    """Isolated tracks of one region.

    Args:
        et: their transverse energies `(m,)` [MeV].
        ratio: the response over it, `(m,)`.
        event: which event each is of, `(m,)`.
    """

    et: Array
    ratio: Array
    event: Array


def track_images(events: Events) -> Array | None:
    """The tracks' transverse energies in their pixels, `(n, 52, 64)` [MeV]; None where the events do not say them."""
    for blocks in (events.conditions, events.aux):
        if hcal.TRACKER_IMAGE.name in blocks:
            return np.asarray(blocks[hcal.TRACKER_IMAGE.name])
        if hcal.TRACKS.name in blocks:
            return hcal.tracker_image(blocks[hcal.TRACKS.name])
    return None


def isolated_tracks(events: Events, tracks: Array, least: float) -> dict[str, IsolatedTracks]:
    """By region, the isolated tracks of at least `least` MeV and what is around them; `tracks` are those of `track_images`."""
    found = {}
    cells = hcal.real_cells(image(events)), hcal.real_cells(tracks), hcal.real_cells(hcal.alive(()).astype(float))
    for region, answer, seen, alive in zip(REGIONS, *cells, strict=True):
        whole = uniform_filter((alive > 0).astype(float), WINDOW, mode="constant") > 1 - 1e-6
        alone = (seen >= least) & whole
        alone &= _around(seen, ALONE) - seen < OTHERS * seen
        et = seen[alone].astype(float)
        found[region] = IsolatedTracks(et, _around(answer, WINDOW)[alone] / et, np.nonzero(alone)[0])
    return found


def _around(cells: Array, side: int) -> Array:
    """Sum of the square around each cell of `(n, rows, columns)`; there is nothing beyond the edge."""
    sums: Array = uniform_filter(cells.astype(np.float64), (1, side, side), mode="constant") * side**2
    return sums
