r"""Networks that fill an image in a few passes, each pass knowing the cells of those before (see `models.interlaced`).

Two by two pixels are gathered into the channels of one *block*, which costs a quarter; the LHCb HCAL's split outer cells are
exactly one block each. A `Trunk` looks once at the conditions: residual convolutions on blocks and, at half and a quarter of
their granularity, a U-Net's way down and up; a learned map tells where a block lies. A `Pass` then sees, about each block that
holds cells of its own, what the trunk says and the cells that are known, and gives the logits of its cells' bins.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad, silu

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
        width: channels on blocks, half as many more on coarser ones.
        shape: rows and columns of blocks, multiples of four.
        rng: draws the initial weights.
    """

    def __init__(self, inputs: int, width: int, shape: tuple[int, int], rng: torch.Generator | None) -> None:
        super().__init__()
        coarse = 3 * width // 2
        with unfilled(self, "he-uniform", rng, torch.channels_last):  # trains in two thirds of the time
            self.first = nn.Conv2d(inputs, width, 3, padding=1)
            self.down = nn.Conv2d(width, coarse, 2, stride=2)
            self.middle = Residual(coarse)
            self.deeper = nn.Conv2d(coarse, coarse, 2, stride=2)
            self.coarse = Residual(coarse)
            self.up = nn.Conv2d(coarse, coarse, 1)
            self.middle_up = Residual(coarse)
            self.out = nn.Conv2d(coarse, width, 1)
            self.fine_up = Residual(width)
        self.places = nn.Parameter(torch.zeros(1, width, *shape).to(memory_format=torch.channels_last))
        _quiet(self)

    def forward(self, x: Tensor) -> Tensor:
        """Channels of each block."""
        fine = self.first(x) + self.places
        middle = self.middle(self.down(fine))
        coarse = self.coarse(self.deeper(middle))
        middle = self.middle_up(middle + interpolate(self.up(coarse), scale_factor=2.0, mode="nearest"))
        found: Tensor = self.fine_up(fine + interpolate(self.out(middle), scale_factor=2.0, mode="nearest"))
        return found


class Pass(nn.Module):
    """Logits `(n * blocks, outputs)` of those blocks that hold cells of the pass.

    The trunk has looked around already, so that a pass takes its word block by block and convolves what is known alone. Few
    blocks hold cells of a pass: about each of these, three by three hidden vectors are gathered, and further layers see no other.

    Args:
        trunk: channels of the trunk.
        known: channels of what is known, before the first pass none.
        width: hidden channels of every block that the pass looks at.
        hidden: hidden channels of the blocks that hold its cells.
        outputs: bins of all pixels of a block that the pass draws.
        shape: rows and columns of the blocks that the pass looks at.
        blocks: those that hold its cells, as indices into these.
        rng: draws the initial weights.
    """

    def __init__(
        self,
        trunk: int,
        known: int,
        width: int,
        hidden: int,
        outputs: int,
        shape: tuple[int, int],
        blocks: Tensor,
        rng: torch.Generator | None,
    ) -> None:
        super().__init__()
        with unfilled(self, "he-uniform", rng, torch.channels_last):  # trains in two thirds of the time
            self.told = nn.Conv2d(trunk, width, 1)
            self.known = nn.Conv2d(known, width, 3, padding=1) if known else None
            self.near = nn.Linear(9 * width, hidden)
            self.first = nn.Linear(hidden, hidden)
            self.second = nn.Linear(hidden, hidden)
            self.last = nn.Linear(hidden, outputs)
        self.places = nn.Parameter(torch.zeros(1, width, *shape).to(memory_format=torch.channels_last))
        self.register_buffer("around", neighbours(blocks, shape[1]), persistent=False)
        with torch.no_grad():
            self.second.weight.mul_(0.1)
            self.last.weight.mul_(0.1)

    around: Tensor

    def begin(self, logits: Tensor) -> None:
        """Give all cells these logits of their bins `(bins,)` to begin with, but for what is little."""
        with torch.no_grad():
            self.last.bias.copy_(logits.repeat(len(self.last.bias) // len(logits)))

    def forward(self, trunk: Tensor, known: Tensor | None) -> Tensor:
        """From the trunk's channels and those of known cells where the pass looks."""
        h = self.told(trunk) + self.places
        if self.known is not None and known is not None:
            h = h + self.known(known)
        h = pad(silu(h), (1, 1, 1, 1)).flatten(2).transpose(1, 2)  # channels side by side in memory: picking blocks is cheap
        h = self.near(h.index_select(1, self.around).reshape(-1, self.near.in_features))
        h = h + self.second(silu(self.first(silu(h))))
        logits: Tensor = self.last(silu(h))
        return logits


def neighbours(blocks: Tensor, columns: int) -> Tensor:
    """Where the three by three blocks about each of `blocks` lie on a grid with a border of one, one after the other."""
    corner = blocks // columns * (columns + 2) + blocks % columns
    step = torch.tensor([r * (columns + 2) + c for r in range(3) for c in range(3)])
    return (corner[:, None] + step).flatten()


def _quiet(network: nn.Module) -> None:
    """Let residual blocks begin as the identity, nearly."""
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, Residual):
                layer.second.weight.mul_(0.1)
