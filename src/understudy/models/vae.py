r"""A conditional variational autoencoder (Kingma and Welling 2014, arXiv:1312.6114; LHCb HCAL thesis, section 3.1).

$$\min_{G, E}\; \lambda_x\, E_{z \sim q(z \mid x)}\, \| x - G(z, c) \| + \lambda_\mathrm{VAE}\, KL(q(z \mid x)\, \|\, N(0, 1))$$

is, for $\lambda_x = \lambda_\mathrm{VAE} = 1$, an upper bound of minus the log-likelihood: the cells follow Laplace (`l1`) or
Gaussian (`l2`) distributions of unit width about $G(z, c)$. A sample is $G(z, c)$ itself, without that width.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor

from understudy.models.base import Batch, Turn
from understudy.models.translation import Translation, reparametrised
from understudy.registry import register


@register("models", "vae")
class VAE(Translation):
    """Encoder and generator, trained together; arguments as `Translation`, without those of a discriminator."""

    DEFAULTS: ClassVar[dict[str, Any]] = {"encoder": "dense", "lambda_x": 1.0, "lambda_vae": 1.0}

    def turns(self) -> tuple[Turn, ...]:
        """One."""
        if self.distance == "features":
            raise ValueError("a VAE has no discriminator in whose features a distance could be taken; choose l1 or l2")
        both = (*self.encoder.parameters(), *self.generator.parameters())
        return (Turn("vae", both, self.generator_optimiser, self.loss),)

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """Distance of the reconstruction, and divergence of the latent vector."""
        mean, log_variance = self.encoded(batch.response)
        made = self.sample(reparametrised(mean, log_variance, generator), batch.conditions)
        return self.reconstruction(batch, made) + self.divergence(batch, mean, log_variance)
