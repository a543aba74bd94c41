r"""What any critic may be given besides its network: spectral norms, random labels, feature matching, patches.

- *Spectral normalisation* (Miyato et al. 2018, arXiv:1802.05957): every weight matrix is divided by its largest singular value,
  so that the critic is 1-Lipschitz behind 1-Lipschitz activations, without the second derivatives of a gradient penalty.
- *Random labels*: in each update a part $p$ of the pairs change sides, so that the critic is never sure.
- *Feature matching* (Salimans et al. 2016, arXiv:1606.03498, section 3.1): the generator does not play the critic's game but
  minimises $\| E f(x) - E f(G(z)) \|_2^2$ of what the critic's last layer is given, $f$.
- *Patches* (Isola et al. 2017, arXiv:1611.07004): a critic with several scores for an event judges parts of it; its losses are
  means over them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from understudy.models.base import weighted_mean
from understudy.models.objectives.base import Objective
from understudy.models.penalties.base import Penalty
from understudy.networks.normalisation import looks_at_the_batch

LAYERS = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def normalise_spectrally(network: nn.Module, rng: torch.Generator | None) -> None:
    """Divide every weight matrix of `network` by its largest singular value, which is found by power iteration in training."""
    layers = [m for m in network.modules() if isinstance(m, LAYERS)]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**62, (), generator=rng)))  # of the first vectors of the iteration
        for layer in layers:
            spectral_norm(layer)


def exchanged(real: Tensor, generated: Tensor, part: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Scores `(n, ...)` of which about `part` have changed sides, row by row."""
    if not part:
        return real, generated
    draws = torch.rand((len(real), *[1] * (real.ndim - 1)), generator=generator, device=real.device)
    changes = draws < part
    return torch.where(changes, generated, real), torch.where(changes, real, generated)


def critic_loss(objective: Objective, real: Tensor, generated: Tensor, weights: Tensor | None) -> Tensor:
    """The objective's loss of the critic for scores `(n,)` or `(n, patches)`, or vectors where it compares pairs."""
    if objective.pairs:
        return objective.critic(real, generated, weights)
    return objective.critic(_flat(real), _flat(generated), _repeated(real, weights))


def generator_loss(objective: Objective, generated: Tensor, weights: Tensor | None) -> Tensor:
    """The objective's loss of the generator for scores `(n,)` or `(n, patches)`."""
    return objective.generator(_flat(generated), _repeated(generated, weights))


def witness(objective: Objective, scores: Tensor, generated: Tensor) -> Tensor:
    """What a penalty takes the gradient of, `(n,)`: scores, their mean over patches, or what the objective makes of vectors."""
    if objective.pairs:
        return objective.witness(scores, generated)
    return scores if scores.ndim == 1 else scores.mean(1)


def _flat(scores: Tensor) -> Tensor:
    return scores if scores.ndim == 1 else scores.T.flatten()


def _repeated(scores: Tensor, weights: Tensor | None) -> Tensor | None:
    return weights if weights is None or scores.ndim == 1 else weights.repeat(scores.shape[1])


def check_penalty(penalty: Penalty | None, critic: nn.Module) -> None:
    """ValueError for a penalty on a critic whose score of an event depends on the others of its batch."""
    if penalty is not None and looks_at_the_batch(critic):
        raise ValueError(
            "a penalty holds for each event by itself, but this critic looks at the whole batch (batch normalisation or"
            " minibatch discrimination); set 'penalty' to null, or leave these out of the critic"
        )


@contextmanager
def hidden(network: nn.Module) -> Iterator[list[Tensor]]:
    """Within it, every pass through `network` appends what its last layer was given, `(n, features)`.

    Raises:
        ValueError: a network without linear maps or convolutions.
    """
    layers = [m for m in network.modules() if isinstance(m, LAYERS)]
    if not layers:
        raise ValueError("features are what the critic's last layer is given, but this critic has no layers; choose another")
    seen: list[Tensor] = []
    handle = layers[-1].register_forward_pre_hook(lambda _, given: seen.append(given[0].flatten(1).float()))
    try:
        yield seen
    finally:
        handle.remove()


def mean_features_apart(real: Tensor, generated: Tensor, weights: Tensor | None) -> Tensor:
    r"""$\| E f(x) - E f(\tilde x) \|_2^2$ of features `(n, features)`; event weights count on both sides."""
    difference = real - generated
    mean = difference.mean(0) if weights is None else (weights[:, None] * difference).mean(0)
    return mean.square().sum()


def features_apart(real: Tensor, generated: Tensor, weights: Tensor | None) -> Tensor:
    r"""$\tfrac12 E \| f(x) - f(\tilde x) \|_2^2$, minus a Gaussian log-likelihood in the critic's features."""
    return weighted_mean(0.5 * (real - generated).square().sum(1), weights)
