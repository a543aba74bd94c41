"""Which cells of an image are drawn in which of six passes, as an interlaced picture fills.

In a period of four cells: first every fourth cell of every fourth row, then the ones in the middle between them, the crossings,
the centres, the rest in odd rows, the rest in even ones. Two by two pixels lie together in the channels of one *block*. A
block may be a single cell, split in four for the image's sake: such cells are drawn by their place in a period of two blocks, and
their first pixel stands for all.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy.networks.grid import Grid

PASSES = 6
MARGIN = 2
"""Blocks around its cells that a pass looks at: as far as it reaches with a 3 x 3 convolution and 3 x 3 gathered blocks."""
Window = tuple[int, int, int, int]
"""The blocks that a pass looks at: first row, row behind the last, first column, column behind the last."""


@dataclass(frozen=True)
class Share:
    """What one pass draws.

    Args:
        window: where it looks.
        pixels: how many it draws of a block, at most.
        blocks: that hold its cells, as indices into the window, int64.
        here: its cells among all `pixels` of these blocks, those of one block side by side, int64.
        there: the same cells among the pixels of all blocks, `(4, rows, columns)` of them, int64.
        cells: their numbers in the image, int64.
    """

    window: Window
    pixels: int
    blocks: Tensor
    here: Tensor
    there: Tensor
    cells: Tensor


def shares(grid: Grid, whole: Tensor) -> list[Share]:
    """What each of the passes draws of an image.

    Args:
        grid: of one channel and an even number of rows and columns; what it adds around the image is drawn by no pass.
        whole: `(rows / 2, columns / 2)`, bool: blocks that are one cell each.
    """
    inside = grid.pad(torch.ones(1, grid.n_cells))[0, 0] > 0
    numbers = grid.pad(torch.arange(grid.n_cells, dtype=torch.float64)[None])[0, 0].long()
    block = _by_two(pass_of_block(*whole.shape))
    first = torch.zeros(grid.full, dtype=torch.bool)
    first[::2, ::2] = True
    pixel = torch.where(_by_two(whole), torch.where(first, block, -1), pass_of_pixel(*grid.full))
    passes = gathered(torch.where(inside, pixel, -1)[None, None])[0]  # (4, rows, columns) of blocks
    cells = gathered(numbers[None, None])[0]
    return [_share(passes == k, cells) for k in range(PASSES)]


def _share(mine: Tensor, cells: Tensor) -> Share:
    """What the pass draws whose pixels are `mine`; one without any looks at the first block."""
    edges = []
    for size, other in zip(mine.shape[1:], (2, 1), strict=True):
        there = mine.any(0).any(other - 1).nonzero().flatten()
        edges += [max(0, int(there.min()) - MARGIN), min(size, int(there.max()) + 1 + MARGIN)] if len(there) else [0, 1]
    window: Window = (edges[0], edges[1], edges[2], edges[3])
    used = cut(mine, window).flatten(1)
    used = used[used.any(1)] if used.any() else used[:1]
    blocks = used.any(0).nonzero().flatten()
    pixel, block = used[:, blocks].nonzero(as_tuple=True)
    here = block * len(used) + pixel
    return Share(window, len(used), blocks, here, mine.flatten().nonzero().flatten(), cells[mine])


def pass_of_pixel(rows: int, columns: int) -> Tensor:
    """Pass `(rows, columns)` of each pixel by its place in a period of four."""
    r, c = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    odd = (r % 2) + (c % 2)
    found = torch.where(odd == 2, 3, 5 - r % 2)
    even = odd == 0
    crossing = (r % 4) != (c % 4)
    return torch.where(even, torch.where(crossing, 2, torch.where(r % 4 == 0, 0, 1)), found)


def pass_of_block(rows: int, columns: int) -> Tensor:
    """Pass `(rows, columns)` of blocks that are one cell each, by their place in a period of two."""
    r, c = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.where((r % 2) != (c % 2), 3 - r % 2, r % 2)


def gathered(image: Tensor) -> Tensor:
    """Pixels `(n, channels, rows, columns)` two by two as channels of blocks, `(n, 4 * channels, rows / 2, columns / 2)`."""
    return nn.functional.pixel_unshuffle(image, 2)


def spread(blocks: Tensor) -> Tensor:
    """The inverse of `gathered`."""
    return nn.functional.pixel_shuffle(blocks, 2)


def cut(blocks: Tensor, window: Window) -> Tensor:
    """The window of blocks `(..., rows, columns)`."""
    top, bottom, left, right = window
    return blocks[..., top:bottom, left:right]


def _by_two(blocks: Tensor) -> Tensor:
    """What holds for each block, for its pixels."""
    return blocks.repeat_interleave(2, 0).repeat_interleave(2, 1)
