r"""Minibatch discrimination (Salimans et al. 2016, arXiv:1606.03498, section 3.2): a critic that sees a whole batch.

Of features $f_i$ of event $i$, $M_i = T f_i$ is a matrix of `kernels` rows, and

$$o_b(i) = \sum_{j \ne i} \exp\big(-\| M_{i,b} - M_{j,b} \|_1\big)$$

tells how many events of the batch are like it: a generator that makes the same event again and again is found out. Real and
generated events are passed in batches of their own. The sum is divided by the number of other events, so that it means the same
in batches of every size; an event alone has zeros.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from understudy.geometry import Calorimeter
from understudy.networks.dense import linear
from understudy.registry import Factory, Given, Part, factory, register

Spec = Factory | str | Mapping[str, Any]


class MinibatchDiscrimination(nn.Module):
    """Features `(n, inputs)` to the closeness of the other events of the batch, `(n, kernels)`.

    Args:
        inputs: features.
        kernels: rows of $M$.
        size: columns of $M$.
        rng: draws the initial weights; torch's own generator if None.
    """

    looks_at_the_batch = True

    def __init__(self, inputs: int, kernels: int, size: int, rng: torch.Generator | None = None) -> None:
        super().__init__()
        self.kernels, self.size = kernels, size
        self.tensor = linear(inputs, kernels * size, "glorot-uniform", rng)

    def forward(self, features: Tensor) -> Tensor:
        """$o(i)$, `(n, kernels)`."""
        n = len(features)
        m = self.tensor(features).float().reshape(n, self.kernels, self.size)
        apart = (m[:, None] - m[None]).abs().sum(3)
        close = (-apart).exp().sum(1) - 1  # less the event itself
        likeness: Tensor = close / max(n - 1, 1)
        return likeness


@register("networks", "minibatch")
class Minibatch(nn.Module):
    """A critic that sees, besides its input, how alike the events of its batch are: any network with more columns.

    Args:
        inputs: numbers in.
        outputs: numbers out.
        network: the critic, from the input and the `kernels` further columns.
        kernels: numbers that tell of likeness.
        size: numbers that are compared for each of them.
        rng: draws the initial weights; torch's own generator if None.
        geometry: where the cells sit, for a network that asks for it.
    """

    def __init__(
        self,
        *,
        inputs: Given[int],
        outputs: Given[int],
        network: Annotated[Spec, Part("networks")] = "dense",
        kernels: PositiveInt = 16,
        size: PositiveInt = 8,
        rng: Given[torch.Generator | None] = None,
        geometry: Given[Calorimeter | None] = None,
    ) -> None:
        super().__init__()
        self.likeness = MinibatchDiscrimination(inputs, kernels, size, rng)
        known: dict[str, Any] = {"inputs": inputs + kernels, "outputs": outputs, "rng": rng, "geometry": geometry}
        self.network: nn.Module = factory("networks", network, "network")(**known)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, inputs)` to `(n, outputs)`."""
        made: Tensor = self.network(torch.cat([x, self.likeness(x).to(x.dtype)], dim=1))
        return made
