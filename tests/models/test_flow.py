import pytest
import torch
from zuko.flows import NSF

from understudy.models.base import Batch
from understudy.models.flow import Flow, deal
from understudy.registry import factory
from understudy.training.players import learning_rate


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def a_flow(features=2, size=5, **arguments):
    return Flow(feature_size=features, response_size=size, rng=generator(), **{"hidden": (32, 32), "transforms": 3} | arguments)


def inputs(flow, n=200, features=2, dtype=torch.float32):
    g = generator(1)
    z = 1.5 * torch.randn(n, flow.noise_size, generator=g, dtype=dtype)
    return z, torch.randn(n, features, generator=g, dtype=dtype)


def zukos(flow, c):
    """zuko's own composition of the same transforms."""
    from zuko.transforms import ComposedTransform

    return ComposedTransform(*(layer(c) for layer in flow.layers))


@pytest.mark.parametrize(("size", "passes"), [(1, 2), (2, 2), (5, 2), (5, 3), (5, 9), (16, 4)])
def test_it_is_sampled_as_zuko_would(size, passes):
    flow = a_flow(size=size, passes=passes).double()
    z, c = inputs(flow, dtype=torch.float64)
    with torch.no_grad():
        x = flow.sample(z, c)
        torch.testing.assert_close(x, zukos(flow, c).inv(z), atol=1e-9, rtol=1e-9)
        torch.testing.assert_close(flow.whiten(x, c)[0], z, atol=1e-9, rtol=1e-9)


def test_knots_and_tails_are_those_of_zuko():
    flow = a_flow(bound=1.0).double()
    z, c = inputs(flow, 2000, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(flow.sample(3 * z, c), zukos(flow, c).inv(3 * z), atol=1e-9, rtol=1e-9)


def test_in_single_precision_sampling_inverts_whitening():
    flow = a_flow()
    z, c = inputs(flow)
    with torch.no_grad():
        torch.testing.assert_close(flow.whiten(flow.sample(z, c), c)[0], z, atol=1e-4, rtol=1e-4)


def test_the_log_density_against_the_determinant_of_autograd():
    flow = a_flow(size=4).double()
    x, c = inputs(flow, 20, dtype=torch.float64)
    jacobians = torch.stack(
        [
            torch.autograd.functional.jacobian(lambda y, r=r: flow.whiten(y, c[r : r + 1])[0], x[r : r + 1])[0, :, 0]
            for r in range(20)
        ]
    )
    z, log_slope = flow.whiten(x, c)
    torch.testing.assert_close(log_slope, jacobians.det().abs().log())
    expected = torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1) + log_slope
    torch.testing.assert_close(flow.log_prob(x, c), expected)


def test_with_maps_of_splines_alone_the_orders_are_those_of_zukos_flow():
    """As many passes as numbers: natural and reversed order in turn, as in a masked autoregressive flow."""
    theirs = NSF(5, 2, transforms=3)
    for layer, k in zip(theirs.transform.transforms, range(3), strict=True):
        assert torch.equal(layer.order, deal(5, 5, k))


@pytest.mark.parametrize(("size", "passes"), [(2, 2), (3, 2), (9, 2), (900, 2), (900, 5), (7, 3), (30, 30)])
def test_any_two_columns_are_in_two_groups_in_some_transform(size, passes):
    together = torch.ones(size, size, dtype=torch.bool)
    for k in range(24):
        group = deal(size, passes, k)
        numbers = group.bincount(minlength=passes)
        assert len(numbers) == passes
        assert int(numbers.max() - numbers.min()) <= 1
        together &= group[:, None] == group
    assert torch.equal(together, torch.eye(size, dtype=torch.bool))


def taught(flow, x, c, weights=None, updates=400, size=256):
    g = generator(3)
    (turn,) = flow.turns()
    rule = turn.optimiser
    optimiser = rule.build(turn.parameters)
    for step in range(updates):
        optimiser.param_groups[0]["lr"] = 2 * learning_rate(rule, step, updates)
        i = torch.randint(len(x), (size,), generator=g)
        optimiser.zero_grad()
        turn.loss(Batch(x[i], c[i], None if weights is None else weights[i]), g).backward()
        torch.nn.utils.clip_grad_norm_(turn.parameters, rule.clip_norm)
        optimiser.step()
    return flow.eval()


def drawn(flow, c, seed=4):
    with torch.no_grad():
        return flow.sample(torch.randn(len(c), flow.noise_size, generator=generator(seed)), c)


def test_means_widths_and_correlations_follow_the_condition():
    g = generator(5)
    c = 2 * torch.rand(6000, 1, generator=g) - 1
    z = torch.randn(6000, 2, generator=g)
    rho = 0.8 * c[:, 0]
    second = -0.5 * c[:, 0] + (0.7 + 0.3 * c[:, 0]) * (rho * z[:, 0] + (1 - rho**2).sqrt() * z[:, 1])
    x = torch.stack([c[:, 0] + 0.5 * z[:, 0], second], 1)
    flow = taught(a_flow(1, 2, transforms=2), x, c, updates=300)
    for value in (-0.8, 0.0, 0.8):
        made = drawn(flow, torch.full((4000, 1), value))
        assert made.mean(0).tolist() == pytest.approx([value, -0.5 * value], abs=0.12)
        assert made.std(0).tolist() == pytest.approx([0.5, 0.7 + 0.3 * value], rel=0.2)
        assert float(torch.corrcoef(made.T)[0, 1]) == pytest.approx(0.8 * value, abs=0.15)


def test_five_targets_of_three_conditions():
    """A table whose targets depend on the conditions and on each other, one of them skewed."""
    g = generator(8)
    c, z = torch.randn(6000, 3, generator=g), torch.randn(6000, 5, generator=g)
    mixed = z @ torch.tril(0.5 * torch.ones(5, 5)) + c @ torch.randn(3, 5, generator=g)
    mixed[:, 4] = mixed[:, 4] + 0.5 * (z[:, 4] ** 2 - 1)
    x = (mixed - mixed.mean(0)) / mixed.std(0)
    made = drawn(taught(a_flow(3, 5, transforms=3), x, c, updates=300, size=128), c)
    true, found = (torch.cov(torch.cat([y, c], 1).T) for y in (x, made))
    assert float((found - true).abs().max()) < 0.15


def test_signed_weights_move_what_is_learned():
    g = generator(6)
    n = 6000
    side = torch.where(torch.rand(n, generator=g) < 0.7, 1.0, -1.0)
    x = (side + 0.3 * torch.randn(n, generator=g))[:, None]
    negative = (side > 0) & (torch.rand(n, generator=g) < 0.25)
    weights = torch.where(negative, -1.0, 1.0)
    weights = weights / weights.mean()
    made = drawn(taught(a_flow(1, 1, transforms=1), x, torch.zeros(n, 1), weights), torch.zeros(4000, 1))
    expected = float((weights * (x[:, 0] > 0)).mean())
    assert expected == pytest.approx(0.54, abs=0.03)
    assert float((made > 0).float().mean()) == pytest.approx(expected, abs=0.06)


def test_torchs_own_generator_is_left_as_it_was():
    before = torch.get_rng_state()
    a_flow()
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(
    ("key", "value", "match"),
    [
        ("passes", 1, "greater than or equal to 2, found 1"),
        ("transforms", 0, "greater than or equal to 1, found 0"),
        ("hidden", [], "hidden: .*at least 1 item"),
        ("bins", 1, "greater than or equal to 2, found 1"),
        ("pass", 2, "unknown key 'pass' .did you mean 'passes'"),
    ],
)
def test_wrong_words_of_a_recipe(key, value, match):
    with pytest.raises(ValueError, match=match):
        factory("models", {"kind": "flow", key: value}, "model")
