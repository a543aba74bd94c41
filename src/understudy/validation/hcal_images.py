r"""Numbers of a merged HCAL image, as the generative-network studies of this calorimeter define them.

With the transverse energy $E_{ij}$ of the pixel in row i and column j: $E = \sum E_{ij}$, $E_\mathrm{max} = \max E_{ij}$, the
number of cells $N = \sum I[E_{ij} > 6\,\mathrm{MeV}]$, the resolution $r = \mathrm{real\_ET} - E$, where real_ET is the
transverse energy of the track or of all tracks, and for single tracks the centre of energy $\sum E_{ij}\, i / \sum E_{ij}$
along both axes.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from understudy import hcal_geometry as hcal
from understudy.events import Events
from understudy.schema import Array
from understudy.validation.observable import Observable

ACTIVE = 6.0
"""Transverse energy above which a pixel counts as active [MeV]."""


def image(events: Events) -> Array:
    """The response as images `(n, 52, 64)` [MeV]; ValueError if it is none."""
    packed = events.packed()
    if packed.shape[1] != hcal.N_PIXELS:
        raise ValueError(
            f"{events.where}: an HCAL image has {hcal.N_PIXELS} pixels (52 x 64), the response has {packed.shape[1]}"
        )
    return packed.reshape(-1, *hcal.SHAPE)


def total_et(images: Array) -> Array:
    """Sum of all pixels `(n,)` [MeV]."""
    return np.asarray(images.sum((1, 2), dtype=np.float64))


def maximum_et(images: Array) -> Array:
    """The highest pixel `(n,)` [MeV]."""
    return np.asarray(images.max((1, 2)), float)


def active_cells(images: Array, threshold: float = ACTIVE) -> Array:
    """Number of pixels above `threshold` [MeV], `(n,)`."""
    return np.asarray((images > threshold).sum((1, 2)), float)


def centre_of_energy(images: Array) -> tuple[Array, Array]:
    """Mean row and column of the energy, `(n,)` each, counted from 0; NaN of an empty image."""
    total = total_et(images)
    with np.errstate(invalid="ignore", divide="ignore"):
        rows = images.sum(2, dtype=np.float64) @ np.arange(images.shape[1]) / total
        columns = images.sum(1, dtype=np.float64) @ np.arange(images.shape[2]) / total
    return np.where(total > 0, rows, np.nan), np.where(total > 0, columns, np.nan)


def real_et(events: Events) -> Array | None:
    """Transverse energy of an event's track, or of all its tracks, `(n,)` [MeV]; None where the conditions do not say it."""
    if "et" in events.conditions:
        return np.asarray(events.conditions["et"], float)
    if hcal.TRACKER_IMAGE.name in events.conditions:
        return np.asarray(np.asarray(events.conditions[hcal.TRACKER_IMAGE.name]).sum((1, 2), dtype=np.float64))
    return None


def tracks_of(events: Events) -> tuple[Array, Array] | None:
    """Number of tracks of each event `(n,)` and all tracks (x, y, et) `(total, 3)`; None where the events do not say them.

    A condition or auxiliary block `tracks` is taken as it is; of an image of tracks each pixel counts as a track in its middle.
    """
    for blocks in (events.conditions, events.aux):
        if hcal.TRACKS.name in blocks:
            return hcal.flat_tracks(blocks[hcal.TRACKS.name])
    if hcal.TRACKER_IMAGE.name not in events.conditions:
        return None
    seen = np.asarray(events.conditions[hcal.TRACKER_IMAGE.name])
    event, row, column = np.nonzero(seen)
    y, x = ((i - (n - 1) / 2) * hcal.CELL for i, n in zip((row, column), hcal.SHAPE, strict=True))
    return np.bincount(event, minlength=len(seen)), np.column_stack([x, y, seen[event, row, column]])


def observables(events: Events) -> tuple[Observable, ...]:
    """All of them for events like these; the centre of energy is one of single tracks."""
    found = [
        Observable("total_et", "MeV", r"$\sum E_T$", lambda e, _: total_et(image(e))),
        Observable("maximum_et", "MeV", r"largest $E_T$ of a cell", lambda e, _: maximum_et(image(e))),
        Observable("active_cells", "", f"cells above {ACTIVE:g} MeV", lambda e, _: active_cells(image(e))),
    ]
    if real_et(events) is not None:
        label = r"$E_T$(tracks) $-\ \sum E_T$"
        found.append(Observable("resolution", "MeV", label, lambda e, _: np.asarray(real_et(e)) - total_et(image(e))))
    if "et" in events.conditions:
        for axis, name in enumerate(("row", "column")):
            found.append(Observable(f"centre_{name}", "", f"mean {name} of the energy", _centre(axis)))
    return tuple(found)


def _centre(axis: int) -> Callable[[Events, object], Array]:
    return lambda events, _: centre_of_energy(image(events))[axis]
