r"""An attention velocity network for any calorimeter: every patch of cells looks at all others, in all layers.

Each layer's grid is cut into patches, whose cells are mapped to one token (Dosovitskiy et al. 2021, arXiv:2010.11929), by
weights of the layer. A token also knows where it is: to it are added a learned vector and a linear map of the centre of its
patch. Blocks of attention and a small perceptron follow, both behind normalisations modulated by time and features (Peebles and
Xie 2023, arXiv:2212.09748), and each token is mapped back to its cells. Layers may differ in shape: there is nothing to pad but
the last patches of a layer.
"""

from __future__ import annotations

import math

import torch
from pydantic import NonNegativeInt, PositiveInt
from torch import Tensor, nn

from understudy.geometry import Calorimeter, Layer
from understudy.networks.dense import linear
from understudy.networks.grid import ROUNDING
from understudy.networks.velocity import Modulation, Velocity, zeroed
from understudy.registry import Given, register


@register("velocities", "attention")
class VelocityAttention(Velocity):
    """A velocity of the cells of a calorimeter.

    Args:
        size: numbers in the response; those of the geometry.
        features: numbers that encode the conditions.
        geometry: the calorimeter's layers, of any shapes.
        patch: cells of a patch along the two axes; fewer where a layer is smaller.
        blocks: blocks of attention and perceptron.
        width: numbers in a token.
        heads: attention heads; they share the width.
        embedding: width of the embedding of time and features.
        rng: draws the initial weights; torch's own generator if None.

    Raises:
        ValueError: no geometry, one with another number of cells, or heads that do not divide the width.
    """

    rounding = ROUNDING

    def __init__(
        self,
        *,
        size: Given[int],
        features: Given[int],
        geometry: Given[Calorimeter | None] = None,
        patch: tuple[PositiveInt, PositiveInt] = (5, 5),
        blocks: NonNegativeInt = 2,
        width: PositiveInt = 64,
        heads: PositiveInt = 4,
        embedding: PositiveInt = 64,
        rng: Given[torch.Generator | None] = None,
    ) -> None:
        if geometry is None:
            raise ValueError("an attention velocity needs to know where the cells sit; name the geometry in the recipe")
        if geometry.n_cells != size:
            raise ValueError(
                f"an attention velocity moves the {geometry.n_cells} cells of its geometry, but the response has {size} numbers;"
                " choose transforms that keep the number of columns"
            )
        if width % heads:
            raise ValueError(f"{heads} attention heads cannot share a width of {width}; choose a width that they divide")
        super().__init__(size, features, embedding, rng)
        self.patches = [_Patches(layer, patch, width, rng) for layer in geometry.layers]
        self.layers = nn.ModuleList(self.patches)
        self.blocks = nn.ModuleList(_Block(width, heads, embedding, rng) for _ in range(blocks))
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = Modulation(embedding, width, rng)

    def body(self, x: Tensor, e: Tensor) -> Tensor:
        """$f(x, e)$, `(n, size)`."""
        cells = torch.split(x, [p.n_cells for p in self.patches], dim=1)
        h = torch.cat([p.tokens(c) for p, c in zip(self.patches, cells, strict=True)], dim=1)
        for block in self.blocks:
            h = block(h, e)
        tokens = torch.split(self.modulation(self.norm(h), e), [p.n_tokens for p in self.patches], dim=1)
        return torch.cat([p.cells(t) for p, t in zip(self.patches, tokens, strict=True)], dim=1)


class _Patches(nn.Module):
    """Cells of a layer to tokens, and back."""

    centres: Tensor

    def __init__(self, layer: Layer, patch: tuple[int, int], width: int, rng: torch.Generator | None) -> None:
        super().__init__()
        self.shape, self.n_cells = layer.shape, layer.n_cells
        self.patch = (min(patch[0], self.shape[0]), min(patch[1], self.shape[1]))
        self.counts = (-(-self.shape[0] // self.patch[0]), -(-self.shape[1] // self.patch[1]))
        self.n_tokens = self.counts[0] * self.counts[1]
        axes = [_centres(e, p, c) for e, p, c in zip(layer.edges, self.patch, self.counts, strict=True)]
        centres = torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
        self.register_buffer("centres", centres, persistent=False)
        area = self.patch[0] * self.patch[1]
        self.into = linear(area, width, "glorot-uniform", rng)
        self.place = linear(2, width, "glorot-uniform", rng)
        self.own = nn.Parameter(torch.randn(self.n_tokens, width, generator=rng) / math.sqrt(width))
        self.out = zeroed(linear(width, area, "glorot-uniform", rng))

    def tokens(self, x: Tensor) -> Tensor:
        """Cells `(n, n_cells)` to `(n, n_tokens, width)`."""
        (a, b), (p, q) = self.counts, self.patch
        image = x.reshape(-1, 1, *self.shape)
        image = nn.functional.pad(image, (0, b * q - self.shape[1], 0, a * p - self.shape[0]))
        patches = image.reshape(-1, a, p, b, q).transpose(2, 3).reshape(-1, a * b, p * q)
        tokens: Tensor = self.into(patches) + self.place(self.centres) + self.own
        return tokens

    def cells(self, tokens: Tensor) -> Tensor:
        """The inverse way, `(n, n_tokens, width)` to `(n, n_cells)`."""
        (a, b), (p, q) = self.counts, self.patch
        patches = self.out(tokens).reshape(-1, a, b, p, q).transpose(2, 3).reshape(-1, a * p, b * q)
        cells: Tensor = patches[:, : self.shape[0], : self.shape[1]]
        return cells.flatten(1)


class _Block(nn.Module):
    """Attention over the tokens, then a perceptron of each, both added to what comes in."""

    def __init__(self, width: int, heads: int, embedding: int, rng: torch.Generator | None) -> None:
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.modulations = nn.ModuleList(Modulation(embedding, width, rng) for _ in range(2))
        self.project = linear(width, 3 * width, "glorot-uniform", rng)
        self.mix = linear(width, width, "glorot-uniform", rng)
        self.wide = linear(width, 2 * width, "glorot-uniform", rng)
        self.narrow = linear(2 * width, width, "glorot-uniform", rng)

    def forward(self, h: Tensor, e: Tensor) -> Tensor:
        """`(n, T, width)` to the same."""
        n, tokens, width = h.shape
        parts = self.project(self.modulations[0](self.norms[0](h), e))
        q, k, v = parts.reshape(n, tokens, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        seen = nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, tokens, width)
        h = h + self.mix(seen)
        thought: Tensor = self.narrow(nn.functional.silu(self.wide(self.modulations[1](self.norms[1](h), e))))
        return h + thought


def _centres(edges: tuple[float, ...], patch: int, count: int) -> Tensor:
    """Centres of the patches along an axis, the axis's edges being at -1 and 1."""
    low, high = edges[0], edges[-1]
    middles = [0.5 * (edges[i * patch] + edges[min((i + 1) * patch, len(edges) - 1)]) for i in range(count)]
    return torch.tensor([2 * (m - low) / (high - low) - 1 for m in middles])
