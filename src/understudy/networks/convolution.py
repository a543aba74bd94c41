"""A critic, or a regressor, of images: strided convolutions that halve the grid, then dense layers.

The mirror of `networks.deconvolution`, as V. Chekalina et al., Generative Models for Fast Calorimeter Simulation, section 3.2,
have it: the image, with a border of zeros, is convolved to 32 x 32 x 32, halved to 64 x 16 x 16, 128 x 8 x 8 and 256 x 4 x 4
with leaky ReLU, and mapped to the score. There is no batch normalisation, which a gradient penalty forbids.
"""

from __future__ import annotations

import itertools

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from understudy.geometry import Calorimeter
from understudy.networks.deconvolution import Channels
from understudy.networks.dense import OUTPUTS, Init, Output
from understudy.networks.grid import ROUNDING, Grid, ImageShape, unfilled
from understudy.registry import Given, register


@register("networks", "convolution")
class Convolution(nn.Module):
    """Cells of an image, and further columns behind them, `(n, inputs)`, to `(n, outputs)`.

    Args:
        inputs: the geometry's cells and any number of further columns (features, views), which join in before the dense
            layers at the end.
        outputs: numbers out.
        geometry: layers of one shape, the channels of the image.
        image: channels, rows and columns of a response that is a picture, where there is no geometry.
        channels: of each grid, the finest first; every further one is half as fine.
        start: the coarsest grid; the smallest that covers the geometry if None (4 x 4 for 30 x 30 cells).
        head: widths of the hidden dense layers behind the convolutions. The published critic has none; where further columns
            join in, one is needed, since without it the output could depend on them in a straight line only.
        slope: slope of the leaky ReLU below zero.
        output: function of the last layer.
        init: as of a dense network, with the fans of the kernels.
        channels_last: lay images out with their channels innermost, which some processors convolve faster.
        rng: draws the initial weights; torch's own generator if None.

    Raises:
        ValueError: no geometry, one that is no stack of equal grids, fewer inputs than cells, or further columns without a
            head.
    """

    rounding = ROUNDING

    def __init__(
        self,
        *,
        inputs: Given[int],
        outputs: Given[int],
        geometry: Given[Calorimeter | None] = None,
        image: Given[ImageShape | None] = None,
        channels: Channels = (32, 64, 128, 256),
        start: tuple[PositiveInt, PositiveInt] | None = None,
        head: tuple[PositiveInt, ...] = (),
        slope: NonNegativeFloat = 0.2,
        output: Output = "linear",
        init: Init = "he-uniform",
        channels_last: bool = False,
        rng: Given[torch.Generator | None] = None,
    ) -> None:
        super().__init__()
        self.grid = Grid.of(geometry, len(channels) - 1, start, "a convolution", image)
        self.further = inputs - self.grid.n_cells
        if self.further < 0:
            raise ValueError(
                f"a convolution looks at the {self.grid.n_cells} cells of its geometry, but is given {inputs} numbers;"
                " choose transforms that keep the number of columns"
            )
        if self.further and not head:
            raise ValueError(
                f"a convolution is given {self.further} numbers besides its image, which it could only weigh linearly; give it a"
                " hidden dense layer, as in head: [128]"
            )
        self.slope = slope
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.output = OUTPUTS[output]()
        flat = channels[-1] * self.grid.start[0] * self.grid.start[1]
        sizes = (flat + self.further, *head, outputs)
        with unfilled(self, init, rng, self.layout):
            self.first = nn.Conv2d(self.grid.channels, channels[0], 3, padding=1)
            self.down = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in itertools.pairwise(channels))
            self.dense = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(sizes))

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, inputs)` to `(n, outputs)`."""
        cells, further = x[:, : self.grid.n_cells], x[:, self.grid.n_cells :]
        *_, coarsest = self.images(cells)
        y = torch.cat([coarsest.flatten(1), further.to(coarsest.dtype)], dim=1) if self.further else coarsest.flatten(1)
        for layer in self.dense[:-1]:
            y = self._leaky(layer(y))
        outputs: Tensor = self.output(self.dense[-1](y))
        return outputs.to(x.dtype)

    def images(self, cells: Tensor) -> list[Tensor]:
        """All images `(n, channels, *grid)` of cells `(n, n_cells)`, the finest first."""
        image = self.grid.pad(cells).contiguous(memory_format=self.layout)
        images = [self._leaky(self.first(image))]
        for layer in self.down:
            images.append(self._leaky(layer(images[-1])))
        return images

    def _leaky(self, x: Tensor) -> Tensor:
        return nn.functional.leaky_relu(x, self.slope)
