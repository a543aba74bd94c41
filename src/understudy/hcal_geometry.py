r"""The LHCb hadronic calorimeter seen from the beam: real cells of two sizes, and the merged image that networks like.

The inner region has 28 rows of 32 cells of 131.3 mm less a beam hole of 4 x 4 (880 cells); around it lies the outer region, 26
rows of 32 cells of 262.6 mm less the 14 x 16 that the inner region covers (608 cells). The merged image has 52 rows (y upwards)
of 64 columns (x): every outer cell is split in four pixels, each with a quarter of its energy. Splitting into quarters and adding
four of them is exact in floating point, so `real_cells(merge(inner, outer))` gives back the very same numbers.

A real cell reports a transverse energy of at most 255 counts of 24 MeV, 6120 MeV; so a pixel of a split outer cell holds at most
1530 MeV. Dead cells report nothing. (A. A. Alves et al., The LHCb detector at the LHC, JINST 3 (2008) S08005, 6.2; the
merged image is that of the generative-network studies of this calorimeter.)

Arrays are numpy arrays or torch tensors `(..., rows, columns)`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from understudy.geometry import HCAL_CELL, HCAL_SHAPE
from understudy.schema import Array, Block

CELL = HCAL_CELL
"""Side of an inner cell, and of a pixel of the merged image [mm]."""
SHAPE = HCAL_SHAPE
"""Rows (y) and columns (x) of the merged image."""
N_PIXELS = SHAPE[0] * SHAPE[1]
INNER, OUTER = (28, 32), (26, 32)
"""Rows and columns of the two regions, holes included."""
HOLE = (4, 4)
"""Inner cells that the beam pipe takes."""
Z_FACE = 13330.0
"""Distance of the front face from the interaction point [mm]."""
DEPTH = 1220.0
"""Depth [mm] of the 5.6 interaction lengths."""
COUNT = 24.0
"""Transverse energy of one count of the read-out [MeV]; less is no signal."""
CAP = 255 * COUNT
"""Largest transverse energy that a real cell reports [MeV]."""
DEAD = ((3, 7), (5, 24), (9, 2), (11, 29), (15, 10), (18, 21), (20, 4), (23, 27), (26, 15))
"""Nine dead inner cells (row, column), so that 871 are alive as in the published images; which ones they are is not published."""

_TOP, _LEFT = (SHAPE[0] - INNER[0]) // 2, (SHAPE[1] - INNER[1]) // 2
INNER_ROWS, INNER_COLUMNS = slice(_TOP, _TOP + INNER[0]), slice(_LEFT, _LEFT + INNER[1])
"""Where the inner region lies in the merged image."""

CELLS = Block("cells", "MeV", shape=(N_PIXELS,), minimum=0.0)
"""The response: the merged image of transverse energies, row by row."""
TRACKS = Block("tracks", "mm, mm, MeV", kind="jagged", shape=(3,), columns=("x", "y", "et"))
"""Charged tracks of an event where they meet the calorimeter's face, and their transverse energies."""
TRACKER_IMAGE = Block("tracker_image", "MeV", kind="image", shape=SHAPE, minimum=0.0)
"""The tracks' transverse energies, each in the pixel that its track points to."""
STP_IMAGE = Block("stp_image", "MeV", kind="image", shape=SHAPE, minimum=0.0)
"""Images of the single tracks of an event (single-track propagation), summed and capped."""


def inner_pixels() -> Array:
    """Boolean `SHAPE`: pixels of the inner region, the hole included."""
    mask = np.zeros(SHAPE, bool)
    mask[INNER_ROWS, INNER_COLUMNS] = True
    return mask


def hole_pixels() -> Array:
    """Boolean `SHAPE`: the beam hole."""
    mask = np.zeros(SHAPE, bool)
    rows, columns = ((n - h) // 2 for n, h in zip(SHAPE, HOLE, strict=True))
    mask[rows : rows + HOLE[0], columns : columns + HOLE[1]] = True
    return mask


def alive(dead: Iterable[tuple[int, int]] = DEAD) -> Array:
    """Boolean `SHAPE`: pixels that can report energy; `dead` are (row, column) of inner cells.

    Raises:
        ValueError: a dead cell is no cell of the inner region.
    """
    mask = ~hole_pixels()
    for row, column in dead:
        if not (0 <= row < INNER[0] and 0 <= column < INNER[1]):
            raise ValueError(
                f"the dead cell ({row}, {column}) is none of the {INNER[0]} rows x {INNER[1]} columns of inner cells"
            )
        mask[_TOP + row, _LEFT + column] = False
    return mask


def pixel_caps(cap: float = CAP) -> Array:
    """Largest transverse energy of each pixel [MeV], float32 `SHAPE`: `cap`, or a quarter of it where outer cells are split."""
    return np.where(inner_pixels(), cap, cap / 4).astype(np.float32)


def merge(inner: Any, outer: Any) -> Any:
    """The merged image `(..., 52, 64)` of inner `(..., 28, 32)` and outer `(..., 26, 32)` cells.

    Raises:
        ValueError: the cells have other shapes.
    """
    for name, cells, shape in (("inner", inner, INNER), ("outer", outer, OUTER)):
        if tuple(cells.shape[-2:]) != shape:
            raise ValueError(f"the {name} cells have shape {tuple(cells.shape)} where (..., {shape[0]}, {shape[1]}) is expected")
    image = _twice(outer / 4)
    image[..., INNER_ROWS, INNER_COLUMNS] = inner
    return image


def real_cells(image: Any) -> tuple[Any, Any]:
    """Inner `(..., 28, 32)` and outer `(..., 26, 32)` cells of a merged image; outer ones are sums of their four pixels."""
    check_image(image)
    inner = image[..., INNER_ROWS, INNER_COLUMNS]
    outer = (image[..., ::2, ::2] + image[..., ::2, 1::2]) + (image[..., 1::2, ::2] + image[..., 1::2, 1::2])
    outer[..., _TOP // 2 : (_TOP + INNER[0]) // 2, _LEFT // 2 : (_LEFT + INNER[1]) // 2] = 0.0
    return inner, outer


def as_read_out(image: Any) -> Any:
    """The image with the four pixels of every outer cell at their mean, as the read-out cannot tell them apart."""
    return merge(*real_cells(image))


def pad(image: Any, rows: int = 56) -> Any:
    """The image with as many empty rows above as below, `(..., rows, 64)`; 56 or 64 rows make it easy to halve.

    Raises:
        ValueError: fewer rows than the image has, or an odd number too many.
    """
    check_image(image)
    if rows < SHAPE[0] or (rows - SHAPE[0]) % 2:
        raise ValueError(f"an image of {SHAPE[0]} rows cannot be padded to {rows} rows; choose 56 or 64")
    margin = (rows - SHAPE[0]) // 2
    padded = _zeros(image, (*image.shape[:-2], rows, SHAPE[1]))
    padded[..., margin : margin + SHAPE[0], :] = image
    return padded


def unpad(image: Any) -> Any:
    """The inverse of `pad`."""
    margin = (image.shape[-2] - SHAPE[0]) // 2
    return image[..., margin : margin + SHAPE[0], :]


def check_image(image: Any, where: str = "the image") -> None:
    """ValueError unless `image` is `(..., 52, 64)`."""
    if len(image.shape) < 2 or tuple(image.shape[-2:]) != SHAPE:
        raise ValueError(f"{where} has shape {tuple(image.shape)} where (..., {SHAPE[0]} rows, {SHAPE[1]} columns) is expected")


def check_caps(image: Array, where: str = "the image", cap: float = CAP) -> None:
    """ValueError unless no pixel of `image` `(..., 52, 64)` is negative or beyond what the read-out can report."""
    check_image(image, where)
    too_much = image > pixel_caps(cap) * (1 + 1e-6)
    if too_much.any():
        *_, row, column = np.argwhere(too_much)[0]
        raise ValueError(
            f"{where} has {image[too_much][0]:g} MeV in row {row}, column {column}, more than the read-out can report"
            f" ({pixel_caps(cap)[row, column]:g} MeV); check the unit, divide outer cells by four, or"
            " apply the projection hcal-readout"
        )
    if (image < 0).any():
        raise ValueError(f"{where} has a pixel of {image.min():g} MeV; transverse energies are 0 or more")


def pixel(x: Array, y: Array) -> Array:
    """Index of the merged pixel at (x, y) [mm] on the face; -1 outside the calorimeter."""
    column = np.floor(np.asarray(x, float) / CELL).astype(int) + SHAPE[1] // 2
    row = np.floor(np.asarray(y, float) / CELL).astype(int) + SHAPE[0] // 2
    inside = (column >= 0) & (column < SHAPE[1]) & (row >= 0) & (row < SHAPE[0])
    return np.where(inside, row * SHAPE[1] + column, -1)


def accepted(x: Array, y: Array) -> Array:
    """Boolean: (x, y) [mm] lies on the calorimeter and not in the beam hole."""
    at = pixel(x, y)
    return np.asarray((at >= 0) & ~hole_pixels().ravel()[at])


def sine(x: Array, y: Array, z: float = Z_FACE) -> Array:
    """Sine of the polar angle at which the interaction point sees (x, y, z) [mm]: transverse energy over energy."""
    r = np.hypot(x, y)
    return np.asarray(r / np.hypot(r, z))


def pixel_sines() -> Array:
    """`sine` at the centre of the real cell that each pixel belongs to, `SHAPE`."""
    y, x = np.meshgrid(*((np.arange(n) - n / 2 + 0.5) * CELL for n in SHAPE), indexing="ij")
    yy, xx = np.meshgrid(*((2 * np.arange(n) - n + 1.0) * CELL for n in OUTER), indexing="ij")
    inside = inner_pixels()
    return sine(np.where(inside, x, _twice(xx)), np.where(inside, y, _twice(yy)))


def tracker_image(tracks: Any) -> Array:
    """The tracks `(x, y, et)` of each event as an image, float32 `(n, 52, 64)` [MeV]; an event without tracks gives an empty one.

    Args:
        tracks: awkward array of `n` lists of tracks with three numbers each, or a list of arrays `(tracks, 3)`.

    Raises:
        ValueError: a track has other than three numbers, a negative energy, or points beside the calorimeter or into its hole.
    """
    counts, items = flat_tracks(tracks)
    at = pixel(items[:, 0], items[:, 1])
    check_tracks(items, counts)
    event = np.repeat(np.arange(len(counts)), counts)
    total = np.bincount(event * N_PIXELS + at, items[:, 2], minlength=len(counts) * N_PIXELS)
    return total.reshape(-1, *SHAPE).astype(np.float32)


def flat_tracks(tracks: Any) -> tuple[Array, Array]:
    """Number of tracks of each event `(n,)` and all tracks `(total, 3)`."""
    import awkward

    array = awkward.Array(tracks)
    counts = np.asarray(awkward.num(array, axis=1)) if len(array) else np.zeros(0, int)
    items = awkward.to_numpy(awkward.flatten(array, axis=1)) if counts.sum() else np.zeros((0, 3))
    if items.ndim != 2 or items.shape[1] != 3:
        raise ValueError(f"tracks need three numbers each, x, y [mm] and et [MeV]; found shape {items.shape}")
    return counts, np.asarray(items, float)


def check_tracks(items: Array, counts: Array) -> None:
    """ValueError unless all tracks `(total, 3)` of events with `counts` tracks hit the calorimeter, with energy 0 or more."""
    x, y, et = items.T
    for bad, what in ((~accepted(x, y), "beside the calorimeter or into its beam hole"), (~(et >= 0), "with a negative energy")):
        if bad.any():
            first = int(np.flatnonzero(bad)[0])
            event = int(np.searchsorted(np.cumsum(counts), first, side="right"))
            raise ValueError(
                f"event {event} has a track {what} (x = {x[first]:.0f} mm, y = {y[first]:.0f} mm, et = {et[first]:g} MeV);"
                " leave such tracks out"
            )


def _twice(cells: Any) -> Any:
    """Every cell as 2 x 2 pixels."""
    repeat = np.repeat if isinstance(cells, np.ndarray) else _tensor_repeat
    return repeat(repeat(cells, 2, -1), 2, -2)


def _tensor_repeat(cells: Any, times: int, axis: int) -> Any:
    return cells.repeat_interleave(times, axis)


def _zeros(like: Any, shape: tuple[int, ...]) -> Any:
    return np.zeros(shape, like.dtype) if isinstance(like, np.ndarray) else like.new_zeros(shape)
