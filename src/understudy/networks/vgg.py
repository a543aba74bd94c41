"""A discriminator of images that judges patches (LHCb HCAL thesis, appendix C; Simonyan and Zisserman 2014; Isola et al. 2017).

Convolutions of 3 x 3 cells in groups, each group halved by its largest values, and two strided ones at the end. With $w$ =
`width` = 32 channels and 64 x 64 cells: w, w | 2w, 2w | 4w, 4w, 4w | 2w of 4 x 4 (5 x 5 kernel), w (4 x 4 kernel), and 2 x 2
scores, one for each quarter of the image (`patches`), or a single one of all of them.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveInt
from torch import Tensor, nn

from understudy.geometry import Calorimeter
from understudy.networks.dense import Init
from understudy.networks.images import REFERENCE, ImageNetwork, spread
from understudy.networks.minibatch import MinibatchDiscrimination
from understudy.networks.normalisation import Norm, normalisation
from understudy.networks.u_net import HALVINGS
from understudy.registry import Given, register

GROUPS = (2, 2, 3)
"""Convolutions on each grid."""


@register("networks", "vgg")
class VGG(ImageNetwork):
    """Images, and further numbers as constant channels, `(n, inputs)`, to scores `(n, patches)`, or `(n, outputs)`.

    Args:
        inputs: numbers in.
        outputs: numbers out, where it does not judge patches.
        geometry: layers of one shape, the channels of an image.
        width: channels of the finest grid, $w$.
        patches: judge each quarter of the image by itself.
        norm: normalisation after each halving. A gradient penalty forbids `batch`.
        dropout: part of the channels behind each halving that are left out in training, at random.
        minibatch: kernels of minibatch discrimination on the channels before the last layer; 0 for none.
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
        width: PositiveInt = 32,
        patches: bool = True,
        norm: Norm = "batch",
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        minibatch: NonNegativeInt = 0,
        slope: NonNegativeFloat = 0.2,
        init: Init = "he-uniform",
        channels_last: bool = False,
        rng: Given[torch.Generator | None] = None,
    ) -> None:
        super().__init__(inputs, 0, geometry, HALVINGS, "a VGG discriminator", virtual=norm == "virtual-batch")
        w, before = width, self.channels
        self.slope, self.drop = slope, nn.Dropout2d(dropout)
        rows, columns = self.grid.full[0] // 16, self.grid.full[1] // 16
        with self.layers(init, rng, channels_last):
            self.convolutions = nn.ModuleList()
            for factor, number in zip((1, 2, 4), GROUPS, strict=True):
                for _ in range(number):
                    self.convolutions.append(nn.Conv2d(before, factor * w, 3, padding=1))
                    before = factor * w
            self.norms = nn.ModuleList(normalisation(norm, factor * w, REFERENCE) for factor in (1, 2, 4))
            self.down = nn.Conv2d(4 * w, 2 * w, 5, stride=2, padding=2)
            self.same = nn.Conv2d(2 * w, w, 4)
            if patches:
                self.last: nn.Module = nn.Conv2d(w + minibatch, 1, 4, stride=2, padding=1)
            else:
                self.last = nn.Sequential(nn.Flatten(1), nn.Linear((w + minibatch) * rows * columns, outputs))
        self.likeness = MinibatchDiscrimination(w * rows * columns, minibatch, 8, rng) if minibatch else None

    def passed(self, x: Tensor) -> Tensor:
        """Scores, `(n, patches)` or `(n, outputs)`."""
        h, layers = self.unpacked(x), iter(self.convolutions)
        for number, norm in zip(GROUPS, self.norms, strict=True):
            for _ in range(number):
                h = self._leaky(next(layers)(h))
            h = self.drop(norm(nn.functional.max_pool2d(h, 2)))
        h = self._leaky(self.down(h))
        h = self._leaky(self.same(nn.functional.pad(h, (1, 2, 1, 2))))
        if self.likeness is not None:
            h = torch.cat([h, spread(self.likeness(h.flatten(1)).to(h.dtype), h)], dim=1)
        scores: Tensor = self.last(h).flatten(1)
        return scores

    def _leaky(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(x, self.slope)
