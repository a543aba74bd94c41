"""The two lessons of docs/lessons.py: which divergence has a gradient, and what gradient steps make of a game."""

import math
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from understudy.models.objectives.jensen_shannon import JensenShannon
from understudy.models.objectives.wasserstein import Wasserstein

lessons = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "docs" / "lessons.py")))


@pytest.mark.parametrize("theta", [-0.7, -0.01, 0.02, 0.5])
def test_only_the_wasserstein_distance_tells_how_far_two_lines_are_apart(theta):
    _, p, q = lessons.lines(theta)
    assert lessons.jensen_shannon(p, q) == pytest.approx(math.log(2))
    assert lessons.kullback_leibler(p, q) == lessons.kullback_leibler(q, p) == math.inf
    assert lessons.wasserstein(theta) == pytest.approx(abs(theta))


def test_all_of_them_are_zero_where_the_lines_meet():
    _, p, q = lessons.lines(0.0)
    assert lessons.jensen_shannon(p, q) == lessons.kullback_leibler(p, q) == lessons.wasserstein(0.0) == 0


def test_a_perfect_critic_leaves_the_generator_a_gradient_only_in_the_wasserstein_game():
    theta = torch.tensor([0.5], requires_grad=True)
    sure = -200 * (theta - 0.25)  # logits of the optimal critic, nearly: the lines at 0 are real, those at theta are not
    JensenShannon(saturating=True).generator(sure, None).backward()
    assert abs(float(theta.grad)) < 1e-12 * 200
    theta.grad = None
    Wasserstein().generator(-theta.abs(), None).backward()  # the optimal 1-Lipschitz critic is -|x|
    assert float(theta.grad) == 1


def test_simultaneous_steps_leave_the_equilibrium_by_a_known_factor():
    path = lessons.play("simultaneous", step=0.1, steps=50)
    radius = np.hypot(*path.T)
    np.testing.assert_allclose(radius[1:] / radius[:-1], math.sqrt(1 + 0.1**2))


def test_alternating_steps_stay_on_an_ellipse_and_optimistic_ones_arrive():
    x, y = lessons.play("alternating", step=0.1, steps=500).T
    np.testing.assert_allclose(x**2 + y**2 - 0.1 * x * y, 1.0, atol=1e-12)  # what the steps conserve
    assert np.hypot(*lessons.play("optimistic", step=0.1, steps=3000)[-1]) < 1e-4
