r"""A generator of one step that is trained by the conditional energy score, without a critic.

$$S_\beta(P, y) = E\|X - y\|^\beta - \tfrac12 E\|X - X'\|^\beta, \qquad X, X' \sim P \text{ independently}, \quad 0 < \beta < 2,$$

is a strictly proper scoring rule (T. Gneiting and A. Raftery, J. Am. Stat. Assoc. 102 (2007) 359, eq. 21, with the sign turned so
that less is better): its expectation over $y \sim Q$ is smallest for $P = Q$ alone, and exceeds the smallest value by half of
the energy distance of $P$ and $Q$. With $m \ge 2$ samples $x_j = G(z_j, c)$ at the conditions of every event,

$$\hat S = \frac1m \sum_j \|x_j - y\|^\beta - \frac{1}{2 m (m - 1)} \sum_{j \ne k} \|x_j - x_k\|^\beta$$

is unbiased, and so are its gradients (L. Pacchiardi et al., arXiv:2112.08217, section 3.2). It is linear in the distribution of
$y$, so that events may carry weights of either sign: the weighted mean is the score of the distribution that is left.

In many dimensions the distances of whole responses tell little of single cells. A sum of scores of parts of the response,
of its layers, overlapping patches (section 3.3 there) or columns, is proper too, and strictly so with that of the whole.
Each score is divided by $(\text{numbers in the part})^{\beta/2}$ and averaged over the parts of a kind.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from understudy.geometry import Calorimeter
from understudy.models.base import Batch, Model, Optimiser, Spec, Turn, weighted_mean
from understudy.models.one_step import OneStep
from understudy.registry import Given, Part, register

ADAM = Optimiser(lr=1e-3, betas=(0.9, 0.999), schedule="cosine")
TINY = 1e-12
"""Added to squared distances: the root has no gradient at zero."""
Group = Literal["layers", "patches", "columns"]


def energy_score(samples: Tensor, truth: Tensor, beta: float = 1.0) -> Tensor:
    """The unbiased estimate of the energy score of each event, `(n, ...)`.

    Args:
        samples: `(n, m, ..., d)`, m >= 2 independent samples at the conditions of each event.
        truth: `(n, ..., d)`.
        beta: power of the distances, between 0 and 2.

    Raises:
        ValueError: fewer than two samples.
    """
    m = samples.shape[1]
    if m < 2:
        raise ValueError(f"the energy score compares samples of one condition with each other: give 2 or more, not {m}")
    far = power(samples - truth.unsqueeze(1), beta).mean(1)
    apart = sum(power(samples[:, j] - samples[:, k], beta) for j, k in itertools.combinations(range(m), 2))
    return far - apart / (m * (m - 1))


def power(difference: Tensor, beta: float) -> Tensor:
    """The length of vectors `(..., d)` to the power beta, `(...)`."""
    return (difference.square().sum(-1) + TINY).pow(beta / 2)


def parts(kind: Group, size: int, geometry: Calorimeter | None, patch: int) -> list[Tensor]:
    """The columns of the parts of a response `(n, size)`, as a list of `(number of parts, columns in each)`.

    Args:
        kind: every column by itself, the cells of each layer, or overlapping squares of `patch` x `patch` cells.
        size: columns of the response.
        geometry: where its cells sit; columns need none.
        patch: cells along the edge of a patch; a layer that is narrower is taken from side to side.

    Raises:
        ValueError: layers or patches of a response whose columns are not a geometry's cells.
    """
    if kind == "columns":
        return [torch.arange(size)[:, None]]
    if geometry is None or geometry.n_cells != size:
        what = "there is no geometry" if geometry is None else f"{geometry.name!r} has {geometry.n_cells} cells"
        raise ValueError(
            f"the energy score of {kind} needs a response of cells, but {what} for {size} columns; choose 'columns', or"
            " transforms that keep the cells"
        )
    found, first = [], 0
    for layer in geometry.layers:
        grid = first + torch.arange(layer.n_cells).reshape(layer.shape)
        first += layer.n_cells
        if kind == "layers":
            found.append(grid.reshape(1, -1))
            continue
        rows, columns = (windows(n, patch) for n in layer.shape)
        found.append(torch.stack([grid[a][:, b].flatten() for a in rows for b in columns]))
    return found


def windows(n: int, width: int) -> list[Tensor]:
    """Runs of `width` numbers below `n` that begin half a width apart, the last one at the end."""
    width = min(width, n)
    starts = range(0, n - width, max(1, width // 2))
    return [torch.arange(start, start + width) for start in (*starts, n - width)]


@register("models", "energy-score")
class EnergyScore(Model):
    """A network that is trained by the energy score of its samples.

    Args:
        feature_size: numbers that encode the conditions.
        response_size: numbers in the response; they should be on one scale, standardised or normal scores.
        network: from noise and features, side by side, to the response.
        noise: length of the noise vector; that of the response if None.
        samples: samples at the conditions of every event, m.
        beta: power of the distances; the smaller, the less count those that are far off.
        groups: weights of the scores of parts beside that of the whole, which has 1: `layers`, `patches`, `columns`.
        patch: cells along the edge of a patch.
        steps: passes, see `OneStep`.
        residual: add the noise to the network's output, see `OneStep`.
        optimiser: of the network.
        rng: draws the initial weights; torch's own generator if None.
        geometry: where the response's cells sit.

    Raises:
        ValueError: parts of cells that the response does not have, or as `OneStep`.
    """

    def __init__(
        self,
        *,
        feature_size: Given[int],
        response_size: Given[int],
        network: Annotated[Spec, Part("networks")] = "dense",
        noise: PositiveInt | None = None,
        samples: Annotated[int, Field(ge=2, le=64)] = 2,
        beta: Annotated[float, Field(gt=0, lt=2)] = 1.0,
        groups: dict[Group, PositiveFloat] | None = None,
        patch: PositiveInt = 6,
        steps: Annotated[int, Field(ge=1, le=16)] = 1,
        residual: bool | None = None,
        optimiser: Optimiser = ADAM,
        rng: Given[torch.Generator | None] = None,
        geometry: Given[Calorimeter | None] = None,
    ) -> None:
        super().__init__()
        self.samples, self.beta, self.optimiser = samples, beta, optimiser
        self.map = OneStep(
            network,
            feature_size=feature_size,
            response_size=response_size,
            noise=noise or response_size,
            steps=steps,
            residual=residual,
            rng=rng,
            geometry=geometry,
        )
        self.noise_size = self.map.noise_size
        made = {kind: parts(kind, response_size, geometry, patch) for kind in groups or {}}
        self.groups: Sequence[tuple[float, _Parts]] = [((groups or {})[kind], _Parts(columns)) for kind, columns in made.items()]
        self.columns = nn.ModuleList(part for _, part in self.groups)

    def fit(
        self,
        response: Tensor,
        conditions: Tensor,
        weights: Tensor | None = None,
        given: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> None:
        """Let a network that can begin near the average response do so."""
        self.map.start(response)

    def turns(self) -> tuple[Turn, ...]:
        """One."""
        return (Turn("energy score", tuple(self.map.parameters()), self.optimiser, self.loss),)

    def sample(self, noise: Tensor, conditions: Tensor) -> Tensor:
        """$G(z, c)$, `(n, d)`."""
        response: Tensor = self.map(noise, conditions)
        return response

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The weighted mean of the scores, each event's by its own samples."""
        conditions = batch.conditions.repeat_interleave(self.samples, 0)
        size = len(conditions), self.noise_size
        noise = torch.randn(size, generator=generator, device=conditions.device, dtype=conditions.dtype)
        drawn = self.sample(noise, conditions).float().reshape(len(batch), self.samples, -1)
        return weighted_mean(self.scores(drawn, batch.response), batch.weights)

    def scores(self, drawn: Tensor, truth: Tensor) -> Tensor:
        """The sum of the scores of the whole and of its parts, `(n,)`, for `(n, m, d)` and `(n, d)`."""
        total: Tensor = energy_score(drawn, truth, self.beta) / drawn.shape[-1] ** (self.beta / 2)
        for weight, part in self.groups:
            total = total + weight * part.score(drawn, truth, self.beta)
        return total


class _Parts(nn.Module):
    """Parts of one kind; their columns lie in buffers that are not saved."""

    def __init__(self, columns: Sequence[Tensor]) -> None:
        super().__init__()
        for i, index in enumerate(columns):
            self.register_buffer(f"columns_{i}", index, persistent=False)

    def score(self, drawn: Tensor, truth: Tensor, beta: float) -> Tensor:
        """The mean score of the parts, `(n,)`."""
        found = []
        for index in self.buffers():
            scores = energy_score(drawn[:, :, index], truth[:, index], beta)
            found.append(scores / index.shape[1] ** (beta / 2))
        return torch.cat(found, dim=1).mean(1)
