r"""Single tracks in the LHCb HCAL: the cells around the impact point in place of the whole image, and back.

A shower fills a few cells around its track, wherever the track goes. The window has `2 reach + 1` real cells along both axes, of
the region that is hit, around the one that is hit; what lies further away is lost. Where a window reaches into the other region,

- a fine window takes an outer cell where the lower left of its four pixels lies in it, and the other three stay empty;
- a coarse window takes four inner cells together, and gives their energy back to the one that is nearest to the track.

Other transforms may follow inside the window. They know further conditions: `window`, where in its cell the track goes (between
-1/2 and 1/2 along x and y) and whether the cells are coarse; `seen`, for every cell of the window, 1 if it is one of the region
that is hit, 1/2 if it is one of the other, 0 if it is dead or does not exist; and `energy`, the transverse energy over the sine
of the polar angle [MeV].
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, NamedTuple

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from understudy import hcal_geometry as hcal
from understudy.geometry import Calorimeter, Layer
from understudy.models.base import Spec
from understudy.registry import Given, Part, factory, register
from understudy.schema import Block, Schema
from understudy.transforms.base import Chain, Progress, Tensors, Transform

_ROWS, _COLUMNS = hcal.SHAPE
_INNER = (hcal.INNER_ROWS, hcal.INNER_COLUMNS)


class Place(NamedTuple):
    """Where windows lie.

    Args:
        fine: index into the padded fine image of every cell of the window `(n, k)`; in coarse windows, of the inner cell that
            gets what a coarse cell has there.
        coarse: index into the padded image of outer cells `(n, k)`.
        is_coarse: whether the track hits the outer region `(n, 1)`.
        offset: of the track from the middle of its cell, along x and y, in units of the cell `(n, 2)`.
    """

    fine: Tensor
    coarse: Tensor
    is_coarse: Tensor
    offset: Tensor


@register("transforms", "hcal-window")
class HcalWindow(Transform):
    """Images `(n, 3328)` [MeV] to windows `(n, (2 reach + 1)^2)`, and what the inner transforms make of them.

    Args:
        schema: the events' schema, with `position` and `et`.
        reach: cells on each side of the one that is hit.
        transforms: of the window.
        dead: (row, column) of dead inner cells.

    Raises:
        ValueError: the events have no `position` and `et`; in the fit, images of another size.
    """

    inner: Tensor
    corner: Tensor
    status: Tensor

    def __init__(
        self,
        schema: Given[Schema],
        reach: Annotated[int, Field(ge=1, le=8)] = 3,
        transforms: Annotated[Sequence[Spec], Part("transforms")] = (),
        dead: tuple[tuple[int, int], ...] = hcal.DEAD,
    ) -> None:
        super().__init__()
        known = [b.name for b in schema.conditions]
        if missing := [name for name in ("position", "et") if name not in known]:
            raise ValueError(
                f"hcal-window needs the conditions position and et of single tracks, and {missing[0]} is missing; these events"
                f" have {', '.join(known)}"
            )
        self.reach, self.side = reach, 2 * reach + 1
        self.wide = _COLUMNS + 2 * reach, _COLUMNS // 2 + 2 * reach  # columns of the padded images
        cell = Layer.grid("window", (self.side, self.side), (1.0, 1.0), (-reach - 0.5,) * 2, axes=("y", "x"))
        local = Calorimeter("hcal-window", (cell,))
        more = (
            Block("window", shape=(3,), columns=("x", "y", "coarse")),
            Block("seen", shape=(local.n_cells,)),
            Block("energy", "MeV", minimum=0.0),
        )
        inside = Schema((*schema.conditions, *more), (Block("cells", "MeV", shape=(local.n_cells,), minimum=0.0),))
        self.chain = Chain([factory("transforms", t, "hcal-window")(geometry=local, schema=inside) for t in transforms])
        self.register_buffer("inner", torch.tensor(hcal.inner_pixels()), persistent=False)
        corner = np.zeros(hcal.SHAPE, bool)
        corner[::2, ::2] = True
        self.register_buffer("corner", torch.tensor(corner & ~hcal.inner_pixels()), persistent=False)
        own = torch.tensor(hcal.alive(dead))
        fine = torch.where(self.inner, own.float(), 0.5 * self.corner.float())
        covered = self.inner[::2, ::2]
        some = own.reshape(_ROWS // 2, 2, _COLUMNS // 2, 2).any(3).any(1)
        status = torch.cat([self._padded(fine[None]), self._padded(torch.where(covered, 0.5 * some, 1.0)[None])], 1)
        self.register_buffer("status", status[0], persistent=False)

    def output_size(self, d: int) -> int:
        """Cells of the window, after the inner transforms."""
        return self.chain.output_size(self.side**2)

    def _fit_watched(self, response: Tensor, conditions: Tensors, weights: Tensor | None, progress: Progress) -> None:
        if response.shape[1] != hcal.N_PIXELS:
            raise ValueError(f"hcal-window needs images of {hcal.N_PIXELS} pixels (52 x 64), not {response.shape[1]} numbers")
        place = self.place(conditions["position"])
        self.chain.fit(self.cut(response, place), self.local(conditions, place), weights, progress)

    def _forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        place = self.place(conditions["position"])
        found: Tensor = self.chain(self.cut(response, place), self.local(conditions, place))
        return found

    def _inverse(self, response: Tensor, conditions: Tensors) -> Tensor:
        place = self.place(conditions["position"])
        return self.paste(self.chain.inverse(response, self.local(conditions, place)), place)

    def place(self, position: Tensor) -> Place:
        """Windows around positions `(n, 2)` [mm]; beside the calorimeter the nearest cell is taken as hit."""
        at = position.double() / hcal.CELL + position.new_tensor([_COLUMNS / 2, _ROWS / 2]).double()
        top = torch.tensor([_COLUMNS - 1, _ROWS - 1], device=at.device)
        pixel = torch.minimum(at.floor().long().clamp(min=0), top)
        column, row = pixel[:, :1], pixel[:, 1:]
        r, c = _INNER
        hits_inner = (row >= r.start) & (row < r.stop) & (column >= c.start) & (column < c.stop)
        half = torch.div(pixel, 2, rounding_mode="floor")
        offset = torch.where(hits_inner, at - pixel - 0.5, at / 2 - half - 0.5)
        dy, dx = (step.reshape(1, -1) for step in self._steps(pixel.device))
        column2, row2 = half[:, :1], half[:, 1:]
        near_row = 2 * (row2 + dy) + torch.where(dy == 0, (offset[:, 1:] > 0).long(), (dy < 0).long())
        near_column = 2 * (column2 + dx) + torch.where(dx == 0, (offset[:, :1] > 0).long(), (dx < 0).long())
        fine = self._index(
            torch.where(hits_inner, row + dy, near_row.clamp(-self.reach, _ROWS - 1 + self.reach)),
            torch.where(hits_inner, column + dx, near_column.clamp(-self.reach, _COLUMNS - 1 + self.reach)),
            self.wide[0],
        )
        coarse = self._index(
            torch.where(hits_inner, torch.div(row + dy, 2, rounding_mode="floor"), row2 + dy),
            torch.where(hits_inner, torch.div(column + dx, 2, rounding_mode="floor"), column2 + dx),
            self.wide[1],
        )
        return Place(fine, coarse, ~hits_inner, offset.to(position.dtype))

    def cut(self, image: Tensor, place: Place) -> Tensor:
        """The windows `(n, k)` of images `(n, 3328)`."""
        pixels = image.reshape(-1, *hcal.SHAPE)
        four = pixels.reshape(-1, _ROWS // 2, 2, _COLUMNS // 2, 2).sum((2, 4))
        spread = four.repeat_interleave(2, 1).repeat_interleave(2, 2)
        fine = torch.where(self.inner, pixels, torch.where(self.corner, spread, 0.0))
        return torch.where(place.is_coarse, self._padded(four).gather(1, place.coarse), self._padded(fine).gather(1, place.fine))

    def paste(self, cells: Tensor, place: Place) -> Tensor:
        """Images `(n, 3328)` with windows `(n, k)` in them and nothing elsewhere."""
        n = cells.shape[0]  # `len` would fix it in an export
        inner = self._padded(self.inner[None].to(cells.dtype))[0]
        corner = self._padded(self.corner[None].to(cells.dtype))[0]
        outer = self._padded((~self.inner[::2, ::2])[None].to(cells.dtype))[0]
        to_fine = cells * inner[place.fine]
        to_coarse = cells * torch.where(place.is_coarse, outer[place.coarse], corner[place.fine])
        fine = cells.new_zeros(n, inner.shape[0]).scatter_add(1, place.fine, to_fine)
        coarse = cells.new_zeros(n, outer.shape[0]).scatter_add(1, place.coarse, to_coarse)
        quarter = 0.25 * self._unpadded(coarse, (_ROWS // 2, _COLUMNS // 2))
        spread = quarter[:, :, None, :, None].expand(-1, -1, 2, -1, 2).reshape(-1, *hcal.SHAPE)
        whole = torch.where(self.inner, self._unpadded(fine, hcal.SHAPE), spread)
        return whole.reshape(-1, hcal.N_PIXELS)

    def local(self, conditions: Tensors, place: Place) -> dict[str, Tensor]:
        """The conditions that the inner transforms know."""
        fine_pixels = (_ROWS + 2 * self.reach) * self.wide[0]
        seen = self.status[torch.where(place.is_coarse, place.coarse + fine_pixels, place.fine)]
        window = torch.cat([place.offset, place.is_coarse.to(place.offset.dtype)], 1)
        r = conditions["position"].double().square().sum(1).sqrt()
        energy = conditions["et"].reshape(-1).double() * (1 + (hcal.Z_FACE / r.clamp(min=1.0)).square()).sqrt()
        return {**conditions, "window": window, "seen": seen, "energy": energy.to(place.offset.dtype)}

    def _steps(self, device: torch.device) -> tuple[Tensor, Tensor]:
        """Rows and columns of a window's cells, counted from its middle."""
        steps = torch.arange(-self.reach, self.reach + 1, device=device)
        return steps.repeat_interleave(self.side), steps.repeat(self.side)

    def _index(self, row: Tensor, column: Tensor, wide: int) -> Tensor:
        return (row + self.reach) * wide + column + self.reach

    def _padded(self, image: Tensor) -> Tensor:
        """Images `(n, rows, columns)` with a border of `reach` zeros, flat."""
        return torch.nn.functional.pad(image, (self.reach,) * 4).flatten(1)

    def _unpadded(self, flat: Tensor, shape: tuple[int, int]) -> Tensor:
        rows, columns = shape
        image = flat.reshape(-1, rows + 2 * self.reach, columns + 2 * self.reach)
        return image[:, self.reach : self.reach + rows, self.reach : self.reach + columns]
