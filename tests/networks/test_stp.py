"""The single-track networks of the HCAL thesis."""

from __future__ import annotations

import pytest
import torch

from understudy.geometry import builtin
from understudy.networks.stp import StpCritic, StpGenerator

HCAL = builtin("lhcb-hcal")


def parameters(module):
    return sum(p.numel() for p in module.parameters())


def test_sizes_are_those_of_the_thesis():
    generator = StpGenerator(inputs=35, outputs=3328, geometry=HCAL)
    critic = StpCritic(inputs=3331, outputs=1, geometry=HCAL)
    assert parameters(generator) == 1_688_449
    assert parameters(critic) == 62_657
    made = generator(torch.randn(3, 35))
    assert made.shape == (3, 3328)
    assert bool(((made > 0) & (made < 1)).all())
    assert critic(torch.cat([made, torch.randn(3, 3)], 1)).shape == (3, 1)
    assert generator.grid.full == (56, 64)


def test_a_condition_reaches_the_score_through_every_pixel():
    critic = StpCritic(inputs=3331, outputs=1, geometry=HCAL, rng=torch.Generator().manual_seed(1))
    x = torch.zeros(1, 3331, requires_grad=True)
    (gradient,) = torch.autograd.grad(critic(x).sum(), x)
    assert bool((gradient[0, 3328:] != 0).all())


def test_other_numbers_of_columns_are_refused():
    with pytest.raises(ValueError, match="stp-generator makes the 3328 cells"):
        StpGenerator(inputs=35, outputs=49, geometry=HCAL)
    with pytest.raises(ValueError, match="stp-critic looks at the 3328 cells"):
        StpCritic(inputs=49, outputs=1, geometry=HCAL)
    with pytest.raises(ValueError, match="needs layers of one shape"):
        StpGenerator(inputs=35, outputs=89, geometry=builtin("atlas-em-89"))
