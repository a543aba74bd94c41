r"""The networks of the HCAL thesis for single tracks: a generator of images from a few numbers, and its critic.

Generator: a dense layer to 7 x 8 x 512, transposed convolutions of kernel 2 and stride 2 to 14 x 16 x 256, 28 x 32 x 128 and
56 x 64 x 1, leaky ReLU between them and a sigmoid at the end; the image of 52 rows is the middle of the 56. It has 1,688,449
parameters for 32 numbers of noise and 3 conditions. Critic: the image, with two empty rows on each side and every condition
as a channel that is the same in all pixels, to 28 x 32 x 64, 14 x 16 x 128 and the score; 62,657 parameters. The slope of the
leaky ReLU is not given: 0.2, as TensorFlow has it.
"""

from __future__ import annotations

import itertools

import torch
from pydantic import NonNegativeFloat
from torch import Tensor, nn

from understudy.geometry import Calorimeter
from understudy.networks.deconvolution import Channels
from understudy.networks.dense import OUTPUTS, Init, Output
from understudy.networks.grid import ROUNDING, Grid, unfilled
from understudy.registry import Given, register


@register("networks", "stp-generator")
class StpGenerator(nn.Module):
    """Numbers `(n, inputs)` to the cells of an image `(n, outputs)`.

    Args:
        inputs: numbers in.
        outputs: cells of the geometry.
        geometry: layers of one shape.
        channels: of each grid but the last, the coarsest first; every further one is twice as fine.
        slope: of the leaky ReLU below zero.
        output: function of the last layer.
        init: as of a dense network.
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
        channels: Channels = (512, 256, 128),
        slope: NonNegativeFloat = 0.2,
        output: Output = "sigmoid",
        init: Init = "glorot-uniform",
        channels_last: bool = False,
        rng: Given[torch.Generator | None] = None,
    ) -> None:
        super().__init__()
        self.grid = Grid.of(geometry, len(channels), None, "stp-generator")
        if self.grid.n_cells != outputs:
            raise ValueError(
                f"stp-generator makes the {self.grid.n_cells} cells of its geometry, but {outputs} numbers are asked for;"
                " choose transforms that keep the number of columns"
            )
        self.channels, self.slope, self.output = channels, slope, OUTPUTS[output]()
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        with unfilled(self, init, rng, self.layout):
            self.first = nn.Linear(inputs, channels[0] * self.grid.start[0] * self.grid.start[1])
            pairs = itertools.pairwise((*channels, self.grid.channels))
            self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 2, stride=2) for a, b in pairs)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, inputs)` to `(n, outputs)`, row-major."""
        image = nn.functional.leaky_relu(self.first(x), self.slope).reshape(-1, self.channels[0], *self.grid.start)
        image = image.contiguous(memory_format=self.layout)
        for layer in self.up[:-1]:
            image = nn.functional.leaky_relu(layer(image), self.slope)
        cells: Tensor = self.output(self.grid.crop(self.up[-1](image)).float())
        return cells


@register("networks", "stp-critic")
class StpCritic(nn.Module):
    """The cells of an image and further numbers behind them, `(n, inputs)`, to `(n, outputs)`.

    Args:
        inputs: the geometry's cells and any number of further columns, each of which becomes a channel.
        outputs: numbers out.
        geometry: layers of one shape.
        channels: of each grid behind the image's own, the finest first.
        slope: of the leaky ReLU below zero.
        init: as of a dense network.
        channels_last: lay images out with their channels innermost.
        rng: draws the initial weights; torch's own generator if None.

    Raises:
        ValueError: no geometry, one that is no stack of equal grids, or fewer inputs than cells.
    """

    rounding = ROUNDING

    def __init__(
        self,
        *,
        inputs: Given[int],
        outputs: Given[int],
        geometry: Given[Calorimeter | None] = None,
        channels: Channels = (64, 128),
        slope: NonNegativeFloat = 0.2,
        init: Init = "glorot-uniform",
        channels_last: bool = False,
        rng: Given[torch.Generator | None] = None,
    ) -> None:
        super().__init__()
        self.grid = Grid.of(geometry, max(3, len(channels)), None, "stp-critic")
        self.further = inputs - self.grid.n_cells
        if self.further < 0:
            raise ValueError(
                f"stp-critic looks at the {self.grid.n_cells} cells of its geometry, but is given {inputs} numbers; choose"
                " transforms that keep the number of columns"
            )
        self.slope = slope
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        rows, columns = (n >> len(channels) for n in self.grid.full)
        with unfilled(self, init, rng, self.layout):
            pairs = itertools.pairwise((self.grid.channels + self.further, *channels))
            self.down = nn.ModuleList(nn.Conv2d(a, b, 2, stride=2) for a, b in pairs)
            self.last = nn.Linear(channels[-1] * rows * columns, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, inputs)` to `(n, outputs)`."""
        cells, further = x[:, : self.grid.n_cells], x[:, self.grid.n_cells :]
        image = self.grid.pad(cells)
        spread = further[:, :, None, None].expand(-1, -1, *self.grid.full)
        image = torch.cat([image, spread], 1).contiguous(memory_format=self.layout)
        for layer in self.down:
            image = nn.functional.leaky_relu(layer(image), self.slope)
        score: Tensor = self.last(image.flatten(1)).float()
        return score
