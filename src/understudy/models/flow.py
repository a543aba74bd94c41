r"""A conditional neural spline flow in few passes, for responses of any size.

$z = f_L \circ \dots \circ f_1(x; c)$ is standard normal if $x$ follows $p(x \mid c) = N(z; 0, 1)\, |\det \partial z / \partial
x|$. In each transform the numbers are dealt to $p$ groups, always otherwise, and a number's map depends on the conditions and on
all groups before its own. With $p = 2$ that is a coupling layer (Dinh et al. 2017, arXiv:1605.08803), with as many
groups as numbers an autoregressive one (Papamakarios et al. 2017, arXiv:1705.07057). Each map is affine followed by a monotone
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
        optimiser: of the likelihood fit. Signed weights count with their sign.
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
        orders = [group_order(response_size, passes, k) for k in range(transforms)]
        self.groups = [_groups(order, passes) for order in orders]
        shapes = [(), (), (bins,), (bins,), (bins - 1,)]
        with _seeded(rng):
            self.layers = nn.ModuleList(
                MaskedAutoregressiveTransform(
                    response_size,
                    feature_size,
                    passes,
                    order,
                    univariate=partial(_compose, bound=bound),
                    shapes=shapes,
                    hidden_features=hidden,
                    activation=ACTIVATIONS[activation],
                )
                for order in orders
            )

    def turns(self) -> tuple[Turn, ...]:
        """One turn: maximum likelihood."""
        return (Turn("flow", tuple(self.parameters()), self.optimiser, self.loss),)

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Weighted mean of the negative log-likelihood per number of the response."""
        return -weighted_mean(self.log_prob(batch.response, batch.conditions), batch.weights) / self.noise_size

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

    def _invert(self, layer: Any, groups: list[Tensor], y: Tensor, conditions: Tensor) -> Tensor:
        """The inverse of one transform, group by group; numbers not drawn yet are zero, and not looked at."""
        *body, last = layer.hyper
        weight = last.weight * last.mask if hasattr(last, "mask") else last.weight
        per_number = 3 * self.bins + 1
        back = torch.cat(groups).argsort()
        drawn = y[:, :0]
        for columns in groups:
            h = conditions
            if self.noise_size > 1:  # zuko's network of a single number sees the conditions alone
                missing = y.new_zeros(()).expand(y.shape[0], self.noise_size - drawn.shape[1])
                h = torch.cat([torch.cat([drawn, missing], 1)[:, back].to(conditions.dtype), conditions], 1)
            for module in body:
                h = module(h)
            rows = (columns[:, None] * per_number + torch.arange(per_number)).flatten()
            free = nn.functional.linear(h, weight[rows], last.bias[rows]).double()
            x = self._inverse_of_one(free.reshape(-1, per_number), y[:, columns].reshape(-1))
            drawn = torch.cat([drawn, x.reshape(-1, len(columns))], 1)
        return drawn[:, back]

    def _inverse_of_one(self, free: Tensor, y: Tensor) -> Tensor:
        """The inverse of affine map and spline with free parameters `(n, 3 bins + 1)` at `y` `(n,)`."""
        shift, scale, *knots = torch.split(free, [1, 1, self.bins, self.bins, self.bins - 1], dim=1)
        affine, theirs = _maps(shift[:, 0], scale[:, 0], *knots, bound=self.bound)
        spline = Spline(theirs.horizontal, theirs.vertical, theirs.derivatives, self.bound)
        x: Tensor = (spline.inverse(y) - affine.shift) * (-affine.log_scale).exp()
        return x


def group_order(size: int, passes: int, k: int) -> Tensor:
    """Where each of `size` columns stands in the order of transform `k`, `(size,)`.

    Columns are sorted by a digit of their number in base `passes`, the next digit in every second transform, and the others are
    the reverse of those before. Two columns of one group are therefore soon in two.
    """
    digits = 1
    while passes**digits < size:
        digits += 1
    columns = torch.arange(size)
    digit = columns // passes ** (k // 2 % digits) % passes
    place = (digit * size + columns).argsort().argsort()
    return size - 1 - place if k % 2 else place


def _groups(order: Tensor, passes: int) -> list[Tensor]:
    """Columns of each group, in turn, as zuko deals them."""
    group = order // -(-len(order) // passes)
    return [torch.nonzero(group == g).flatten() for g in range(int(group.max()) + 1)]


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
