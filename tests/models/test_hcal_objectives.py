"""Divergences that generator and critic may play for, at the critic's optimum, against their closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from understudy.models.objectives.jensen_shannon import JensenShannon
from understudy.models.objectives.kullback_leibler import KullbackLeibler
from understudy.models.objectives.vanilla import Vanilla

P, Q = np.array([0.7, 0.2, 0.1]), np.array([0.1, 0.3, 0.6])


def kl(p, q):
    return float((p * np.log(p / q)).sum())


def scores(prior=0.5):
    """The best critic's logits on real and generated events, in numbers as the two densities say."""
    n = 1000
    logits = torch.tensor(np.log(prior * P / ((1 - prior) * Q)))
    real, generated = (torch.repeat_interleave(logits, torch.tensor((n * d).round().astype(int))) for d in (P, Q))
    return real, generated


@pytest.mark.parametrize("prior", [0.1, 0.5, 0.8])
def test_the_critics_optimum_is_the_divergence(prior):
    real, generated = scores(prior)
    m = prior * P + (1 - prior) * Q
    divergence = prior * kl(P, m) + (1 - prior) * kl(Q, m)
    entropy = -prior * np.log(prior) - (1 - prior) * np.log(1 - prior)
    loss = JensenShannon(prior).critic(real, generated, None)
    assert float(loss) == pytest.approx(2 * (entropy - divergence), rel=1e-6)


def test_small_priors_tend_to_the_forward_divergence_and_large_ones_to_the_reverse():
    for prior, limit in ((1e-5, kl(P, Q)), (1 - 1e-5, kl(Q, P))):
        m = prior * P + (1 - prior) * Q
        divergence = prior * kl(P, m) + (1 - prior) * kl(Q, m)
        assert divergence / min(prior, 1 - prior) == pytest.approx(limit, rel=1e-3)


def test_the_generators_gradient_vanishes_where_the_critic_is_sure_only_if_saturating():
    sure = torch.tensor([-12.0], requires_grad=True)
    for saturating, least, most in ((True, 0.0, 1e-4), (False, 0.9, 1.1)):
        (gradient,) = torch.autograd.grad(JensenShannon(saturating=saturating).generator(sure, None), sure)
        assert least <= abs(float(gradient)) <= most


def test_the_non_saturating_form_at_even_prior_is_the_first_gan():
    real, generated = torch.randn(50), torch.randn(50)
    weights = torch.rand(50)
    mine, theirs = JensenShannon(0.5, saturating=False), Vanilla()
    assert float(mine.critic(real, generated, weights)) == pytest.approx(float(theirs.critic(real, generated, weights)), rel=1e-6)
    assert float(mine.generator(generated, weights)) == pytest.approx(float(theirs.generator(generated, weights)), rel=1e-6)


def test_the_kullback_leibler_generator_minimises_the_reverse_divergence():
    _, generated = scores()
    assert float(KullbackLeibler().generator(generated, None)) == pytest.approx(kl(Q, P), rel=1e-6)
