"""From an image to a few numbers: strided convolutions, then dense layers (LHCb HCAL thesis, appendix C, the encoder).

With $w$ = `width` = 16: 5 x 5 kernels halve 64 x 64 to w channels of 32 x 32, 2w of 16 x 16 and 4w of 8 x 8, then dense layers
of 8w and 4w, all leaky ReLU, and the numbers that are asked for. Where these are a mean and a log-variance there are twice as
many of them as the latent vector has.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from understudy.geometry import Calorimeter
from understudy.networks.dense import Init
from understudy.networks.images import ImageNetwork
from understudy.networks.u_net import HALVINGS
from understudy.registry import Given, register


@register("networks", "image-encoder")
class ImageEncoder(ImageNetwork):
    """One image or more, and further numbers, `(n, inputs)`, to `(n, outputs)`.

    Args:
        inputs: numbers in.
        outputs: numbers out.
        geometry: layers of one shape, the channels of an image.
        width: channels of the finest grid, $w$.
        dropout: part of the neurons of the dense layers that are left out in training, at random.
        slope: of the leaky ReLU below zero.
        init: as of a dense network, with the fans of the kernels.
        channels_last: lay images out with their channels innermost, which some processors convolve faster.
        rng: draws the initial weights; torch's own generator if None.

    Raises:
        ValueError: no geometry, one that is no stack of equal grids, or no image.
    """

    def __init__(
        self,
        *,
        inputs: Given[int],
        outputs: Given[int],
        geometry: Given[Calorimeter | None] = None,
        width: PositiveInt = 16,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        slope: NonNegativeFloat = 0.2,
        init: Init = "he-uniform",
        channels_last: bool = False,
        rng: Given[torch.Generator | None] = None,
    ) -> None:
        super().__init__(inputs, 0, geometry, HALVINGS, "an image encoder")
        w, (rows, columns) = width, self.grid.full
        self.slope, self.drop = slope, nn.Dropout(dropout)
        flat = 4 * w * (rows // 8) * (columns // 8) + self.further
        sizes = [(self.images * self.grid.channels, w), (w, 2 * w), (2 * w, 4 * w)]
        with self.layers(init, rng, channels_last):
            self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 5, stride=2, padding=2) for a, b in sizes)
            self.dense = nn.ModuleList([nn.Linear(flat, 8 * w), nn.Linear(8 * w, 4 * w)])
            self.last = nn.Linear(4 * w, outputs)

    def passed(self, x: Tensor) -> Tensor:
        """Numbers `(n, outputs)`."""
        h = self.cells(x)
        for layer in self.convolutions:
            h = nn.functional.leaky_relu(layer(h), self.slope)
        h = torch.cat([h.flatten(1), self.numbers(x).to(h.dtype)], dim=1) if self.further else h.flatten(1)
        for layer in self.dense:
            h = self.drop(nn.functional.leaky_relu(layer(h), self.slope))
        numbers: Tensor = self.last(h)
        return numbers
