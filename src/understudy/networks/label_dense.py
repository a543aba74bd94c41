r"""A multilayer perceptron that is told the label at every layer.

$$h_1 = a(W_1 [x, c] + b_1), \qquad h_{k+1} = a(W_{k+1} [h_k, c] + b_{k+1}), \qquad y = W h_K + b:$$

the encoded conditions $c$ stand beside the input of every hidden layer, so that a deep network does not lose them on the way
(after Reed et al. 2016, arXiv:1605.05396; used for the electron response of Delphes in a Cambridge Part III report of 2018).
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from understudy.networks.dense import ACTIVATIONS, OUTPUTS, Activation, Init, Output, linear
from understudy.registry import Given, register


@register("networks", "label-dense")
class LabelDense(nn.Module):
    """`(n, inputs)` to `(n, outputs)`; the columns `labels` of the input are seen by every hidden layer.

    Args:
        inputs: numbers in, the label among them.
        outputs: numbers out.
        labels: first and last-but-one column of the label.
        widths: neurons of each hidden layer.
        activation: after each hidden layer.
        slope: slope of the leaky ReLU below zero.
        output: function of the last layer, which does not see the label again.
        init: see `dense`.
        rng: draws the initial weights; torch's own generator if None.
    """

    def __init__(
        self,
        *,
        inputs: Given[int],
        outputs: Given[int],
        labels: Given[tuple[int, int]] = (0, 0),
        widths: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (128, 128),
        activation: Activation = "leaky-relu",
        slope: NonNegativeFloat = 0.2,
        output: Output = "linear",
        init: Init = "glorot-uniform",
        rng: Given[torch.Generator | None] = None,
    ) -> None:
        super().__init__()
        self.labels = labels
        more = labels[1] - labels[0]
        before = [inputs, *(width + more for width in widths[:-1])]
        self.hidden = nn.ModuleList(linear(i, o, init, rng) for i, o in zip(before, widths, strict=True))
        self.activation = ACTIVATIONS[activation](slope)
        self.last = linear(widths[-1], outputs, init, rng)
        self.output = OUTPUTS[output]()

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, inputs)` to `(n, outputs)`."""
        label = x[:, self.labels[0] : self.labels[1]]
        first, *others = self.hidden
        h = self.activation(first(x))
        for layer in others:
            h = self.activation(layer(torch.cat([h, label], dim=1)))
        y: Tensor = self.output(self.last(h))
        return y
