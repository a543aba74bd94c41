r"""The VAE-GAN (Larsen et al. 2016, arXiv:1512.09300; LHCb HCAL thesis, eqs. 4.2.3 and 4.2.4).

$$L_\mathrm{GAN}(G, D[, E]) + \lambda_x L_1^x(G, E) + \lambda_\mathrm{VAE} L_\mathrm{VAE}(E)$$

The generator is an autoencoder's decoder and a GAN's generator at once. In the first `form`, `prior`, the discriminator is shown
images from the prior; in the second, `both`, encoded ones too. The encoder does not play the game: it learns from the distance
and the divergence, as in the published algorithm.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from understudy.models.base import Batch, Turn, frozen
from understudy.models.translation import Translation, reparametrised
from understudy.registry import register


@register("models", "vae-gan")
class VAEGAN(Translation):
    """Discriminator, encoder and generator; arguments as `Translation`, without `lambda_z`."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "encoder": "dense",
        "discriminator": "dense",
        "lambda_x": 1.0,
        "lambda_vae": 1.0,
        "form": "both",
    }

    def turns(self) -> tuple[Turn, ...]:
        """The discriminator, the encoder, the generator."""
        return (
            self.discriminator_turn(self.discriminator_loss),
            self.encoder_turn(self.encoder_loss),
            self.generator_turn(self.generator_loss),
        )

    def reconstructed(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """$G(z, c)$ with $z$ of the real response, `(n, d)`."""
        return self.sample(reparametrised(*self.encoded(batch.response), generator), batch.conditions)

    def discriminator_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The game, on images from the prior and, in its second form, on encoded ones."""
        with torch.no_grad():
            made = self.sample(self.prior(batch, generator), batch.conditions)
            encoded = self.reconstructed(batch, generator) if self.form == "both" else None
        loss = self.judged(batch, made, generator)
        return loss if encoded is None else 0.5 * (loss + self.judged(batch, encoded, generator))

    def encoder_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The distance of the reconstruction and the divergence."""
        mean, log_variance = self.encoded(batch.response)
        with frozen(self.generator):
            made = self.sample(reparametrised(mean, log_variance, generator), batch.conditions)
            return self.reconstruction(batch, made) + self.divergence(batch, mean, log_variance)

    def generator_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The game and the distance of the reconstruction."""
        made = self.sample(self.prior(batch, generator), batch.conditions)
        with torch.no_grad():
            z = reparametrised(*self.encoded(batch.response), generator)
        encoded = self.sample(z, batch.conditions)
        game = self.fooled(batch, made)
        if self.form == "both":
            game = 0.5 * (game + self.fooled(batch, encoded))
        return game + self.reconstruction(batch, encoded)
