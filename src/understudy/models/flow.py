r"""A conditional neural spline flow in few passes, for responses of any size.

$z = f_L \circ \dots \circ f_1(x; c)$ is standard normal if $x$ follows $p(x \mid c) = N(z; 0, 1)\, |\det \partial z / \partial
x|$. In each transform the numbers are dealt to $p$ groups, each time otherwise, and a number's map depends on the conditions and
on all groups before its own. With $p = 2$ that is a coupling layer (Dinh et al. 2017, arXiv:1605.08803), with as many groups as
numbers an autoregressive one (Papamakarios et al. 2017, arXiv:1705.07057). Each map is affine followed by a monotone
rational-quadratic spline (Durkan et al. 2019, arXiv:1906.04032). Training is maximum likelihood.

The flow is zuko's. It is sampled, which takes $p$ evaluations of each transform's network, by `models.rational_quadratic` with
the knots that zuko makes of its parameters: of the network's last layer only the group in turn is computed, and what is under the
inverse's square root cannot fall below zero by rounding.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn
from zuko.flows.autoregressive import MaskedAutoregressiveTransform
from zuko.transforms import ComposedTransform, MonotonicAffineTransform, MonotonicRQSTransform

from understudy.models.base import Batch, Model, Optimiser, Turn, weighted_mean
from understudy.models.likelihood import floored
from understudy.models.rational_quadratic import Spline
from understudy.registry import Given, register

OPTIMISER = Optimiser(lr=2e-3, betas=(0.9, 0.999), schedule="cosine", clip_norm=10.0)
ACTIVATIONS: dict[str, type[nn.Module]] = {"relu": nn.ReLU, "elu": nn.ELU, "silu": nn.SiLU, "gelu": nn.GELU, "tanh": nn.Tanh}


@register("models", "flow")
class Flow(Model):
    """The distribution of a response, whose columns should be standardised and without atoms, given the features.

    Args:
        feature_size: numbers that encode the conditions.
        response_size: numbers in the response.
        transforms: $L$.
        passes: $p$, groups of numbers in a transform; 2 for coupling. More are more flexible and slower to sample.
        bins: bins of a spline.
        bound: where a spline's linear tails begin, in standard deviations.
        hidden: widths of the hidden layers of each transform's network.
        activation: after each hidden layer.
        optimiser: of the likelihood fit. Signed weights count with their sign (`likelihood.floored`).
        rng: draws the initial weights; torch's own generator if None.
    """

    def __init__(
        self,
        *,
        feature_size: Given[int],
        response_size: Given[int],
        transforms: Annotated[int, Field(ge=1, le=32)] = 4,
        passes: Annotated[int, Field(ge=2, le=64)] = 2,
        bins: Annotated[int, Field(ge=2, le=100)] = 8,
        bound: PositiveFloat = 5.0,
        hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (128, 128),
        activation: Literal["relu", "elu", "silu", "gelu", "tanh"] = "silu",
        optimiser: Optimiser = OPTIMISER,
        rng: Given[torch.Generator | None] = None,
    ) -> None:
        super().__init__()
        self.noise_size = response_size
        self.bins, self.bound = bins, bound
        self.optimiser = optimiser
        groups = [deal(response_size, passes, k) for k in range(transforms)]
        self.groups = nn.ModuleList(_Groups(group, 3 * bins + 1) for group in groups)
        share = -(-response_size // min(passes, response_size))
        shapes = [(), (), (bins,), (bins,), (bins - 1,)]
        with _seeded(rng):
            self.layers = nn.ModuleList(
                MaskedAutoregressiveTransform(
                    response_size,
                    feature_size,
                    passes,
                    share * group,  # zuko's group of a column is its place in the order, by the share of a group
                    univariate=partial(_compose, bound=bound),
                    shapes=shapes,
                    hidden_features=hidden,
                    activation=ACTIVATIONS[activation],
                )
                for group in groups
            )

    def turns(self) -> tuple[Turn, ...]:
        """One turn: maximum likelihood."""
        return (Turn("flow", tuple(self.parameters()), self.optimiser, self.loss),)

    def misfit(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The loss."""
        return self.loss(batch, generator)

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Weighted mean of the negative log-likelihood per number of the response."""
        found = floored(self.log_prob(batch.response, batch.conditions), batch.response, batch.weights)
        return -weighted_mean(found, batch.weights) / self.noise_size

    def log_prob(self, response: Tensor, conditions: Tensor) -> Tensor:
        """$\\log p(x \\mid c)$, `(n,)`."""
        z, log_slope = self.whiten(response, conditions)
        return log_slope - 0.5 * (z**2 + math.log(2 * math.pi)).sum(1)

    def whiten(self, response: Tensor, conditions: Tensor) -> tuple[Tensor, Tensor]:
        """$z$, `(n, d)`, and $\\log |\\det \\partial z / \\partial x|$, `(n,)`."""
        z, total = response, response.new_zeros(len(response))
        for layer in self.layers:
            z, log_slope = layer(conditions).call_and_ladj(z)
            total = total + log_slope
        return z, total

    def sample(self, noise: Tensor, conditions: Tensor) -> Tensor:
        """$x = f_1^{-1} \\circ \\dots \\circ f_L^{-1}(z; c)$, `(n, d)`; the splines are inverted in double precision."""
        x = noise.double()
        for layer, groups in zip(reversed(self.layers), reversed(self.groups), strict=True):
            x = self._invert(layer, groups, x, conditions)
        return x.to(noise.dtype)

    def _invert(self, layer: Any, groups: Any, y: Tensor, conditions: Tensor) -> Tensor:
        """The inverse of one transform, group by group; numbers not drawn yet are zero, and not looked at."""
        *body, last = layer.hyper
        weight = last.weight * last.mask if hasattr(last, "mask") else last.weight
        drawn = y[:, :0]
        for columns, rows in groups:
            h = conditions
            if self.noise_size > 1:  # zuko's network of a single number sees the conditions alone
                missing = y.new_zeros(()).expand(y.shape[0], self.noise_size - drawn.shape[1])
                h = torch.cat([groups.restore(torch.cat([drawn, missing], 1)).to(conditions.dtype), conditions], 1)
            for module in body:
                h = module(h)
            free = nn.functional.linear(h, weight.index_select(0, rows), last.bias.index_select(0, rows)).double()
            x = self._inverse_of_one(free.reshape(-1, 3 * self.bins + 1), y.index_select(1, columns).reshape(-1))
            drawn = torch.cat([drawn, x.reshape(-1, len(columns))], 1)
        restored: Tensor = groups.restore(drawn)
        return restored

    def _inverse_of_one(self, free: Tensor, y: Tensor) -> Tensor:
        """The inverse of affine map and spline with free parameters `(n, 3 bins + 1)` at `y` `(n,)`."""
        shift, scale, *knots = torch.split(free, [1, 1, self.bins, self.bins, self.bins - 1], dim=1)
        affine, theirs = _maps(shift[:, 0], scale[:, 0], *knots, bound=self.bound)
        spline = Spline(theirs.horizontal, theirs.vertical, theirs.derivatives, self.bound)
        x: Tensor = (spline.inverse(y) - affine.shift) * (-affine.log_scale).exp()
        return x


class _Groups(nn.Module):
    """Columns of each group of a transform, in turn, and the rows of the network's last layer that are theirs.

    Args:
        group: of each column, `(d,)`.
        per_column: rows of a column.
    """

    back: Tensor

    def __init__(self, group: Tensor, per_column: int) -> None:
        super().__init__()
        found = [torch.nonzero(group == g).flatten() for g in range(int(group.max()) + 1)]
        self.register_buffer("back", torch.cat(found).argsort(), persistent=False)
        self.number = len(found)
        for g, columns in enumerate(found):
            self.register_buffer(f"columns_{g}", columns, persistent=False)
            rows = columns[:, None] * per_column + torch.arange(per_column)
            self.register_buffer(f"rows_{g}", rows.flatten(), persistent=False)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for g in range(self.number):
            yield self.get_buffer(f"columns_{g}"), self.get_buffer(f"rows_{g}")

    def restore(self, x: Tensor) -> Tensor:
        """Columns `(n, d)` that lie group after group, in their own places."""
        return x.index_select(1, self.back)


def deal(size: int, passes: int, k: int) -> Tensor:
    """The group of each of `size` columns in transform `k`, `(size,)`; there are `passes` groups, or `size` if that is less.

    Columns are dealt one by one like cards, before every second transform the piles are stacked, and the transforms between take
    the groups before them in reverse. Two columns in one pile that were $m$ apart are $m / p$ apart in the stack: after some
    $\\log_p d$ stacks any two have been parted.
    """
    groups = min(passes, size)
    place = torch.arange(size)
    for _ in range(k // 2):
        heights = (place % groups).bincount(minlength=groups)
        place = (heights.cumsum(0) - heights)[place % groups] + place // groups
    return groups - 1 - place % groups if k % 2 else place % groups


def _maps(*free: Tensor, bound: float) -> tuple[Any, Any]:
    """zuko's affine map and spline."""
    return MonotonicAffineTransform(*free[:2]), MonotonicRQSTransform(*free[2:], bound=bound)


def _compose(*free: Tensor, bound: float) -> Any:
    """The affine map, then the spline, of parameters in single precision at least."""
    return ComposedTransform(*_maps(*(f.to(torch.promote_types(f.dtype, torch.float32)) for f in free), bound=bound))


@contextmanager
def _seeded(rng: torch.Generator | None) -> Iterator[None]:
    """Within it torch's own generator, from which zuko draws weights, is seeded by `rng`; afterwards it is as before."""
    if rng is None:
        yield
        return
    seed = int(torch.randint(2**62, (), generator=rng))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        yield
