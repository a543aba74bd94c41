r"""Conditional flow matching: noise flows into data along a learned velocity field.

A path $x_t$ leads from noise $x_0 \sim N(0, 1)$ to an event $x_1$ with conditions $c$ (`models.interpolants`). The network that
minimises

$$L = E\; w\, \big| v_\theta(x_t, t, c) - \dot x_t \big|^2, \qquad t \sim U(0, 1),$$

is $E[\dot x_t \mid x_t, c]$, and the solution of $dx/dt = v_\theta(x, t, c)$ from $t = 0$ to $1$ turns noise into events of
$p(x \mid c)$ (Lipman et al. 2023, arXiv:2210.02747). It is sampled with a fixed number of steps (`models.solvers`), so that
the ONNX graph holds the unrolled solution.

Noise and events of a batch may be paired by optimal transport instead of at random, which straightens the paths (Tong et al.
2024, arXiv:2302.00482). With conditions that alone would make the noise depend on them: each noise vector is therefore given
the conditions of an event, and to exchange them costs as well (Cheng and Schwing 2025, arXiv:2503.10636).
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, PositiveFloat
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from understudy.geometry import Calorimeter
from understudy.models.base import Batch, Model, Optimiser, Spec, Turn, weighted_mean
from understudy.models.interpolants import Path, on_path
from understudy.models.solvers import Solver, integrate
from understudy.networks.grid import image_shape
from understudy.networks.velocity import Velocity
from understudy.registry import Given, Part, factory, register
from understudy.schema import Schema

ADAM = Optimiser(lr=1e-3, betas=(0.9, 0.99), schedule="cosine", clip_norm=1.0)
Pairing = Literal["independent", "optimal-transport"]


@register("models", "flow-matching")
class FlowMatching(Model):
    """The distribution of a response, whose columns should be standardised, given the features.

    Args:
        feature_size: numbers that encode the conditions.
        response_size: numbers in the response.
        velocity: the network $v(x, t, c)$: `dense`, `convolution` or `attention`.
        path: `circular`, the more exact one in few steps where the response is nearly whitened, or `straight`.
        steps: equal steps of the solver.
        solver: `midpoint` and `heun` evaluate the network twice a step, `euler` once.
        pairing: of noise and events within a batch. By `optimal-transport` all events count alike, so weights are refused.
        temperature: width of the noise that is sampled from. Below 1 events are more typical and less various than those
            learned: it mends single events that a short training leaves malformed, and takes the distribution's edges.
        condition_cost: what a squared difference of features costs, against one of the response, in optimal-transport pairing;
            the larger, the less the noise can depend on the conditions and the more the pairing is a random one.
        optimiser: of the network. Signed weights count with their sign.
        rng: draws the initial weights; torch's own generator if None.
        geometry: where the cells sit, for a network that asks for it.
        schema: the events' schema, whose response may be an image, likewise.
    """

    def __init__(
        self,
        *,
        feature_size: Given[int],
        response_size: Given[int],
        velocity: Annotated[Spec, Part("velocities")] = "dense",
        path: Path = "circular",
        steps: Annotated[int, Field(ge=1, le=100)] = 4,
        solver: Solver = "midpoint",
        temperature: Annotated[float, Field(gt=0, le=2)] = 1.0,
        pairing: Pairing = "independent",
        condition_cost: PositiveFloat = 10.0,
        optimiser: Optimiser = ADAM,
        rng: Given[torch.Generator | None] = None,
        geometry: Given[Calorimeter | None] = None,
        schema: Given[Schema | None] = None,
    ) -> None:
        super().__init__()
        self.noise_size = response_size
        self.path, self.steps, self.solver = path, steps, solver
        self.pairing, self.condition_cost = pairing, condition_cost
        self.temperature = temperature
        self.optimiser = optimiser
        given: dict[str, Any] = {"size": response_size, "features": feature_size, "geometry": geometry, "rng": rng}
        given["image"] = image_shape(schema)
        self.velocity: Velocity = factory("velocities", velocity, "velocity")(**given)

    def fit(
        self,
        response: Tensor,
        conditions: Tensor,
        weights: Tensor | None = None,
        given: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> None:
        """Nothing to look at, but weights that the pairing cannot use.

        Raises:
            ValueError: weights that differ, with optimal-transport pairing.
        """
        if self.pairing == "optimal-transport" and weights is not None and bool((weights != weights[0]).any()):
            raise ValueError(
                "the training events have different weights, but optimal-transport pairing moves events that count alike;"
                " set pairing to independent"
            )

    def turns(self) -> tuple[Turn, ...]:
        """One: the regression of the velocity."""
        return (Turn("velocity", tuple(self.velocity.parameters()), self.optimiser, self.loss),)

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Weighted mean over the events of the mean squared error of a velocity component.

        The times of a batch are drawn one from each of its `n` equal parts of [0, 1], which is unbiased and varies less.
        """
        x1, n = batch.response, len(batch)
        x0 = torch.randn(x1.shape, generator=generator, device=x1.device, dtype=x1.dtype)
        if self.pairing == "optimal-transport":
            x0 = x0[optimal_pairs(x0, x1, batch.conditions, self.condition_cost)]
        uniform = torch.rand((n, 1), generator=generator, device=x1.device, dtype=x1.dtype)
        parts = torch.randperm(n, generator=generator, device=x1.device)[:, None]
        t = (parts + uniform) / n
        x, target = on_path(self.path, x0, x1, t)
        found = self.velocity(x, t, batch.conditions).float()
        return weighted_mean((found - target).square().mean(1), batch.weights)

    def sample(self, noise: Tensor, conditions: Tensor) -> Tensor:
        """The solution at $t = 1$ from `noise` `(n, d)`."""

        def v(x: Tensor, t: float) -> Tensor:
            velocity: Tensor = self.velocity(x, x.new_full((1, 1), t), conditions)
            return velocity

        return integrate(v, noise if self.temperature == 1 else self.temperature * noise, self.steps, self.solver)


def optimal_pairs(x0: Tensor, x1: Tensor, conditions: Tensor, condition_cost: float) -> Tensor:
    """Rows of `x0` that the rows of `x1` are paired with, `(n,)`, at the least total cost.

    Noise in row $i$ has borrowed the features $c_i$; with the event in row $j$ it costs $|x_{0,i} - x_{1,j}|^2 + \\lambda
    |c_i - c_j|^2$.

    Args:
        x0: noise `(n, d)`.
        x1: events `(n, d)`.
        conditions: features of the events `(n, c)`.
        condition_cost: $\\lambda$.
    """
    cost = torch.cdist(x1, x0).square() + condition_cost * torch.cdist(conditions, conditions).square()
    _, columns = linear_sum_assignment(cost.detach().cpu().numpy())
    return torch.as_tensor(columns, device=x0.device)
