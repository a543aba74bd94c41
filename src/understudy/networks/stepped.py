r"""A multilayer perceptron whose first layer has steps in the conditions, for responses that change abruptly.

$$h = a\Big(W x + b + \sum_j T_j\big[k(c_j)\big]\Big), \qquad T_j[k] = \sum_{i \le k} S_{j,i}, \quad
k(c) = \Big\lfloor \frac{c + B}{2 B} N \Big\rfloor:$$

beside the linear map each condition has a table of $N$ equal bins between $-B$ and $B$ (of standardised features), whose entries
are learned as steps $S$ from one bin to the next. It is the same as giving the network $N$ threshold functions of each condition,
as piecewise encodings of numbers do (Gorishniy et al. 2022, arXiv:2203.05556), at the cost of looking up one row. A detector that
changes at an edge in $\eta$ is then learned as sharply as the bins are narrow, without being told where the edge is; between the
edges the steps are nearly zero and the network is smooth.
"""

from __future__ import annotations

import itertools
from typing import Annotated

import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor, nn

from understudy.networks.dense import ACTIVATIONS, Activation, linear
from understudy.registry import Given, register


@register("networks", "stepped")
class Stepped(nn.Module):
    """`(n, inputs)` to `(n, outputs)`, with steps in the columns `labels` of the input.

    Args:
        inputs: numbers in, the encoded conditions among them.
        outputs: numbers out.
        labels: first and last-but-one column of the encoded conditions.
        layers: hidden layers.
        width: neurons in each.
        activation: after each hidden layer.
        steps: $N$, bins of each condition.
        bound: $B$, where the bins end; what lies beyond counts to the last one.
        rng: draws the initial weights; torch's own generator if None.
    """

    def __init__(
        self,
        *,
        inputs: Given[int],
        outputs: Given[int],
        labels: Given[tuple[int, int]] = (0, 0),
        layers: Annotated[int, Field(ge=1, le=8)] = 2,
        width: PositiveInt = 64,
        activation: Activation = "silu",
        steps: Annotated[int, Field(ge=2, le=4096)] = 256,
        bound: PositiveFloat = 2.0,
        rng: Given[torch.Generator | None] = None,
    ) -> None:
        super().__init__()
        self.columns = range(*labels)
        self.number, self.bound = steps, bound
        self.first = linear(inputs, width, "glorot-uniform", rng)
        self.steps = nn.Parameter(torch.zeros(len(self.columns), steps, width))
        sizes = [width] * layers
        self.hidden = nn.ModuleList(linear(i, o, "glorot-uniform", rng) for i, o in itertools.pairwise(sizes))
        self.last = linear(width, outputs, "glorot-uniform", rng)
        self.activation = ACTIVATIONS[activation](0.2)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, inputs)` to `(n, outputs)`."""
        h = self.first(x)
        for j, column in enumerate(self.columns):
            h = h + nn.functional.embedding(self.bins(x[:, column]), self.steps[j].cumsum(0))
        h = self.activation(h)
        for layer in self.hidden:
            h = self.activation(layer(h))
        y: Tensor = self.last(h)
        return y

    def bins(self, feature: Tensor) -> Tensor:
        """The bin of each value, `(n,)`."""
        place = (feature + self.bound) * (self.number / (2 * self.bound))
        return place.clamp(0, self.number - 1).long()
