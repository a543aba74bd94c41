r"""The conditional latent regressor GAN (Donahue et al. 2016, Zhu et al. 2017; LHCb HCAL thesis, eq. 4.2.5).

$$\min_{G, E} \max_D\; L_\mathrm{GAN}(G, D) + \lambda_z\, E_z\, \| z - E(G(z, c)) \|_1$$

The encoder finds the latent vector, as a point, in what the generator made of it: a generator that ignored its noise would leave
nothing to be found.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from understudy.models.base import Batch, Turn, frozen
from understudy.models.translation import Translation
from understudy.registry import register


@register("models", "clr-gan")
class CLRGAN(Translation):
    """Discriminator, encoder and generator; arguments as `Translation`, with neither `lambda_x` nor `lambda_vae`."""

    DEFAULTS: ClassVar[dict[str, Any]] = {"encoder": "dense", "discriminator": "dense", "lambda_z": 1.0}

    def turns(self) -> tuple[Turn, ...]:
        """The discriminator, the encoder, the generator."""
        return (
            self.discriminator_turn(self.discriminator_loss),
            self.encoder_turn(self.encoder_loss),
            self.generator_turn(self.generator_loss),
        )

    def discriminator_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The game."""
        with torch.no_grad():
            made = self.sample(self.prior(batch, generator), batch.conditions)
        return self.judged(batch, made, generator)

    def encoder_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """How well the latent vector is found."""
        z = self.prior(batch, generator)
        with torch.no_grad():
            made = self.sample(z, batch.conditions)
        return self.latent(batch, z, made)

    def generator_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The game, and how well the latent vector is found."""
        z = self.prior(batch, generator)
        made = self.sample(z, batch.conditions)
        with frozen(self.encoder):
            found = self.latent(batch, z, made)
        return self.fooled(batch, made) + found
