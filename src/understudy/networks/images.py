"""What networks from image to image have in common: where the columns of their input lie, and the reference batch.

Models hand a network its input as columns, `(n, inputs)`: noise first, then images of the geometry's cells one after the other,
then further numbers. Inside, images are channels `(n, channels, rows, columns)` on the grid of `networks.grid`; noise and
further numbers are the same in all its cells, as the LHCb HCAL thesis gives its latent vector to the generator.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from understudy.geometry import Calorimeter
from understudy.networks.dense import Init
from understudy.networks.grid import ROUNDING, Grid, unfilled
from understudy.networks.normalisation import VirtualBatchNorm

REFERENCE = 32
"""Events in a reference batch of virtual batch normalisation, at most."""


class ImageNetwork(nn.Module, ABC):
    """A network of images; a subclass says what it makes of them in `passed`.

    Args:
        inputs: numbers in: `noise`, one image or more, and what is left over.
        noise: numbers before the first image.
        geometry: layers of one shape, the channels of an image.
        doublings: how often the grid can be halved.
        who: the network, named in errors.
        virtual: whether a reference batch, the first batch that is trained on, passes along with every batch.

    Raises:
        ValueError: no geometry, one that is no stack of equal grids, or no image among the columns.
    """

    rounding = ROUNDING
    chosen: Tensor

    def __init__(
        self, inputs: int, noise: int, geometry: Calorimeter | None, doublings: int, who: str, virtual: bool = False
    ) -> None:
        super().__init__()
        self.grid = Grid.of(geometry, doublings, None, who)
        self.noise, self.virtual = noise, virtual
        self.images, self.further = divmod(inputs - noise, self.grid.n_cells)
        if self.images < 1:
            raise ValueError(
                f"{who} works on images of {self.grid.n_cells} cells, but is given {inputs - noise} numbers besides {noise} of"
                " noise; encode a condition that is an image, and choose transforms that keep the cells"
            )
        if virtual:
            self.register_buffer("reference", torch.zeros(REFERENCE, inputs))
            self.register_buffer("chosen", torch.zeros((), dtype=torch.int64))

    reference: Tensor

    @property
    def channels(self) -> int:
        """Channels of `unpacked`."""
        return self.noise + self.images * self.grid.channels + self.further

    @contextmanager
    def layers(self, init: Init, rng: torch.Generator | None, channels_last: bool) -> Any:
        """Layers made within it are filled from `rng` at the end; buffers of this class survive."""
        kept = {name: b.clone() for name, b in self.named_buffers()}
        with unfilled(self, init, rng, torch.channels_last if channels_last else torch.contiguous_format):
            yield
        for name, values in kept.items():
            self.get_buffer(name).copy_(values)

    def forward(self, x: Tensor) -> Tensor:
        """Map `(n, inputs)` to the network's output, float32."""
        if not (self.virtual and self.training):
            return self.passed(x).to(x.dtype)
        rows = min(len(x), REFERENCE)
        if not bool(self.chosen):
            self.reference[:rows] = x[:rows].detach()
            self.chosen.fill_(rows)
        known = int(self.chosen)
        for layer in self.modules():
            if isinstance(layer, VirtualBatchNorm):
                layer.reference = known
        return self.passed(torch.cat([self.reference[:known].to(x.dtype), x]))[known:].to(x.dtype)

    @abstractmethod
    def passed(self, x: Tensor) -> Tensor:
        """What becomes of `(n, inputs)`."""

    def cells(self, x: Tensor) -> Tensor:
        """All images among the columns, on the grid: `(n, images, *full)`."""
        size = self.grid.n_cells
        parts = [self.grid.pad(x[:, self.noise + i * size : self.noise + (i + 1) * size]) for i in range(self.images)]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def numbers(self, x: Tensor) -> Tensor:
        """Noise and further numbers, `(n, noise + further)`."""
        return torch.cat([x[:, : self.noise], x[:, self.noise + self.images * self.grid.n_cells :]], dim=1)

    def unpacked(self, x: Tensor) -> Tensor:
        """All that is given as channels `(n, channels, *full)`, numbers the same in all cells."""
        images = self.cells(x)
        if self.noise + self.further == 0:
            return images
        return torch.cat([images, spread(self.numbers(x), images)], dim=1)


def convolved(layer: nn.Conv2d, images: Tensor, numbers: Tensor, pad: tuple[int, int, int, int] = (0, 0, 0, 0)) -> Tensor:
    """What `layer` makes of images and of numbers that are the same in all cells, which are its last input channels.

    A convolution of constant channels is linear in their numbers, with images that depend on the weights alone: one
    convolution for a whole batch and a product of matrices stand for `k` channels of each event.

    Args:
        layer: a convolution of as many channels as `images` has, and `numbers`.
        images: `(n, channels, rows, columns)`.
        numbers: `(n, k)`.
        pad: zeros around images and constants besides the layer's own, as `torch.nn.functional.pad` takes them.
    """
    known, weight = images.shape[1], layer.weight
    padded = nn.functional.pad(images, pad) if any(pad) else images
    made = nn.functional.conv2d(padded, weight[:, :known], layer.bias, layer.stride, layer.padding)
    if not numbers.shape[1]:
        return made
    one = nn.functional.pad(weight.new_ones(1, 1, *images.shape[2:]), pad)
    each = weight[:, known:].transpose(0, 1).reshape(-1, 1, *weight.shape[2:])  # of each number, then of each channel out
    answers = nn.functional.conv2d(one, each, None, layer.stride, layer.padding).reshape(numbers.shape[1], -1)
    return made + (numbers.to(answers.dtype) @ answers).reshape(-1, *made.shape[1:])


def spread(numbers: Tensor, images: Tensor) -> Tensor:
    """Numbers `(n, k)` as channels `(n, k, rows, columns)` that are the same in all cells of `images`."""
    return numbers[:, :, None, None].expand(-1, -1, images.shape[2], images.shape[3])
