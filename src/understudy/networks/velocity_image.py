r"""A velocity network from image to image: a U-Net on blocks of two by two pixels that is shown the conditions' images.

The response in the making and the images among the features are gathered two by two pixels into the channels of blocks and set
side by side; residual convolutions on three grids (see `networks.interlaced`), each modulated by the time as in
`networks.velocity`, lead to the velocity of each pixel. On blocks the LHCb HCAL's split outer cells are one place each, and
everything costs a quarter.
"""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn.functional import interpolate, pixel_shuffle, pixel_unshuffle, silu

from understudy.geometry import Calorimeter
from understudy.networks.grid import ROUNDING, Grid, unfilled
from understudy.networks.interlaced import Residual
from understudy.networks.velocity import Modulation, Velocity
from understudy.registry import Given, register


@register("velocities", "image")
class VelocityImage(Velocity):
    """A velocity of the cells of an image, given other images of the same cells.

    Args:
        size: numbers in the response; those of the geometry.
        features: numbers that encode the conditions: images of the same cells first, if any, then others.
        geometry: layers of one shape, the channels of an image.
        width: channels of blocks; twice as many on the coarser grids.
        embedding: width of the embedding of the time and further numbers.
        rng: draws the initial weights; torch's own generator if None.

    Raises:
        ValueError: no geometry, one that is no stack of equal grids, or one with another number of cells.
    """

    rounding = ROUNDING

    def __init__(
        self,
        *,
        size: Given[int],
        features: Given[int],
        geometry: Given[Calorimeter | None] = None,
        width: PositiveInt = 48,
        embedding: PositiveInt = 64,
        rng: Given[torch.Generator | None] = None,
    ) -> None:
        grid = Grid.of(geometry, 3, None, "a velocity of images")
        images, further = divmod(features, grid.n_cells)
        if grid.n_cells != size:
            raise ValueError(
                f"a velocity of images moves the {grid.n_cells} cells of its geometry, but the response has {size} numbers;"
                " choose transforms that keep the number of columns"
            )
        super().__init__(size, max(further, 1), embedding, rng)
        self.grid, self.images, self.further = grid, images, further
        channels = 4 * grid.channels
        self.net = _Net(channels * (1 + images), channels, width, (grid.full[0] // 2, grid.full[1] // 2), embedding, rng)

    def embedded(self, c: Tensor) -> Tensor:
        """The features that are no image; one zero where there are none."""
        return c[:, self.images * self.grid.n_cells :] if self.further else c.new_zeros((1, 1))

    def beside(self, x: Tensor, c: Tensor) -> Tensor:
        """The response in the making and the images `(n, (1 + images) size)`."""
        return torch.cat([x, c[:, : self.images * self.grid.n_cells]], dim=1)

    def body(self, x: Tensor, e: Tensor) -> Tensor:
        """Blocks of two by two pixels of all images, through the network and back."""
        blocks = torch.cat([pixel_unshuffle(self.grid.pad(part), 2) for part in torch.split(x, self.grid.n_cells, dim=1)], dim=1)
        return self.grid.crop(pixel_shuffle(self.net(blocks, e), 2))


class _Net(nn.Module):
    """Blocks `(n, inputs, rows, columns)` to `(n, outputs, rows, columns)`; zero before training.

    Args:
        inputs: channels in.
        outputs: channels out.
        width: channels of the finest grid.
        shape: rows and columns of blocks, multiples of four.
        embedding: width of the embedding that modulates.
        rng: draws the initial weights.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int, shape: tuple[int, int], embedding: int, rng: torch.Generator | None
    ) -> None:
        super().__init__()
        widths = (width, 2 * width, 2 * width, 2 * width, width)
        with unfilled(self, "he-uniform", rng, torch.channels_last):
            self.first = nn.Conv2d(inputs, width, 3, padding=1)
            self.blocks = nn.ModuleList(Residual(w) for w in widths)
            self.down = nn.ModuleList(nn.Conv2d(a, 2 * width, 2, stride=2) for a in (width, 2 * width))
            self.up = nn.ModuleList(nn.Conv2d(2 * width, b, 1) for b in (2 * width, width))
            self.last = nn.Conv2d(width, outputs, 3, padding=1)
        self.modulations = nn.ModuleList(Modulation(embedding, w, rng) for w in widths)
        self.places = nn.Parameter(torch.zeros(1, width, *shape).to(memory_format=torch.channels_last))
        with torch.no_grad():
            self.last.weight.zero_()
            for block in self.blocks:
                if isinstance(block, Residual):
                    block.second.weight.mul_(0.1)

    def forward(self, blocks: Tensor, e: Tensor) -> Tensor:
        """The body of the velocity, before the time's gate is added."""
        h, skips = self.first(blocks) + self.places, []
        for i in range(3):
            h = self._step(i, h, e)
            if i < 2:
                skips.append(h)
                h = self.down[i](h)
        for i in (3, 4):
            h = skips.pop() + interpolate(self.up[i - 3](h), scale_factor=2.0, mode="nearest")
            h = self._step(i, h, e)
        moved: Tensor = self.last(silu(h))
        return moved

    def _step(self, i: int, h: Tensor, e: Tensor) -> Tensor:
        modulated: Tensor = self.blocks[i](self.modulations[i](h, e))
        return modulated
