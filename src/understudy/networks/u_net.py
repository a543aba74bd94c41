r"""A generator from image to image, the U-Net of the LHCb HCAL thesis (its appendix C, after Ronneberger et al. 2015).

Convolutions halve the image from 64 x 64 to 2 x 2 and transposed ones double it back; on every grid what came down is set beside
what comes up. Noise is given as constant channels (`images.convolved`). The last image is set beside the input once more and
convolved to the cells. With $w$ = `width` = 64 channels and the sizes of the thesis:

    down   64 -> 32: w, 16: w, 8: 2w, 4: 2w, 4: 2w, 2: 2w          4 x 4 kernels, leaky ReLU (the last two ReLU)
    up      2 -> 4: 2w, 8: 2w, 16: w, 32: w, 64: w/4               4 x 4 kernels, ReLU (the last leaky)
    cells  5 x 5 kernel over the last image and the input

`residual` adds, before every doubling but the first two and before the cells, a convolution to w/2 channels that is set beside
its own input: the thesis' generator for tracker images, which calls these its residual blocks.
"""

from __future__ import annotations

import math
from typing import Annotated, cast

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from understudy.geometry import Calorimeter
from understudy.networks.dense import OUTPUTS, Init, Output
from understudy.networks.images import REFERENCE, ImageNetwork, convolved
from understudy.networks.normalisation import Norm, normalisation
from understudy.registry import Given, register

HALVINGS = 5


@register("networks", "u-net")
class UNet(ImageNetwork):
    """Noise, images and further numbers `(n, inputs)` to the cells of an image, `(n, outputs)`.

    Args:
        inputs: numbers in.
        outputs: numbers out; those of the geometry.
        noise: numbers of noise, which come first.
        geometry: layers of one shape, the channels of the image.
        width: channels of the first grids, $w$; a multiple of 4.
        residual: the additional convolutions of the generator for tracker images.
        norm: normalisation of the layers between the first and the last.
        dropout: part of the channels of the three coarsest grids on the way up that are left out in training, at random.
        slope: of the leaky ReLU below zero.
        output: function of the last layer.
        start: what all cells are about before training, of a sigmoid, or None. Where most cells are empty, near what those are:
            a half would have to be unlearned in every one of them.
        init: as of a dense network, with the fans of the kernels.
        channels_last: lay images out with their channels innermost, which some processors convolve faster.
        rng: draws the initial weights; torch's own generator if None.

    Raises:
        ValueError: no geometry, one that is no stack of equal grids, another number of cells, or no image.
    """

    def __init__(
        self,
        *,
        inputs: Given[int],
        outputs: Given[int],
        noise: Given[int] = 0,
        geometry: Given[Calorimeter | None] = None,
        width: Annotated[PositiveInt, Field(multiple_of=4)] = 64,
        residual: bool = False,
        norm: Norm = "batch",
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        slope: NonNegativeFloat = 0.2,
        output: Output = "sigmoid",
        start: Annotated[float, Field(gt=0, lt=1)] | None = None,
        init: Init = "he-uniform",
        channels_last: bool = False,
        rng: Given[torch.Generator | None] = None,
    ) -> None:
        super().__init__(inputs, noise, geometry, HALVINGS, "a U-Net", virtual=norm == "virtual-batch")
        if start is not None and output != "sigmoid":
            raise ValueError(f"a U-Net starts near a number with a sigmoid alone, not with {output!r}; leave out its 'start'")
        if self.grid.n_cells != outputs:
            raise ValueError(
                f"a U-Net makes the {self.grid.n_cells} cells of its geometry, but {outputs} numbers are asked for; choose"
                " transforms that keep the number of columns"
            )
        w, given = width, self.channels
        more = w // 2 if residual else 0
        down = [(given, w), (w, w), (w, 2 * w), (2 * w, 2 * w), (2 * w, 2 * w), (2 * w, 2 * w)]
        up = [(2 * w, 2 * w), (4 * w, 2 * w), (4 * w + more, w), (2 * w + more, w), (2 * w + more, w // 4)]
        self.slope, self.output, self.drop = slope, OUTPUTS[output](), nn.Dropout2d(dropout)
        with self.layers(init, rng, channels_last):
            self.down = nn.ModuleList(nn.Conv2d(a, b, 4, stride=1 if i == 4 else 2) for i, (a, b) in enumerate(down))
            self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, stride=2, padding=1) for a, b in up)
            self.norm_down = nn.ModuleList(normalisation(norm, c, REFERENCE) for c in (w, 2 * w, 2 * w))
            self.norm_up = nn.ModuleList(normalisation(norm, c, REFERENCE) for c in (2 * w, 2 * w, w, w))
            beside = [4 * w, 2 * w, 2 * w, w // 4 + given] if residual else []
            self.beside = nn.ModuleList(nn.Conv2d(c, more, 5, padding=2) for c in beside)
            self.last = nn.Conv2d(w // 4 + given + more, self.grid.channels, 5, padding=2)
        if start is not None:
            nn.init.constant_(self.last.bias, math.log(start / (1 - start)))  # type: ignore[arg-type]
            with torch.no_grad():
                self.last.weight.mul_(0.1)

    def passed(self, x: Tensor) -> Tensor:
        """Cells `(n, outputs)`, row-major."""
        given, numbers = self.cells(x), self.numbers(x)
        h, skips = given, []
        for i, layer in enumerate(self.down):
            pad = (1, 2, 1, 2) if i == 4 else (1, 1, 1, 1)
            h = layer(nn.functional.pad(h, pad)) if i else convolved(cast(nn.Conv2d, layer), h, numbers, pad)
            h = self._leaky(h) if i < 4 else h.relu()
            if 1 <= i <= 3:
                h = self.norm_down[i - 1](h)
            if i < 4:
                skips.append(h)
        for i, layer in enumerate(self.up):
            if self.beside and i >= 2:
                h = torch.cat([h, self.beside[i - 2](h).relu()], dim=1)
            h = layer(h)
            if i == 4:
                break
            h = self.norm_up[i](h.relu())
            h = torch.cat([self.drop(h) if i < 3 else h, skips[3 - i]], dim=1)
        h = torch.cat([self._leaky(h), given], dim=1)
        if self.beside:
            h = torch.cat([h, convolved(cast(nn.Conv2d, self.beside[3]), h, numbers).relu()], dim=1)
        cells: Tensor = self.output(self.grid.crop(convolved(self.last, h, numbers)).float())
        return cells

    def _leaky(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(x, self.slope)
