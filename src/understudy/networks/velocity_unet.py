r"""A velocity network for pictures: a U-Net of residual blocks (Ronneberger et al. 2015, Ho et al. 2020, arXiv:2006.11239).

Neighbouring pixels are first gathered into channels, `gather` x `gather` of them, so that the finest grid is a half or a
quarter of the image's and costs a fourth or a sixteenth. On each grid residual blocks

$$h \leftarrow h + C_2\, \mathrm{silu}\big((1 + \gamma(e))\, N(C_1\, \mathrm{silu}(N(h))) + \beta(e)\big)$$

follow one another, with 3 x 3 convolutions $C$, normalisations $N$ of groups of channels (Wu and He 2018) and the modulation
by time and features of `networks.velocity`; grids are halved by strided convolutions, doubled by repetition and a
convolution, and joined with the image of their size on the way down. $C_2$ starts at zero, so that a block begins as the
identity.
"""

from __future__ import annotations

import itertools
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from understudy.geometry import Calorimeter
from understudy.networks.deconvolution import Channels
from understudy.networks.grid import ROUNDING, Grid, ImageShape, unfilled
from understudy.networks.velocity import Modulation, Velocity
from understudy.registry import Given, register

GROUP = 16
"""Channels that are normalised together."""


@register("velocities", "u-net")
class VelocityUNet(Velocity):
    """A velocity of the pixels of an image.

    Args:
        size: numbers in the response; those of the geometry or image.
        features: numbers that encode the conditions.
        geometry: layers of one shape, the channels of the image.
        image: channels, rows and columns of a response that is a picture, where there is no geometry.
        gather: pixels along each axis that become channels of one.
        channels: of each grid, the finest first; every further one is half as fine.
        blocks: residual blocks on each grid, on the way down and again on the way up.
        embedding: width of the embedding of time and features.
        channels_last: lay images out with their channels innermost, which some processors convolve faster.
        rng: draws the initial weights; torch's own generator if None.

    Raises:
        ValueError: neither geometry nor image, a geometry that is no stack of equal grids, or another number of cells.
    """

    rounding = ROUNDING

    def __init__(
        self,
        *,
        size: Given[int],
        features: Given[int],
        geometry: Given[Calorimeter | None] = None,
        image: Given[ImageShape | None] = None,
        gather: Annotated[int, Field(ge=1, le=8)] = 2,
        channels: Channels = (64, 128),
        blocks: PositiveInt = 2,
        embedding: PositiveInt = 128,
        channels_last: bool = False,
        rng: Given[torch.Generator | None] = None,
    ) -> None:
        start = _start(geometry, image, gather, len(channels) - 1)
        grid = Grid.of(geometry, 0, start, "a U-Net", image)
        if grid.n_cells != size:
            raise ValueError(
                f"a U-Net moves the {grid.n_cells} cells of its geometry or image, but the response has {size} numbers;"
                " choose transforms that keep the number of columns"
            )
        super().__init__(size, features, embedding, rng)
        self.grid, self.gather = grid, gather
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        packed, deep = grid.channels * gather**2, len(channels) - 1
        self.convolutions = _Convolutions(packed, channels, blocks, rng, self.layout)
        places = [*range(deep + 1), *reversed(range(deep))]
        self.modulations = nn.ModuleList(
            nn.ModuleList(Modulation(embedding, channels[level], rng) for _ in range(blocks)) for level in places
        )

    def body(self, x: Tensor, e: Tensor) -> Tensor:
        """$f(x, e)$, `(n, size)`."""
        net, modulations = self.convolutions, iter(self.modulations)
        image = nn.functional.pixel_unshuffle(self.grid.pad(x), self.gather).contiguous(memory_format=self.layout)
        h = net.levels[0](net.first(image), e, next(modulations))
        held = [h]
        for down, level in zip(net.down, net.levels[1:], strict=True):
            h = level(down(h), e, next(modulations))
            held.append(h)
        held.pop()
        for up, level in zip(net.up, net.ascent, strict=True):
            h = level(up(nn.functional.interpolate(h, scale_factor=2.0)) + held.pop(), e, next(modulations))
        image = net.last(nn.functional.silu(net.norm(h)))
        return self.grid.crop(nn.functional.pixel_shuffle(image, self.gather))


def _start(geometry: Calorimeter | None, image: ImageShape | None, gather: int, halvings: int) -> tuple[int, int]:
    """Rows and columns of the image with its border: a multiple of what gathering and halving divide by."""
    factor = gather * 2**halvings
    shape = Grid.of(geometry, 0, None, "a U-Net", image).shape
    return -(-shape[0] // factor) * factor, -(-shape[1] // factor) * factor


class _Level(nn.Module):
    """Residual blocks on one grid."""

    def __init__(self, channels: int, blocks: int) -> None:
        super().__init__()
        groups = max(1, channels // GROUP)
        self.before = nn.ModuleList(nn.GroupNorm(groups, channels) for _ in range(blocks))
        self.one = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(blocks))
        self.between = nn.ModuleList(nn.GroupNorm(groups, channels, affine=False) for _ in range(blocks))
        self.two = nn.ModuleList(nn.Conv2d(channels, channels, 3, padding=1) for _ in range(blocks))

    def forward(self, h: Tensor, e: Tensor, modulations: nn.ModuleList) -> Tensor:
        """Images `(n, channels, rows, columns)` to such images."""
        for before, one, between, two, modulate in zip(self.before, self.one, self.between, self.two, modulations, strict=True):
            r = one(nn.functional.silu(before(h)))
            h = h + two(nn.functional.silu(modulate(between(r), e)))
        return h


class _Convolutions(nn.Module):
    """The layers with kernels; the second of each block and that to the pixels start at zero."""

    def __init__(
        self, packed: int, channels: tuple[int, ...], blocks: int, rng: torch.Generator | None, layout: torch.memory_format
    ) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(channels))
        with unfilled(self, "glorot-uniform", rng, layout):
            self.first = nn.Conv2d(packed, channels[0], 3, padding=1)
            self.levels = nn.ModuleList(_Level(c, blocks) for c in channels)
            self.down = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairs)
            self.up = nn.ModuleList(nn.Conv2d(b, a, 3, padding=1) for a, b in reversed(pairs))
            self.ascent = nn.ModuleList(_Level(a, blocks) for a, _ in reversed(pairs))
            self.norm = nn.GroupNorm(max(1, channels[0] // GROUP), channels[0])
            self.last = nn.Conv2d(channels[0], packed, 3, padding=1)
        with torch.no_grad():
            for module in self.modules():
                if isinstance(module, nn.GroupNorm) and module.affine:
                    nn.init.ones_(module.weight)
                    nn.init.zeros_(module.bias)
                if isinstance(module, _Level):
                    for two in module.two:
                        two.weight.zero_()  # type: ignore[operator]
            self.last.weight.zero_()
