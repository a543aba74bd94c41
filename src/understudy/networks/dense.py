"""Dense networks: every neuron sees all of the layer before it.

Hidden layers have one width and one activation; weights start Glorot-uniform and biases at zero, as in Keras (Glorot and
Bengio 2010), whose LeakyReLU has slope 0.3 below zero.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Literal

import torch
from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor, nn

from understudy.registry import Given, register

Activation = Literal["leaky-relu", "relu", "elu", "silu", "gelu", "tanh"]
Output = Literal["linear", "softmax", "sigmoid", "softplus", "relu", "tanh"]
Init = Literal["glorot-uniform", "he-uniform"]

ACTIVATIONS: dict[str, Callable[[float], nn.Module]] = {
    "leaky-relu": nn.LeakyReLU,
    "relu": lambda _: nn.ReLU(),
    "elu": lambda _: nn.ELU(),
    "silu": lambda _: nn.SiLU(),
    "gelu": lambda _: nn.GELU(),
    "tanh": lambda _: nn.Tanh(),
}
OUTPUTS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "softmax": lambda: nn.Softmax(dim=-1),
    "sigmoid": nn.Sigmoid,
    "softplus": nn.Softplus,
    "relu": nn.ReLU,
    "tanh": nn.Tanh,
}
_EXPONENTIAL = ("softmax", "softplus", "sigmoid")


@register("networks", "dense")
class Dense(nn.Module):
    """A multilayer perceptron, `(n, inputs)` to `(n, outputs)`.

    Args:
        inputs: numbers in.
        outputs: numbers out.
        layers: hidden layers; 0 is one linear map.
        width: neurons in each hidden layer.
        activation: after each hidden layer.
        slope: slope of the leaky ReLU below zero.
        output: function of the last layer; `softmax` gives fractions that sum to 1.
        init: `glorot-uniform` draws weights from U(-a, a) with a^2 = 6 / (fan in + fan out), `he-uniform` with a^2 = 6 / fan in.
        layer_norm: normalise each hidden layer before its activation.
        last: factor of the last layer's initial weights; with a small one the output begins near zero.
        rng: draws the initial weights; torch's own generator if None.
    """

    def __init__(
        self,
        *,
        inputs: Given[int],
        outputs: Given[int],
        layers: NonNegativeInt = 3,
        width: PositiveInt = 128,
        activation: Activation = "leaky-relu",
        slope: NonNegativeFloat = 0.3,
        output: Output = "linear",
        init: Init = "glorot-uniform",
        layer_norm: bool = False,
        last: PositiveFloat = 1.0,
        rng: Given[torch.Generator | None] = None,
    ) -> None:
        super().__init__()
        sizes = [inputs, *[width] * layers]
        modules: list[nn.Module] = []
        for before, after in itertools.pairwise(sizes):
            modules.append(linear(before, after, init, rng))
            if layer_norm:
                modules.append(nn.LayerNorm(after))
            modules.append(ACTIVATIONS[activation](slope))
        exact = output in _EXPONENTIAL
        closing = linear(sizes[-1], outputs, init, rng, PreciseLinear if exact else nn.Linear)
        with torch.no_grad():
            closing.weight.mul_(last)
        modules += [closing, OUTPUTS[output]()]
        self.layers = nn.Sequential(*modules)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, inputs)` to `(n, outputs)`."""
        y: Tensor = self.layers(x)
        return y.to(x.dtype)


class PreciseLinear(nn.Linear):
    """A linear map evaluated in double precision, except in training.

    An exponential behind it turns absolute errors of its output into relative ones: with outputs of about ten, the rounding of
    single precision moves a softmax by some 1e-5, and moves it differently in every engine that runs the network.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, in_features)` to `(n, out_features)`: double precision in evaluation, that of `x` in training."""
        if self.training:
            return super().forward(x)
        return nn.functional.linear(x.double(), self.weight.double(), self.bias.double())


def linear(inputs: int, outputs: int, init: Init, rng: torch.Generator | None, kind: type[nn.Linear] = nn.Linear) -> nn.Linear:
    """A linear map with weights drawn by `rng` and biases at zero."""
    layer = kind(inputs, outputs, device="meta").to_empty(device="cpu")
    bound = (6 / (inputs + outputs if init == "glorot-uniform" else max(inputs, 1))) ** 0.5
    with torch.no_grad():
        layer.weight.uniform_(-bound, bound, generator=rng)
        layer.bias.zero_()
    return layer
