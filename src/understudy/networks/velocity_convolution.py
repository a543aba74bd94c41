r"""A convolutional velocity network for images of cells: a small U-Net (Ronneberger et al. 2015, arXiv:1505.04597).

The image of `networks.grid` is convolved to the first number of channels, halved by strided convolutions, doubled back by
transposed ones, each sum joined with the image of its size on the way down, and convolved to the cells. Normalised channels are
modulated by time and features on every grid. Cells also see where they are: their coordinates along the two axes, from -1 to 1,
are two more channels of the input.
"""

from __future__ import annotations

import itertools

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from understudy.geometry import Calorimeter
from understudy.networks.deconvolution import Channels
from understudy.networks.grid import ROUNDING, Grid, ImageShape, unfilled
from understudy.networks.velocity import Modulation, Velocity
from understudy.registry import Given, register


@register("velocities", "convolution")
class VelocityConvolution(Velocity):
    """A velocity of the cells of an image.

    Args:
        size: numbers in the response; those of the geometry.
        features: numbers that encode the conditions.
        geometry: layers of one shape, the channels of the image.
        image: channels, rows and columns of a response that is a picture, where there is no geometry.
        channels: of each grid, the finest first; every further one is half as fine.
        embedding: width of the embedding of time and features.
        rng: draws the initial weights; torch's own generator if None.

    Raises:
        ValueError: no geometry, one that is no stack of equal grids, or one with another number of cells.
    """

    rounding = ROUNDING
    places: Tensor

    def __init__(
        self,
        *,
        size: Given[int],
        features: Given[int],
        geometry: Given[Calorimeter | None] = None,
        image: Given[ImageShape | None] = None,
        channels: Channels = (16, 32, 64),
        embedding: PositiveInt = 64,
        rng: Given[torch.Generator | None] = None,
    ) -> None:
        grid = Grid.of(geometry, len(channels) - 1, None, "a convolutional velocity", image)
        if grid.n_cells != size:
            raise ValueError(
                f"a convolutional velocity moves the {grid.n_cells} cells of its geometry, but the response has {size} numbers;"
                " choose transforms that keep the number of columns"
            )
        super().__init__(size, features, embedding, rng)
        self.grid = grid
        axes = [torch.linspace(-1, 1, n) for n in grid.full]
        self.register_buffer("places", torch.stack(torch.meshgrid(*axes, indexing="ij")), persistent=False)
        self.convolutions = _Convolutions(grid.channels, channels, rng)
        widths = [*channels, *reversed(channels[:-1])]
        self.modulations = nn.ModuleList(Modulation(embedding, width, rng) for width in widths)

    def body(self, x: Tensor, e: Tensor) -> Tensor:
        """$f(x, e)$, `(n, size)`."""
        image, net = self.grid.pad(x), self.convolutions
        places = self.places.to(image.dtype).expand(image.shape[0], *self.places.shape)
        modulations = iter(self.modulations)

        def active(h: Tensor) -> Tensor:
            return nn.functional.silu(next(modulations)(nn.functional.layer_norm(h, h.shape[1:]), e))

        images = [active(net.first(torch.cat([image, places], dim=1)))]
        for down in net.down:
            images.append(active(down(images[-1])))
        h = images.pop()
        for up in net.up:
            h = active(up(h) + images.pop())
        return self.grid.crop(net.last(h))


class _Convolutions(nn.Module):
    """The layers with kernels; those to the cells start at zero."""

    def __init__(self, cells: int, channels: tuple[int, ...], rng: torch.Generator | None) -> None:
        super().__init__()
        with unfilled(self, "glorot-uniform", rng, torch.contiguous_format):
            self.first = nn.Conv2d(cells + 2, channels[0], 3, padding=1)
            self.down = nn.ModuleList(nn.Conv2d(a, b, 4, stride=2, padding=1) for a, b in itertools.pairwise(channels))
            pairs = itertools.pairwise(reversed(channels))
            self.up = nn.ModuleList(nn.ConvTranspose2d(a, b, 4, stride=2, padding=1) for a, b in pairs)
            self.last = nn.Conv2d(channels[0], cells, 3, padding=1)
        with torch.no_grad():
            self.last.weight.zero_()
