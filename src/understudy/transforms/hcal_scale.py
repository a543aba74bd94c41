r"""Pixels of the LHCb HCAL's merged image on a scale that networks like.

- `linear`: $y = x / E_\mathrm{max}$ with the largest energy of a real cell, 6120 MeV: inner cells lie in [0, 1], pixels of split
  outer cells in [0, 1/4], as in the thesis.
- `log`: in units of what each pixel can report, from the threshold $t$ of the read-out to its cap $T$,

$$y = \begin{cases} 1 + \ln (x/t) / \ln (T/t) & x \ge t \\ 0 & \text{else} \end{cases}$$

  so that hit pixels lie in [1, 2] in both regions. The inverse takes what lies between 0 and 1 to energies below the threshold,
  $x = y\,t$: it is continuous, and the read-out (`projections.hcal-readout`) decides.
- `power`: $y = (x/T)^{1/4}$ of each pixel, in [0, 1], zeros at zero.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from pydantic import PositiveFloat
from torch import Tensor

from understudy import hcal_geometry as hcal
from understudy.registry import register
from understudy.transforms.base import Tensors, Transform


@register("transforms", "hcal-scale")
class HcalScale(Transform):
    """Images `(n, 3328)` [MeV] to numbers of order one, `(n, 3328)`.

    Args:
        form: `linear`, `log` or `power`, see above.
        cap: largest transverse energy of a real cell [MeV].
        threshold: the smallest that is reported [MeV].

    Raises:
        ValueError: in the fit, images of another size or with pixels beyond what the read-out can report.
    """

    largest: Tensor

    def __init__(
        self,
        form: Literal["linear", "log", "power"] = "linear",
        cap: PositiveFloat = hcal.CAP,
        threshold: PositiveFloat = hcal.COUNT,
    ) -> None:
        super().__init__()
        self.form, self.cap, self.range = form, cap, math.log(cap / threshold)
        if threshold >= cap:
            raise ValueError(f"hcal-scale: the threshold of {threshold:g} MeV is not below the cap of {cap:g} MeV; lower it")
        self.register_buffer("largest", torch.tensor(hcal.pixel_caps(cap)).flatten(), persistent=False)

    def _fit(self, response: Tensor, conditions: Tensors, weights: Tensor | None) -> None:
        if response.shape[1] != hcal.N_PIXELS:
            raise ValueError(f"hcal-scale needs images of {hcal.N_PIXELS} pixels (52 x 64), not {response.shape[1]} numbers")
        hcal.check_caps(response.reshape(-1, *hcal.SHAPE).numpy(), "the training sample", self.cap)

    def _forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        if self.form == "linear":
            return response / self.cap
        part = response / self.largest
        if self.form == "power":
            return part.clamp(min=0.0).sqrt().sqrt()
        y = 2 + part.clamp(min=1e-30).log() / self.range
        return torch.where(y >= 1 - 1e-6, y.clamp(min=1.0), 0.0)

    def _inverse(self, response: Tensor, conditions: Tensors) -> Tensor:
        if self.form == "linear":
            return response * self.cap
        if self.form == "power":
            return response.clamp(min=0.0).square().square() * self.largest
        least = math.exp(-self.range)
        above = ((response.clamp(1.0, 2.0) - 2) * self.range).exp()
        return torch.where(response < 1, response.clamp(min=0.0) * least, above) * self.largest
