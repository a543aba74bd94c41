r"""An image drawn in a few passes by its likelihood, each pass given the cells of those before.

$$p(y \mid c) = \prod_{k=1}^{6} \prod_{i \in S_k} p\big(y_i \mid c,\, y_{S_1}, \ldots, y_{S_{k-1}}\big)$$

The cells are divided as in an interlaced picture (`networks.interlacing`). Cells of one pass are independent of each other given
the cells before, which lie around them: those of the first pass are half a metre apart in the LHCb HCAL, several times the width
of a hadronic shower. So the joint distribution of neighbours, which an energy score or a pixel-wise distance hardly sees and a
GAN has to find in a game, is learned by plain maximum likelihood, in one network pass per set instead of one per cell
(A. van den Oord et al. 2016, arXiv:1601.06759; S. Reed et al. 2017, arXiv:1703.03664).

The cells of a shower share its energy: what is left for one is a difference of energies, while images come as logarithms
(features $\ln(1 + x/S)$ of `box-cox:S,0`). So the networks see of each image its logarithm, a root and the energy itself.

A cell's distribution is a histogram, a softmax over bins of the learned space: empty, $K$ equal bins from the threshold at 1 to
the cap at 2, and saturated (`transforms.hcal_scale`, form `log`). A sample has the probability $u = 1 - \Phi(z)$ above it. A
bin is a quarter of the energy wide, in which a spectrum that falls like $E^{-5}$ drops by half, so within the bin $k$ the density
changes from one end to the other by the factor $\sqrt{p_{k+1} / p_{k-1}}$ of its neighbours: where a part $v$ of its
probability lies below, at $v + b\, v (1 - v)$ of its width with $b = (\sqrt{p_{k+1}} - \sqrt{p_{k-1}}) / (\sqrt{p_{k+1}} +
\sqrt{p_{k-1}})$. Flat bins would fire a trigger too often. All is continuous in the noise, since an empty cell is drawn between 0
and 1 and emptied by the read-out, and what later passes see of a cell grows from zero at its threshold.

Pixels of split cells share one number. The weighted negative log-likelihood of an event is the sum over its cells.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from understudy import hcal_geometry as hcal
from understudy.geometry import Calorimeter
from understudy.models.base import Batch, Model, Optimiser, Turn, weighted_mean
from understudy.networks.grid import ROUNDING, Grid
from understudy.networks.interlaced import Pass, Trunk
from understudy.networks.interlacing import PASSES, cut, gathered, shares, spread
from understudy.registry import Given, register

ADAM = Optimiser(lr=1e-3, betas=(0.9, 0.99), schedule="cosine", clip_norm=10.0)
RISE = 16.0
"""What a later pass sees of a cell rises from its threshold to the sixteenth part of the range."""
RANGE = 7.0
"""Logarithm of the cap over the threshold, nearly (ln 1020 in the LHCb HCAL)."""
LARGEST, UNIT = 8.0, 128.0
"""Where energies are found from features: the largest, 70 GeV in a cell for a shift of 24 MeV, and the unit, 3 GeV."""
LOOKED = 5000
"""Events whose cells are counted before the training."""
SCALES = 3
"""On which an image is seen: logarithm, root, energy."""

_ERFC = (
    *(-1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806),
    *(0.27886807, -1.13520398, 1.48851587, -0.82215223, 0.17087277),
)


@register("models", "interlaced")
class Interlaced(Model):
    """The cells of an image, in the learned space of `hcal-scale` with `form: log`, given an image among the conditions.

    Args:
        feature_size: numbers that encode the conditions: images first, as logarithms, then any others.
        response_size: cells.
        trunk: channels of the network that looks at the conditions.
        width: channels of the network of each pass, of every block that it looks at.
        hidden: those of its layers that see only blocks which hold its cells.
        bins: $K$, between threshold and cap.
        optimiser: of all networks. Signed weights count with their sign.
        rng: draws the initial weights; torch's own generator if None.
        geometry: where the cells sit; of `lhcb-hcal` it is known which pixels are one cell.

    Raises:
        ValueError: no geometry, one that is no stack of equal grids, or no image among the features.
    """

    rounding = ROUNDING
    steep = True

    def __init__(
        self,
        *,
        feature_size: Given[int],
        response_size: Given[int],
        trunk: PositiveInt = 32,
        width: PositiveInt = 32,
        hidden: PositiveInt = 64,
        bins: Annotated[int, Field(ge=2, le=200)] = 32,
        optimiser: Optimiser = ADAM,
        rng: Given[torch.Generator | None] = None,
        geometry: Given[Calorimeter | None] = None,
    ) -> None:
        super().__init__()
        self.grid = Grid.of(geometry, 3, None, "an interlaced model")
        images, further = divmod(feature_size, self.grid.n_cells)
        if self.grid.n_cells != response_size or self.grid.channels != 1 or images < 1:
            raise ValueError(
                f"an interlaced model makes one image of {self.grid.n_cells} cells out of another, but {response_size} numbers"
                f" are asked for and {feature_size} given; encode a condition that is an image, and keep the cells"
            )
        self.images, self.bins, self.optimiser = images, bins, optimiser
        self.noise_size = response_size
        rows, columns = self.grid.full[0] // 2, self.grid.full[1] // 2
        self.blocks = (rows, columns)
        self.trunk = Trunk(SCALES * 4 * images + further, trunk, self.blocks, rng)
        whole = torch.zeros(self.blocks, dtype=torch.bool)
        if geometry is not None and geometry.name == "lhcb-hcal":
            whole = self.grid.pad(torch.tensor(~hcal.inner_pixels()).float().reshape(1, -1))[0, 0, ::2, ::2] > 0
        self.register_buffer("whole", whole, persistent=False)
        self.passes = nn.ModuleList()
        self.windows, self.slots = [], []
        for k, share in enumerate(shares(self.grid, whole)):
            top, bottom, left, right = share.window
            self.windows.append(share.window)
            self.slots.append(len(share.blocks) * share.pixels)
            for name in ("here", "there", "cells"):
                self.register_buffer(f"{name}_{k}", getattr(share, name), persistent=False)
            shape, known, outputs = (bottom - top, right - left), (SCALES + 1) * 4 if k else 0, (bins + 2) * share.pixels
            self.passes.append(Pass(trunk, known, width, hidden, outputs, shape, share.blocks, rng))
        self.register_buffer("triangle", torch.tril(torch.ones(bins + 2, bins + 2), diagonal=-1), persistent=False)

    triangle: Tensor
    whole: Tensor

    def fit(
        self,
        response: Tensor,
        conditions: Tensor,
        weights: Tensor | None = None,
        given: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> None:
        """Begin with how often each bin is filled: some are as rare as one in a hundred thousand, thousands of updates away."""
        seen = response[:LOOKED]
        for k, network in enumerate(self.passes):
            found = self.bin_of(seen.index_select(1, self._columns("cells", k)))
            each = None if weights is None else weights[:LOOKED, None].double().expand(found.shape).flatten()
            counts = torch.bincount(found.flatten(), each, minlength=self.bins + 2).double().clamp(min=0.0) + 1
            assert isinstance(network, Pass)
            network.begin((counts / counts.sum()).log().float())

    def turns(self) -> tuple[Turn, ...]:
        """One."""
        return (Turn("likelihood", tuple(self.parameters()), self.optimiser, self.loss),)

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Minus the weighted mean log-likelihood of an event, over its cells."""
        trunk = self.trunk(self.given(batch.conditions))
        truth = self.expanded(batch.response)
        total = batch.response.new_zeros(len(batch))
        drawn: Tensor = torch.zeros_like(truth)
        done = torch.zeros_like(truth[:1], dtype=torch.bool)
        for k in range(PASSES):
            logits = self.logits(k, trunk, drawn).float()
            values = batch.response.index_select(1, self._columns("cells", k))
            wrong = nn.functional.cross_entropy(logits.flatten(0, 1), self.bin_of(values).flatten(), reduction="none")
            total = total + wrong.reshape(values.shape).sum(1)
            done = done | self.mask(k)
            drawn = torch.where(done, truth, 0.0)
        return weighted_mean(total, batch.weights)

    def misfit(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The loss of other events."""
        return self.loss(batch, generator)

    def sample(self, noise: Tensor, conditions: Tensor) -> Tensor:
        """An image `(n, d)`: six passes."""
        trunk = self.trunk(self.given(conditions))
        u = above(noise)
        known = noise.new_zeros((noise.shape[0], 4 * self.blocks[0] * self.blocks[1]))
        for k in range(PASSES):
            logits = self.logits(k, trunk, self.tied(known.reshape(-1, 4, *self.blocks)))
            drawn = self.drawn(logits.float(), u.index_select(1, self._columns("cells", k)))
            known = known.index_add(1, self._columns("there", k), drawn)
        return self.grid.crop(spread(self.tied(known.reshape(-1, 4, *self.blocks)))).to(noise.dtype)

    def given(self, conditions: Tensor) -> Tensor:
        """Features `(n, c)` as channels of blocks."""
        size, rows = self.grid.n_cells, conditions.shape[0]
        logs = [gathered(self.grid.pad(conditions[:, i * size : (i + 1) * size])) for i in range(self.images)]
        parts = [seen for y in logs for seen in (y, *energies(y.clamp(max=LARGEST), UNIT))]
        further = conditions[:, self.images * size :]
        if further.shape[1]:
            parts.append(further[:, :, None, None].expand(rows, further.shape[1], *self.blocks))
        return torch.cat(parts, dim=1)

    def expanded(self, response: Tensor) -> Tensor:
        """Cells `(n, d)` as channels of blocks `(n, 4, rows, columns)`."""
        return gathered(self.grid.pad(response))

    def tied(self, blocks: Tensor) -> Tensor:
        """Give the four pixels of a whole cell the number of the first."""
        return torch.where(self.whole, blocks[:, :1], blocks)

    def mask(self, k: int) -> Tensor:
        """Pixels that pass `k` draws, `(1, 4, rows, columns)`, those of whole cells with them."""
        flat = torch.zeros(4 * self.blocks[0] * self.blocks[1], dtype=torch.bool, device=self.whole.device)
        flat[self._columns("there", k)] = True
        return self.tied(flat.reshape(1, 4, *self.blocks))

    def logits(self, k: int, trunk: Tensor, drawn: Tensor) -> Tensor:
        """Logits `(n, cells, bins + 2)` of the cells of pass `k`, given what was drawn before, `(n, 4, rows, columns)`."""
        known = None
        if k:
            height = (cut(drawn, self.windows[k]) - 1).clamp(0.0, 1.0)
            scales = energies(RANGE * height, math.exp(RANGE) / 2)
            known = torch.cat([height, (RISE * height).clamp(max=1.0), *scales], dim=1).to(trunk.dtype)
        made: Tensor = self.passes[k](cut(trunk, self.windows[k]), known)
        made = made.reshape(-1, self.slots[k], self.bins + 2)
        return made.index_select(1, self._columns("here", k))

    def bin_of(self, values: Tensor) -> Tensor:
        """The bin of each value, int64 of the same shape: 0 is empty, the last one saturated."""
        inner = ((values - 1) * self.bins).floor().clamp(0, self.bins - 1).long() + 1
        return torch.where(values < 1, 0, torch.where(values >= 2 - 1e-6, self.bins + 1, inner))

    def drawn(self, logits: Tensor, u: Tensor) -> Tensor:
        """Where the histograms `(n, cells, bins + 2)` have a probability of `u` above them, `(n, cells)`."""
        p = logits.softmax(2)
        over = p @ self.triangle.to(p.dtype)  # sums of the bins above each: the rare large ones are not lost beside one
        inside = 1 - (u.unsqueeze(2) - over) / p.clamp(min=1e-12)
        share = inside.clamp(0.0, 1.0)  # of every bin: the bins below are full, those above empty
        within = share[:, :, 1:-1]
        within = within + bend(p[:, :, 1:-1]) * within * (1 - within)
        return share[:, :, 0] + share[:, :, -1] + within.sum(2) / self.bins

    def _columns(self, name: str, k: int) -> Tensor:
        return self.get_buffer(f"{name}_{k}")


def energies(y: Tensor, unit: float) -> tuple[Tensor, Tensor]:
    r"""A root and the energy itself of the logarithm $y = \ln(1 + x/S)$, in units of `unit` times $S$."""
    return ((0.5 * y).exp() - 1) / math.sqrt(unit), (y.exp() - 1) / unit


def bend(p: Tensor) -> Tensor:
    """By how much the density grows within each bin, since its neighbours are fuller or emptier: $b$ of the module's docstring.

    The bins at the threshold and at the cap, where one neighbour is no density, look at themselves on that side.
    """
    root = p.clamp(min=1e-20).sqrt()
    before = torch.cat([root[:, :, :1], root[:, :, :-1]], dim=2)
    behind = torch.cat([root[:, :, 1:], root[:, :, -1:]], dim=2)
    return (behind - before) / (behind + before)


def above(z: Tensor) -> Tensor:
    r"""$1 - \Phi(z)$, to a few units of the last digit of single precision however small it is.

    $1 - \mathrm{erf}$, which engines have, is lost below $10^{-7}$: of a number in the tail nothing would be left. The
    Chebyshev expansion is that of W. H. Press et al., Numerical Recipes, section 6.2.
    """
    x = z.abs() * math.sqrt(0.5)
    t = 1 / (1 + 0.5 * x)
    power = torch.full_like(t, _ERFC[-1])
    for coefficient in reversed(_ERFC[:-1]):
        power = power * t + coefficient
    half = 0.5 * t * (power - x * x).exp()
    return torch.where(z < 0, 1 - half, half)
