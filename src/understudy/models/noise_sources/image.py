r"""Noise made of the training images themselves (S. Selseng 2017; T. Arici and A. Celikyilmaz 2016, arXiv:1611.06953).

Each training image is averaged over `size` x `size` areas and over its colours (32 x 32 x 3 to 10 x 10 x 3 to 10 x 10), and
these numbers, less their mean over the whole training split and divided by their standard deviation, are the noise with which
a generator is trained on it: the same in every epoch. An area is that of the pixels that it touches, three or four along an
axis of 32; areas overlap where the axis is no multiple of `size`.

Afterwards there is no image to make noise of. It is drawn from the distribution fitted to the training images' noise, a
normal one for each class $k$,

$$z = \mu_k + L_k\, \epsilon, \qquad L_k L_k^T = \frac{n_k S_k + m S}{n_k + m}, \qquad \epsilon \sim N(0, 1),$$

with the class's covariance $S_k$ of $n_k$ images, drawn to that within all classes, $S$, as if by $m$ further images, as many
as there are numbers. The map is linear in $\epsilon$, is exported with the generator, and leaves it standard normal noise as
its input.
"""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor, nn

from understudy.models.base import Batch
from understudy.models.noise_sources.base import NoiseSource
from understudy.networks.grid import ImageShape
from understudy.registry import Given, register

JITTER = 1e-4
"""Variance that is added to each number: pixels that are always black have none."""


@register("noise_sources", "image")
class ImageNoise(NoiseSource):
    """Coarse images of the training split as noise.

    Args:
        size: areas along each axis.
        feature_size: numbers that encode the conditions: one class, as `one-hot`.
        image: channels, rows and columns of the response.

    Raises:
        ValueError: the response is no image, or smaller than `size`.
    """

    mean: Tensor
    scale: Tensor
    centre: Tensor
    root: Tensor

    def __init__(self, *, feature_size: Given[int], image: Given[ImageShape | None] = None, size: PositiveInt = 10) -> None:
        super().__init__()
        if image is None:
            raise ValueError("image noise is made of training images, but the response is no image; leave out noise_source")
        if size > min(image[1:]):
            raise ValueError(f"image noise of {size} x {size} areas needs images as large, not {image[1]} x {image[2]} pixels")
        self.side, self.image, self.size = size, image, size**2
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("centre", torch.zeros(feature_size, self.size))
        self.register_buffer("root", torch.zeros(feature_size, self.size, self.size))

    def coarse(self, response: Tensor) -> Tensor:
        """Averages `(n, size * size)` over areas and colours of images `(n, d)`."""
        areas = nn.functional.adaptive_avg_pool2d(response.float().reshape(-1, *self.image), self.side)
        return areas.mean(1).flatten(1)

    def fit(self, response: Tensor, conditions: Tensor, weights: Tensor | None) -> None:
        """Learn the mean, the standard deviation, and each class's mean and covariance.

        Raises:
            ValueError: weighted events, or features that are no class.
        """
        if weights is not None and bool((weights != weights[0]).any()):
            raise ValueError("image noise counts all training images alike, but these have different weights; use Gaussian noise")
        if not bool((((conditions == 0) | (conditions == 1)).all(1) & (conditions.sum(1) == 1)).all()):
            raise ValueError(
                "image noise is drawn by class; give the model one condition that is a class, as in features: {label: one-hot:10}"
            )
        z = self.coarse(response)
        self._keep(mean=z.mean(), scale=z.std().clamp(min=1e-6))
        z = ((z - self.mean) / self.scale).double()
        classes = conditions.argmax(1)
        centre = torch.zeros(self.centre.shape, dtype=torch.float64)
        for k in range(len(centre)):
            if bool((classes == k).any()):
                centre[k] = z[classes == k].mean(0)
        apart = z - centre[classes]
        within = apart.T @ apart / len(z)
        jitter = JITTER * torch.eye(self.size, dtype=torch.float64)
        roots = []
        for k in range(len(centre)):
            mine = apart[classes == k]
            covariance = (mine.T @ mine + self.size * within) / (len(mine) + self.size)
            roots.append(torch.linalg.cholesky(covariance + jitter))
        self._keep(centre=centre, root=torch.stack(roots))
        self._set_fitted()

    def of_batch(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The noise that belongs to the batch's images, `(n, size * size)`; draws nothing."""
        self._require_fitted()
        return (self.coarse(batch.response) - self.mean) / self.scale

    def forward(self, normal: Tensor, conditions: Tensor) -> Tensor:
        """Noise `(n, size * size)` of the classes in `conditions`."""
        self._require_fitted()
        classes, d = self.root.shape[0], self.size
        by_class = (normal @ self.root.permute(2, 0, 1).reshape(d, classes * d)).reshape(-1, classes, d)
        return conditions @ self.centre + (by_class * conditions[:, :, None]).sum(1)
