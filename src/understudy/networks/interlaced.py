r"""Networks that fill an image in a few passes, each pass knowing the cells of those before (see `models.interlaced`).

Two by two pixels are gathered into the channels of one *block*, which costs a quarter; the LHCb HCAL's split outer cells are
exactly one block each. A `Trunk` looks once at the conditions: residual convolutions on blocks and, at half and a quarter of
their granularity, a U-Net's way down and up; a learned map tells where a block lies. A `Pass` then sees, about each block, what
the trunk says and the cells that are known, and gives the logits of its cells' bins, in the blocks where it has some.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, silu

from understudy.networks.grid import unfilled


class Residual(nn.Module):
    """$h + C_2\\, \\mathrm{silu}(C_1\\, \\mathrm{silu}(h))$ with 3 x 3 convolutions."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, h: Tensor) -> Tensor:
        """`(n, width, rows, columns)` to the same."""
        changed: Tensor = h + self.second(silu(self.first(silu(h))))
        return changed


class Trunk(nn.Module):
    """What the conditions say about each block: `(n, inputs, rows, columns)` to `(n, width, rows, columns)`.

    Args:
        inputs: channels of the gathered images, and of constants.
        width: channels on blocks.
        shape: rows and columns of blocks, multiples of four.
        rng: draws the initial weights.
    """

    def __init__(self, inputs: int, width: int, shape: tuple[int, int], rng: torch.Generator | None) -> None:
        super().__init__()
        with unfilled(self, "he-uniform", rng, torch.channels_last):  # trains in two thirds of the time
            self.first = nn.Conv2d(inputs, width, 3, padding=1)
            self.fine = Residual(width)
            self.down = nn.Conv2d(width, 2 * width, 2, stride=2)
            self.middle = Residual(2 * width)
            self.deeper = nn.Conv2d(2 * width, 2 * width, 2, stride=2)
            self.coarse = Residual(2 * width)
            self.up = nn.Conv2d(2 * width, 2 * width, 1)
            self.middle_up = Residual(2 * width)
            self.out = nn.Conv2d(2 * width, width, 1)
            self.fine_up = Residual(width)
        self.places = nn.Parameter(torch.zeros(1, width, *shape).to(memory_format=torch.channels_last))
        _quiet(self)

    def forward(self, x: Tensor) -> Tensor:
        """Channels of each block."""
        fine = self.fine(self.first(x) + self.places)
        middle = self.middle(self.down(fine))
        coarse = self.coarse(self.deeper(middle))
        middle = self.middle_up(middle + interpolate(self.up(coarse), scale_factor=2.0, mode="nearest"))
        found: Tensor = self.fine_up(fine + interpolate(self.out(middle), scale_factor=2.0, mode="nearest"))
        return found


class Pass(nn.Module):
    """Logits `(n, blocks, outputs)` of those blocks that hold cells of the pass.

    Args:
        trunk: channels of the trunk.
        known: channels of what is known, before the first pass none.
        width: channels of the hidden layers.
        outputs: bins of all pixels of a block that the pass draws.
        shape: rows and columns of the blocks that the pass looks at.
        rng: draws the initial weights.
    """

    def __init__(
        self, trunk: int, known: int, width: int, outputs: int, shape: tuple[int, int], rng: torch.Generator | None
    ) -> None:
        super().__init__()
        with unfilled(self, "he-uniform", rng, torch.channels_last):  # trains in two thirds of the time
            self.first = nn.Conv2d(trunk + known, width, 3, padding=1)
            self.second = nn.Conv2d(width, width, 3, padding=1)
            self.last = nn.Linear(width, outputs)
        self.places = nn.Parameter(torch.zeros(1, width, *shape).to(memory_format=torch.channels_last))
        with torch.no_grad():
            self.last.weight.mul_(0.1)

    def forward(self, trunk: Tensor, known: Tensor | None, blocks: Tensor) -> Tensor:
        """From the trunk's channels and those of known cells where the pass looks; `blocks` are indices into these."""
        h = self.first(trunk if known is None else torch.cat([trunk, known], dim=1)) + self.places
        h = silu(h + self.second(silu(h))).flatten(2).transpose(1, 2)
        logits: Tensor = self.last(h.index_select(1, blocks))  # channels side by side in memory: picking blocks is cheap
        return logits


def _quiet(network: nn.Module) -> None:
    """Let residual blocks begin as the identity, nearly."""
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, Residual):
                layer.second.weight.mul_(0.1)
