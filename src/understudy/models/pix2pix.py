r"""Pix2Pix (Isola et al. 2017, arXiv:1611.07004; LHCb HCAL thesis, eq. 4.2.1).

$$\min_G \max_D\; L_\mathrm{GAN}(G, D) + \lambda_x\, E\, \| x - G(z, c) \|_1$$

The distance is that of a response from one made of any noise: it asks for the median of each cell at the given conditions, and
the published model ended up ignoring its noise. It is here to be compared with.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from understudy.models.base import Batch, Turn
from understudy.models.translation import Translation
from understudy.registry import register


@register("models", "pix2pix")
class Pix2Pix(Translation):
    """Discriminator and generator; arguments as `Translation`, without an encoder."""

    DEFAULTS: ClassVar[dict[str, Any]] = {"discriminator": "dense", "lambda_x": 1.0}

    def turns(self) -> tuple[Turn, ...]:
        """The discriminator, then the generator."""
        return self.discriminator_turn(self.discriminator_loss), self.generator_turn(self.generator_loss)

    def discriminator_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The game."""
        with torch.no_grad():
            made = self.sample(self.prior(batch, generator), batch.conditions)
        return self.judged(batch, made, generator)

    def generator_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The game and the distance to the real response."""
        made = self.sample(self.prior(batch, generator), batch.conditions)
        return self.fooled(batch, made) + self.reconstruction(batch, made)
