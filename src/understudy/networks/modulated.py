r"""A dense network whose hidden neurons the conditions turn up and down.

$$h_k = \big[1 + s_k(c)\big] \odot a(W_k h_{k-1} + b_k), \qquad h_0 = (z, c),$$

with gains $s_k$ that a small network gives at the conditions $c$ (feature-wise modulation, E. Perez et al., AAAI 2018). What
the noise moves together depends on the conditions: the cells that hold most of a shower's energy follow its impact point. A
product of noise and conditions says so with a few neurons, which a plain dense network has to piece together.
"""

from __future__ import annotations

import itertools

import torch
from pydantic import NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from understudy.networks.dense import ACTIVATIONS, Activation, Init, linear
from understudy.registry import Given, register


@register("networks", "modulated")
class Modulated(nn.Module):
    """Noise and features, side by side, `(n, inputs)` to `(n, outputs)`.

    Args:
        inputs: numbers of noise and features together.
        outputs: numbers out.
        noise: numbers of noise, which come first; ValueError unless features come behind it.
        layers: hidden layers.
        width: neurons in each hidden layer.
        gain_width: hidden neurons of the network that gives the gains.
        activation: after each hidden layer.
        slope: slope of the leaky ReLU below zero.
        init: as of a dense network.
        last: factor of the last layer's initial weights; with a small one the output begins near zero.
        rng: draws the initial weights; torch's own generator if None.
    """

    def __init__(
        self,
        *,
        inputs: Given[int],
        outputs: Given[int],
        noise: Given[int],
        layers: PositiveInt = 2,
        width: PositiveInt = 256,
        gain_width: PositiveInt = 64,
        activation: Activation = "leaky-relu",
        slope: NonNegativeFloat = 0.2,
        init: Init = "glorot-uniform",
        last: PositiveFloat = 1.0,
        rng: Given[torch.Generator | None] = None,
    ) -> None:
        super().__init__()
        if inputs <= noise:
            raise ValueError(
                f"the network 'modulated' follows conditions, but of its {inputs} inputs {noise} are noise and none are features;"
                " choose 'dense', or name the stage's features"
            )
        self.noise, self.width = noise, width
        sizes = [inputs, *[width] * layers]
        self.hidden = nn.ModuleList(linear(before, after, init, rng) for before, after in itertools.pairwise(sizes))
        self.activation = ACTIVATIONS[activation](slope)
        self.gains = nn.Sequential(
            linear(inputs - noise, gain_width, init, rng), nn.SiLU(), linear(gain_width, layers * width, init, rng)
        )
        self.last = linear(width, outputs, init, rng)
        with torch.no_grad():
            self.last.weight.mul_(last)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, inputs)` to `(n, outputs)`."""
        gains = self.gains(x[:, self.noise :])
        h = x
        for number, layer in enumerate(self.hidden):
            h = self.activation(layer(h)) * (1 + gains[:, number * self.width : (number + 1) * self.width])
        y: Tensor = self.last(h)
        return y.to(x.dtype)
