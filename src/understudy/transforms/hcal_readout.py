"""What the LHCb HCAL's read-out makes of a merged image, as a projection (see `hcal_geometry.py`)."""

from __future__ import annotations

import torch
from pydantic import NonNegativeFloat, PositiveFloat
from torch import Tensor

from understudy import hcal_geometry as hcal
from understudy.registry import register
from understudy.transforms.base import Projection, Tensors


@register("projections", "hcal-readout")
class HcalReadout(Projection):
    """Outer cells whole again, the hole and dead cells empty, less than a count no signal, and saturation.

    Args:
        cap: largest transverse energy of a real cell [MeV]; a quarter of it in each pixel of a split outer cell.
        threshold: real cells below are empty [MeV].
        dead: (row, column) of dead inner cells.
        whole_cells: give the four pixels of an outer cell their mean.
    """

    largest: Tensor
    smallest: Tensor
    alive: Tensor

    def __init__(
        self,
        cap: PositiveFloat = hcal.CAP,
        threshold: NonNegativeFloat = hcal.COUNT,
        dead: tuple[tuple[int, int], ...] = hcal.DEAD,
        whole_cells: bool = True,
    ) -> None:
        super().__init__()
        self.whole_cells = whole_cells
        self.register_buffer("largest", torch.tensor(hcal.pixel_caps(cap)), persistent=False)
        self.register_buffer("smallest", torch.tensor(hcal.pixel_caps(threshold)), persistent=False)
        self.register_buffer("alive", torch.tensor(hcal.alive(dead)), persistent=False)

    def forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        """Images `(n, 3328)` [MeV] as the read-out reports them; ValueError if they have another size."""
        if response.ndim != 2 or response.shape[1] != hcal.N_PIXELS:
            raise ValueError(f"hcal-readout needs images of {hcal.N_PIXELS} pixels (52 x 64), not {tuple(response.shape)}")
        image = response.reshape(-1, *hcal.SHAPE)
        if self.whole_cells:
            fours = image.reshape(-1, hcal.SHAPE[0] // 2, 2, hcal.SHAPE[1] // 2, 2)
            upper, lower = (fours[:, :, i, :, 0] + fours[:, :, i, :, 1] for i in (0, 1))
            coarse = ((upper + lower) / 4)[:, :, None, :, None].expand_as(fours).reshape(image.shape)
            image = torch.where(self._inner, image, coarse)
        image = torch.where(self.alive & (image >= self.smallest), torch.minimum(image, self.largest), 0.0)
        return image.flatten(1)

    @property
    def _inner(self) -> Tensor:
        return torch.as_tensor(hcal.inner_pixels(), device=self.alive.device)
