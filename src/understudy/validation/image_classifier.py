r"""A small convolutional classifier of pictures, trained on real ones: the eyes with which generated ones are looked at.

Two or three convolutions with batch normalisation and pooling, then `FEATURES` numbers, which are the feature space of
`neighbourhoods.py`, and from them the classes. It is trained on shifted copies (by up to two pixels), so that it looks for
shapes. What it says of real pictures that it has not seen is the floor of all its answers.
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from torch import Tensor, nn

from understudy.schema import Array

FEATURES = 64
SHIFT = 2
"""Pixels by which a training picture is shifted at most, along each axis."""
BATCH = 64
CHUNK = 500


class ImageClassifier:
    """A trained classifier.

    Args:
        images: `(n, channels, rows, columns)`, pixels from 0 to 1.
        labels: classes from 0, `(n,)`.
        generator: of first weights, order and shifts.
        epochs: passes through the images.
        widths: channels of the convolutions, each on a grid half as fine as the one before.

    Raises:
        ValueError: fewer than two classes.
    """

    def __init__(
        self, images: Array, labels: Array, generator: np.random.Generator, epochs: int = 8, widths: tuple[int, ...] = (32, 64)
    ) -> None:
        self.classes = int(labels.max()) + 1
        if len(np.unique(labels)) < 2:
            raise ValueError("a classifier of pictures needs training images of two classes or more")
        rng = torch.Generator().manual_seed(int(generator.integers(2**62)))
        self.mean, self.scale = float(images.mean()), max(float(images.std()), 1e-6)
        self.net = _network(images.shape[1:], widths, self.classes, rng)
        optimiser = torch.optim.AdamW(self.net.parameters(), lr=3e-3, weight_decay=1e-2)
        steps = epochs * -(-len(images) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
        y = torch.from_numpy(np.array(labels, np.int64))
        for _ in range(epochs):
            for rows in torch.randperm(len(images), generator=rng).split(BATCH):  # type: ignore[no-untyped-call]
                x = shifted(self._standardised(images[rows.numpy()]), rng)
                loss = nn.functional.cross_entropy(self.net(x), y[rows])
                optimiser.zero_grad(set_to_none=True)
                loss.backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
        self.net.eval()

    def __call__(self, images: Array) -> tuple[Array, Array]:
        """Features `(n, FEATURES)` and classes `(n,)` of images `(n, channels, rows, columns)`."""
        features, classes = [], []
        with torch.inference_mode():
            for start in range(0, len(images), CHUNK):
                seen = self.net[:-1](self._standardised(images[start : start + CHUNK]))
                features.append(seen.numpy())
                classes.append(self.net[-1](seen).argmax(1).numpy())
        return np.concatenate(features).astype(np.float64), np.concatenate(classes)

    def _standardised(self, images: Array) -> Tensor:
        return torch.from_numpy((images - self.mean) / np.float32(self.scale)).contiguous(memory_format=torch.channels_last)


def shifted(x: Tensor, rng: torch.Generator) -> Tensor:
    """A batch of images `(n, c, rows, columns)` shifted together at random, their border repeated."""
    down, across = (int(torch.randint(-SHIFT, SHIFT + 1, (), generator=rng)) for _ in range(2))
    padded = nn.functional.pad(x, (SHIFT, SHIFT, SHIFT, SHIFT), mode="replicate")
    rows, columns = x.shape[2:]
    return padded[:, :, SHIFT + down : SHIFT + down + rows, SHIFT + across : SHIFT + across + columns]


def _network(shape: tuple[int, ...], widths: tuple[int, ...], classes: int, rng: torch.Generator) -> nn.Sequential:
    channels, rows, columns = shape
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise((channels, *widths)):
        layers += [nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.ReLU(), nn.MaxPool2d(2, ceil_mode=True)]
        rows, columns = -(-rows // 2), -(-columns // 2)
    layers += [nn.Flatten(), nn.Linear(widths[-1] * rows * columns, FEATURES), nn.ReLU(), nn.Linear(FEATURES, classes)]
    for layer in layers:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu", generator=rng)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return nn.Sequential(*layers).to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]
