"""Images of cells: where the numbers of a response lie on a grid that strided convolutions can halve and double.

The layers of a calorimeter, all of one shape, are the channels of an image `(n, layers, first, second)`, row-major in the
layers' axes as everywhere. Strides of two need sizes that are a multiple of a power of two: the image lies in the middle
of such a grid, with a border of zeros that a generator crops off and a critic pads with. Pictures that are no calorimeter's
bring their shape themselves, `image_shape`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from understudy.geometry import Calorimeter
from understudy.networks.dense import Init
from understudy.networks.normalisation import VirtualBatchNorm
from understudy.schema import Schema

ROUNDING = 5e-5
"""What two engines in single precision may differ by behind a stack of convolutions, relative to the numbers' spread: each output
is a sum over thousands of products of such sums, and each engine adds them in another order."""

ImageShape = tuple[int, int, int]
"""Channels, rows and columns of an image."""


def image_shape(schema: Schema | None) -> ImageShape | None:
    """Channels, rows and columns of a response that is one image; None for any other."""
    if schema is None or len(schema.response) != 1 or schema.response[0].kind != "image":
        return None
    shape = schema.response[0].shape
    if len(shape) == 2:
        return 1, shape[0], shape[1]
    return (shape[0], shape[1], shape[2]) if len(shape) == 3 else None


@dataclass(frozen=True)
class Grid:
    """An image of cells inside a larger grid.

    Args:
        channels: layers of the calorimeter.
        shape: cells along the two axes.
        start: the coarsest grid.
        doublings: how often it is doubled.
    """

    channels: int
    shape: tuple[int, int]
    start: tuple[int, int]
    doublings: int

    @classmethod
    def of(
        cls,
        geometry: Calorimeter | None,
        doublings: int,
        start: tuple[int, int] | None,
        who: str,
        image: ImageShape | None = None,
    ) -> Grid:
        """The grid of a geometry, or of an `image` without one; the coarsest is the smallest that fits where `start` is None.

        Raises:
            ValueError: neither geometry nor image, layers of different shapes, or a start that is too small.
        """
        if geometry is not None:
            shapes = {layer.shape for layer in geometry.layers}
            if len(shapes) > 1:
                said = ", ".join(f"{layer.name} {layer.shape[0]} x {layer.shape[1]}" for layer in geometry.layers)
                raise ValueError(f"{who} needs layers of one shape, but {geometry.name!r} has {said}; choose a dense network")
            channels, shape, whose = len(geometry.layers), shapes.pop(), f"cells of {geometry.name!r}"
        elif image is not None:
            channels, shape, whose = image[0], (image[1], image[2]), "pixels of the image"
        else:
            raise ValueError(
                f"{who} needs to know where the cells of an image sit; name the geometry in the recipe, or read a response of"
                " kind image"
            )
        factor = 2**doublings
        least = (-(-shape[0] // factor), -(-shape[1] // factor))
        start = start or least
        if start[0] < least[0] or start[1] < least[1]:
            raise ValueError(
                f"{who} starts from {start[0]} x {start[1]} and doubles {doublings} times, which does not cover the"
                f" {shape[0]} x {shape[1]} {whose}; start from {least[0]} x {least[1]} or more"
            )
        return cls(channels, shape, start, doublings)

    @property
    def full(self) -> tuple[int, int]:
        """The finest grid."""
        return self.start[0] * 2**self.doublings, self.start[1] * 2**self.doublings

    @property
    def n_cells(self) -> int:
        """Cells of the image."""
        return self.channels * self.shape[0] * self.shape[1]

    @property
    def border(self) -> tuple[int, int]:
        """Rows and columns of the border before the image; behind it there may be one more."""
        return (self.full[0] - self.shape[0]) // 2, (self.full[1] - self.shape[1]) // 2

    def crop(self, image: Tensor) -> Tensor:
        """`(n, channels, *full)` to cells `(n, n_cells)`."""
        (top, left), (rows, columns) = self.border, self.shape
        return image[:, :, top : top + rows, left : left + columns].flatten(1)

    def pad(self, cells: Tensor) -> Tensor:
        """Cells `(n, n_cells)` to `(n, channels, *full)`, zeros around them."""
        (top, left), (rows, columns) = self.border, self.shape
        image = cells.reshape(-1, self.channels, rows, columns)
        return nn.functional.pad(image, (left, self.full[1] - columns - left, top, self.full[0] - rows - top))


@contextmanager
def unfilled(network: nn.Module, init: Init, rng: torch.Generator | None, layout: torch.memory_format) -> Iterator[None]:
    """Layers made within it take no random numbers from torch; at the end they are drawn from `rng`, in order."""
    with torch.device("meta"):
        yield
    network.to_empty(device="cpu")
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            _draw(layer, init, rng)
        elif isinstance(layer, nn.BatchNorm2d | nn.GroupNorm | VirtualBatchNorm):
            layer.reset_parameters()
    network.to(memory_format=layout)  # type: ignore[call-overload]


def _draw(module: nn.Conv2d | nn.ConvTranspose2d | nn.Linear, init: Init, rng: torch.Generator | None) -> None:
    """Draw the weights of a layer uniformly, as `networks.dense` does, and set its bias to zero.

    The fans are those of one output: a transposed convolution of kernel 4 and stride 2 adds 2 x 2 of its 4 x 4 weights in
    each of them.
    """
    weight = module.weight
    if isinstance(module, nn.Linear):
        fan_in, fan_out = module.in_features, module.out_features
    else:
        area, stride = module.kernel_size[0] * module.kernel_size[1], module.stride[0] * module.stride[1]
        up = isinstance(module, nn.ConvTranspose2d)
        fan_in = module.in_channels * area // (stride if up else 1)
        fan_out = module.out_channels * area // (1 if up else stride)
    bound = (6 / (fan_in + fan_out if init == "glorot-uniform" else max(fan_in, 1))) ** 0.5
    with torch.no_grad():
        weight.uniform_(-bound, bound, generator=rng)
        if module.bias is not None:
            module.bias.zero_()
