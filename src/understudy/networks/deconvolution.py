"""A generator of images: a dense layer, then transposed convolutions that double the grid.

V. Chekalina et al., Generative Models for Fast Calorimeter Simulation, section 3.2: noise and parameters, side by side, are
mapped to 256 x 4 x 4, doubled to 128 x 8 x 8, 64 x 16 x 16 and 32 x 32 x 32 with ReLU, and cropped to 30 x 30. From the last
32 channels to the single image one more convolution is needed, which the paper does not name. Its kernels are not given
either: kernel 4 with stride 2 doubles a grid and treats all its cells alike (Radford et al. 2016), the last one is 3 x 3.
"""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from understudy.geometry import Calorimeter
from understudy.networks.dense import OUTPUTS, Init, Output
from understudy.networks.grid import ROUNDING, Grid, ImageShape, unfilled
from understudy.registry import Given, register

Channels = Annotated[tuple[PositiveInt, ...], Field(min_length=1)]


@register("networks", "deconvolution")
class Deconvolution(nn.Module):
    """`(n, inputs)` to the cells of an image, `(n, outputs)`.

    Args:
        inputs: numbers in.
        outputs: numbers out; those of the geometry.
        geometry: layers of one shape, the channels of the image.
        image: channels, rows and columns of a response that is a picture, where there is no geometry.
        channels: of each grid, the coarsest first; every further one is twice as fine.
        start: the coarsest grid; the smallest that covers the geometry if None (4 x 4 for 30 x 30 cells).
        norm: `batch` normalises the channels of every image but the last over the batch (Radford et al. 2016) in training,
            and afterwards by what they were on average. It cannot be averaged with the weights: leave out `ema`.
        output: function of the last layer. Behind transforms that keep zero at zero, `relu` makes cells that are exactly
            empty, as most cells of a shower are.
        init: as of a dense network, with the fans of the kernels.
        channels_last: lay images out with their channels innermost, which some processors convolve faster.
        rng: draws the initial weights; torch's own generator if None.

    Raises:
        ValueError: no geometry, one that is no stack of equal grids, or one with another number of cells.
    """

    rounding = ROUNDING

    def __init__(
        self,
        *,
        inputs: Given[int],
        outputs: Given[int],
        geometry: Given[Calorimeter | None] = None,
        image: Given[ImageShape | None] = None,
        channels: Channels = (256, 128, 64, 32),
        start: tuple[PositiveInt, PositiveInt] | None = None,
        norm: Literal["none", "batch"] = "none",
        output: Output = "relu",
        init: Init = "he-uniform",
        channels_last: bool = False,
        rng: Given[torch.Generator | None] = None,
    ) -> None:
        super().__init__()
        self.grid = Grid.of(geometry, len(channels) - 1, start, "a deconvolution", image)
        if self.grid.n_cells != outputs:
            raise ValueError(
                f"a deconvolution makes the {self.grid.n_cells} cells of its geometry, but {outputs} numbers are asked for;"
                " choose transforms that keep the number of columns"
            )
        self.channels = channels
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.output = OUTPUTS[output]()
        with unfilled(self, init, rng, self.layout):
            self.first = nn.Linear(inputs, channels[0] * self.grid.start[0] * self.grid.start[1])
            self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, stride=2, padding=1) for a, b in itertools.pairwise(channels))
            self.last = nn.Conv2d(channels[-1], self.grid.channels, 3, padding=1)
        self.norms = nn.ModuleList(nn.BatchNorm2d(c) if norm == "batch" else nn.Identity() for c in channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, inputs)` to `(n, outputs)`, row-major."""
        *_, image = self.images(x)
        cells: Tensor = self.output(self.grid.crop(image).float())
        return cells

    def images(self, x: Tensor) -> list[Tensor]:
        """All images `(n, channels, *grid)`, the coarsest first, then the last one before it is cropped."""
        image = self.norms[0](self.first(x).reshape(-1, self.channels[0], *self.grid.start)).relu()
        images = [image.contiguous(memory_format=self.layout)]
        for layer, norm in zip(self.up, self.norms[1:], strict=True):
            images.append(norm(layer(images[-1])).relu())
        return [*images, self.last(images[-1])]
