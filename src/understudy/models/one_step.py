r"""From noise to a response in one pass of a network, or in a few passes one after the other.

$$x_0 = z, \qquad x_1 = [z +]\; F_1(z, c), \qquad x_{k+1} = x_k + F_{k+1}(x_k, c),$$

where $z$ is added (`residual`) if noise and response are equally long: between normal scores the map from noise to response is
near the identity, and only the rest has to be learned. Every step has a network of its own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from understudy.geometry import Calorimeter
from understudy.models.base import Spec
from understudy.networks.rectified import Rectified
from understudy.registry import factory


class OneStep(nn.Module):
    """Noise `(n, noise_size)` and features `(n, c)` to a response `(n, d)`.

    Args:
        network: from noise and features, side by side, to the response.
        feature_size: numbers that encode the conditions, c.
        response_size: numbers in the response, d.
        noise: length of the noise that the first network is given.
        steps: passes, each through a network of its own.
        residual: add the noise to what the first network gives; if None, where noise and response are equally long.
        rng: draws the initial weights; torch's own generator if None.
        geometry: where the response's cells sit, for a network that asks for it.

    Raises:
        ValueError: `residual` with noise of another length than the response's, or a network with noise of its own in more than
            one step.
    """

    def __init__(
        self,
        network: Spec,
        *,
        feature_size: int,
        response_size: int,
        noise: int,
        steps: int = 1,
        residual: bool | None = None,
        rng: torch.Generator | None = None,
        geometry: Calorimeter | None = None,
    ) -> None:
        super().__init__()
        if residual:
            check_residual(noise, response_size)
        build = factory("networks", network, "network")
        known: dict[str, Any] = {"outputs": response_size, "noise": noise, "rng": rng, "geometry": geometry}
        sizes = [noise, *[response_size] * (steps - 1)]
        self.networks = nn.ModuleList(
            build(inputs=size + feature_size, labels=(size, size + feature_size), **known) for size in sizes
        )
        own = int(getattr(self.networks[0], "own_noise", 0))
        if own and (steps > 1 or residual):
            raise ValueError(f"the network {build.kind!r} draws noise of its own; take one step with it, without 'residual'")
        self.residual = noise == response_size and not own if residual is None else residual
        self.noise_size = noise + own

    def forward(self, noise: Tensor, features: Tensor) -> Tensor:
        """The response `(n, d)`."""
        first, *others = self.networks
        made: Tensor = first(torch.cat([noise, features], dim=1))
        x = noise + made if self.residual else made
        for network in others:
            x = x + network(torch.cat([x, features], dim=1))
        return x

    def start(self, response: Tensor) -> None:
        """Let a network that can begin near the average response do so."""
        if isinstance(self.networks[0], Rectified):
            self.networks[0].start(response)


def check_residual(noise: int, response_size: int) -> None:
    """ValueError unless noise and response are equally long, so that one can be added to the other."""
    if noise != response_size:
        raise ValueError(
            f"'residual' adds the noise to the response, but there are {noise} numbers of noise and {response_size} of the"
            " response; make them as many, or leave it out"
        )
