"""An image drawn in passes: a division of its cells, a likelihood of histograms, and samples that follow it."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from understudy import hcal_geometry as hcal
from understudy.geometry import Calorimeter, Layer, builtin
from understudy.models.base import Batch
from understudy.models.interlaced import Interlaced, above
from understudy.networks.interlaced import neighbours
from understudy.networks.interlacing import PASSES, pass_of_pixel

TOY = Calorimeter("toy", (Layer.grid("one", (8, 8), (1.0, 1.0), (0.0, 0.0)),))
HCAL = builtin("lhcb-hcal")


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def build(geometry=TOY, features=None, **words):
    n = geometry.n_cells
    words = {"trunk": 4, "width": 8, "bins": 4} | words
    return Interlaced(feature_size=features or n, response_size=n, geometry=geometry, rng=generator(), **words)


@pytest.mark.parametrize("geometry", [TOY, HCAL])
def test_every_cell_is_drawn_once_and_split_ones_together(geometry):
    model = build(geometry)
    drawn = torch.cat([model.get_buffer(f"cells_{k}") for k in range(PASSES)])
    assert len(drawn.unique()) == len(drawn)
    if geometry is HCAL:
        assert len(drawn) == 28 * 32 + 26 * 32 - 14 * 16
        made = model.sample(torch.randn(3, 3328, generator=generator(1)), torch.rand(3, 3328, generator=generator(2)))
        image = made.reshape(3, *hcal.SHAPE).detach()
        outer = ~torch.tensor(hcal.inner_pixels())
        for part in (image[:, ::2, 1::2], image[:, 1::2, ::2], image[:, 1::2, 1::2]):
            assert torch.equal(part[:, outer[::2, ::2]], image[:, ::2, ::2][:, outer[::2, ::2]])
    else:
        assert sorted(drawn.tolist()) == list(range(geometry.n_cells))


def test_three_by_three_blocks_are_gathered_about_each_and_none_from_beyond_the_edge():
    grid = torch.arange(1.0, 13.0).reshape(1, 1, 3, 4)
    framed = torch.nn.functional.pad(grid, (1, 1, 1, 1)).flatten(2)
    blocks = torch.tensor([0, 6, 11])
    found = framed[0, 0, neighbours(blocks, 4)].reshape(3, 9)
    expected = torch.nn.functional.unfold(grid, 3, padding=1)[0].T[blocks]
    assert torch.equal(found, expected)


def test_bins_are_empty_equal_and_saturated():
    values = torch.tensor([0.0, 0.99, 1.0, 1.24, 1.26, 1.99, 2.0])
    assert build().bin_of(values).tolist() == [0, 0, 1, 1, 2, 4, 5]


@pytest.mark.parametrize("weighted", [False, True])
def test_it_begins_with_how_often_bins_are_filled(weighted):
    g = generator(5)
    signal = torch.where(torch.rand(400, 64, generator=g) < 0.7, 0.0, 1 + 0.999 * torch.rand(400, 64, generator=g) ** 3)
    full = torch.full((100, 64), 2.0)  # a background that its weights take away
    y = torch.cat([signal, full, full]) if weighted else signal
    w = torch.cat([torch.ones(500), -torch.ones(100)]) if weighted else None
    model = build(bins=8)
    c = torch.rand(len(y), 64, generator=g)
    before = float(model.loss(Batch(signal, c[:400]), g).detach())
    model.fit(y, c, w)
    after = float(model.loss(Batch(signal, c[:400]), g).detach())
    p = torch.bincount(model.bin_of(signal).flatten(), minlength=10) / signal.numel()
    entropy = -64 * float((p * p.clamp(min=1e-9).log()).sum())
    assert after == pytest.approx(entropy, rel=0.05)
    assert after < 0.7 * before


def test_the_loss_is_minus_the_log_likelihood_of_the_cells_given_those_of_earlier_passes():
    model, g = build().eval(), generator(3)
    y, c = 2.2 * torch.rand(2, 64, generator=g).round(decimals=1), torch.rand(2, 64, generator=g)
    total = torch.zeros(2)
    known = torch.zeros(2, 64)
    passes = pass_of_pixel(8, 8).flatten()
    for k in range(PASSES):
        logits = model.logits(k, model.trunk(model.given(c)), model.expanded(known))
        for j, cell in enumerate(model.get_buffer(f"cells_{k}").tolist()):
            assert passes[cell] == k
            for event in range(2):
                p = torch.softmax(logits[event, j], 0)
                total[event] -= torch.log(p[int(model.bin_of(y[event, cell]))])
        known = torch.where(passes <= k, y, 0.0)
    torch.testing.assert_close(model.loss(Batch(y, c), g), total.mean())
    w = torch.tensor([2.0, -1.0])
    torch.testing.assert_close(model.loss(Batch(y, c, w), g), (w * total).mean())


@pytest.mark.parametrize("k", range(PASSES))
def test_a_cell_moves_those_of_later_passes_alone(k):
    model, g = build().eval(), generator(3)
    noise, c = torch.randn(1, 64, generator=g), torch.rand(1, 64, generator=g)
    passes = pass_of_pixel(8, 8).flatten()
    cell = int(model.get_buffer(f"cells_{k}")[0])
    moved = noise.clone()
    noise[0, cell], moved[0, cell] = -3.0, 3.0  # from empty to full
    with torch.no_grad():
        a, b = model.sample(noise, c)[0], model.sample(moved, c)[0]
    others = torch.arange(64) != cell
    assert a[cell] < 1 < b[cell]
    assert torch.equal(a[(passes <= k) & others], b[(passes <= k) & others])
    assert k == PASSES - 1 or not torch.equal(a[passes > k], b[passes > k])


def test_a_pass_sees_what_is_known_before_it():
    model, g = build().eval(), generator(3)
    trunk, known = model.trunk(model.given(torch.rand(1, 64, generator=g))), 2 * torch.rand(1, 64, generator=g)
    passes = pass_of_pixel(8, 8).flatten()
    for k in range(1, PASSES):
        seen = torch.where(passes < k, known, 0.0)
        a = model.logits(k, trunk, model.expanded(seen))
        assert not torch.equal(a, model.logits(k, trunk, model.expanded(0 * seen)))


def test_samples_are_the_inverse_distribution_function():
    model = build()
    p = torch.tensor([0.5, 0.1, 0.2, 0.05, 0.05, 0.1])
    u = torch.tensor([0.0, 0.25, 0.5, 0.55, 0.7, 0.8, 0.875, 0.9, 0.95, 1.0])
    found = model.drawn(p.log().reshape(1, 1, 6).repeat(10, 1, 1), 1 - u[:, None])[:, 0]
    root = p[1:5].sqrt()  # of a bin's neighbours; at the ends, of itself on that side
    b = (torch.stack([root[1], root[2], root[3], root[3]]) - torch.stack([root[0], root[0], root[1], root[2]])) / (
        torch.stack([root[1], root[2], root[3], root[3]]) + torch.stack([root[0], root[0], root[1], root[2]])
    )
    flat = torch.tensor([0.0, 0.5, 1.0, 1.125, 1.375, 1.5, 1.875, 2.0, 2.5, 3.0])
    v, at = torch.tensor([0, 0, 0, 0.5, 0.5, 0, 0.5, 0, 0, 0]), torch.tensor([0, 0, 0, 0, 1, 1, 3, 3, 3, 3])
    torch.testing.assert_close(found, flat + b[at] * v * (1 - v) / 4, atol=1e-5, rtol=0)


@pytest.mark.parametrize("slope", [-4.0, 1.0])
def test_within_a_bin_a_steep_spectrum_stays_steep(slope):
    edges = torch.linspace(0, 1, 5, dtype=torch.float64)
    below = torch.expm1(slope * edges) / math.expm1(slope)
    p = torch.cat([torch.zeros(1), (below[1:] - below[:-1]).float(), torch.zeros(1)]).clamp(min=1e-12)
    u = (torch.arange(40000) + 0.5) / 40000
    found = build().drawn(p.log().reshape(1, 1, 6).expand(1, 40000, 6), u[None])[0].double() - 1
    exact = torch.log1p((1 - u.double()) * math.expm1(slope)) / slope
    inner = (exact > 0.25) & (exact < 0.75)  # bins with a neighbour on both sides
    edge = torch.bucketize(exact, edges) - 1
    flat = edges[edge] + 0.25 * (1 - u.double() - below[edge]) / (below[edge + 1] - below[edge])
    assert float((found - exact)[inner].abs().max()) < 0.2 * float((flat - exact)[inner].abs().max())
    assert abs(float((found - exact)[inner].mean())) < 0.1 * abs(float((flat - exact)[inner].mean()))


def test_the_tail_keeps_its_digits():
    z = torch.linspace(-5, 8, 400)
    np.testing.assert_allclose(above(z).double().numpy(), stats.norm.sf(z.double().numpy()), rtol=1e-5)
    p = torch.tensor([1 - 3e-9, 1e-9, 1e-9, 0.5e-9, 0.3e-9, 0.2e-9])
    found = build().drawn(p.log().reshape(1, 1, 6), torch.tensor([[0.35e-9]]))  # half of the last bin but one
    b = (math.sqrt(0.3) - math.sqrt(0.5)) / (math.sqrt(0.3) + math.sqrt(0.5))
    torch.testing.assert_close(found, torch.tensor([[1.875 + b / 16]]), atol=1e-5, rtol=0)


def test_it_learns_rates_given_an_image_and_correlations_of_neighbours():
    g = generator(5)

    def sample(n):
        c = 4 * (torch.rand(n, 64, generator=g) < 0.3).float()  # as logarithms of energies are
        common = torch.rand(n, 1, generator=g).expand(n, 64) if n else c
        hit = torch.rand(n, 64, generator=g) < 0.2 + 0.15 * c
        return torch.where(hit, 1.0 + 0.999 * common, 0.0), c

    model = build(width=16, trunk=8)
    (turn,) = model.turns()
    optimiser = torch.optim.Adam(turn.parameters, lr=8e-3)
    schedule = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.02, 260)
    for _ in range(260):
        y, c = sample(64)
        optimiser.zero_grad()
        turn.loss(Batch(y, c), g).backward()
        optimiser.step()
        schedule.step()
    _, c = sample(400)
    with torch.no_grad():
        made = model.eval().sample(torch.randn(400, 64, generator=g), c)
    hit = made >= 1
    assert float(hit[c > 0].float().mean()) == pytest.approx(0.8, abs=0.08)
    assert float(hit[c == 0].float().mean()) == pytest.approx(0.2, abs=0.08)
    spread = torch.stack([row[h].std() for row, h in zip(made, hit, strict=True)]).mean()
    assert float(spread) < 0.75 * math.sqrt(1 / 12)  # within an event the hit cells hold alike, over all events they do not


def test_images_are_seen_as_logarithms_roots_and_energies():
    model = build().eval()
    x = 3000.0 * torch.rand(1, 64, generator=generator(7))
    seen = model.given(torch.log1p(x / 24))
    assert seen.shape == (1, 12, 4, 4)
    log, root, energy = seen.split(4, dim=1)
    torch.testing.assert_close(log, model.expanded(torch.log1p(x / 24)))
    torch.testing.assert_close(energy, model.expanded(x / 24 / 128))
    torch.testing.assert_close((root * math.sqrt(128) + 1) ** 2, 1 + model.expanded(x / 24))
    assert torch.isfinite(model.given(torch.full((1, 64), 200.0))).all()


def test_an_image_among_the_features_is_needed():
    with pytest.raises(ValueError, match="makes one image of 64 cells out of another, but 64 numbers are asked for and 3 given"):
        build(features=3)
    with pytest.raises(ValueError, match="needs to know where the cells of an image sit"):
        Interlaced(feature_size=4, response_size=4)


def test_half_precision_changes_the_loss_by_little():
    model, g = build(), generator(3)
    b = Batch(2.2 * torch.rand(4, 64, generator=g).round(decimals=1), torch.rand(4, 64, generator=g))
    exact = model.loss(b, g)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = model.loss(b, g)
    rounded.backward()
    assert rounded.dtype == torch.float32
    assert float(rounded.detach()) == pytest.approx(float(exact.detach()), rel=0.01)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
