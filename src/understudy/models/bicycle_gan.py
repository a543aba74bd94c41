r"""BicycleGAN (Zhu et al. 2017, arXiv:1711.11586; LHCb HCAL thesis, eq. 4.2.6): VAE-GAN and cLR-GAN in one.

$$\min_{G, E} \max_D\; L_\mathrm{GAN}(G, D, E) + \lambda_x L_1^x(G, E) + \lambda_z L_1^z(G, E)
+ \lambda_\mathrm{VAE} L_\mathrm{VAE}(E)$$

One cycle goes $x \to z \to x$, the other $z \to x \to z$. As published, the encoder learns from the first cycle alone: if both
networks learned from the second they could agree to hide the latent vector in the image. Three turns: the discriminator, the
encoder, the generator. One discriminator judges both kinds of images, as in the thesis.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from understudy.models.base import Batch, frozen
from understudy.models.translation import reparametrised
from understudy.models.vae_gan import VAEGAN
from understudy.registry import register


@register("models", "bicycle-gan")
class BicycleGAN(VAEGAN):
    """Discriminator, encoder and generator; arguments as `Translation`, the weights by default those of the thesis."""

    DEFAULTS: ClassVar[dict[str, Any]] = {
        "encoder": "dense",
        "discriminator": "dense",
        "lambda_x": 0.5,
        "lambda_z": 1.0,
        "lambda_vae": 0.1,
        "form": "both",
    }

    def encoder_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The first cycle: its distance and divergence, and the game on the image that it leads to."""
        mean, log_variance = self.encoded(batch.response)
        with frozen(self.generator):
            made = self.sample(reparametrised(mean, log_variance, generator), batch.conditions)
            loss = self.reconstruction(batch, made) + self.divergence(batch, mean, log_variance)
            return loss + 0.5 * self.fooled(batch, made) if self.form == "both" else loss

    def generator_loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Both cycles."""
        z = self.prior(batch, generator)
        made = self.sample(z, batch.conditions)
        with frozen(self.encoder):
            found = self.latent(batch, z, made)
        with torch.no_grad():
            posterior = reparametrised(*self.encoded(batch.response), generator)
        encoded = self.sample(posterior, batch.conditions)
        game = self.fooled(batch, made)
        if self.form == "both":
            game = 0.5 * (game + self.fooled(batch, encoded))
        return game + self.reconstruction(batch, encoded) + found
