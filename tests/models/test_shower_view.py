"""The shape of showers that a critic sees: against a slow twin, standardised at fixed conditions, and with its gradients."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from small import small
from understudy.build import build_geometry, build_preparation, build_stage, training_batch
from understudy.geometry import Calorimeter, Layer, builtin
from understudy.models.base import Batch
from understudy.models.views.shower import SHARPNESS, TINY, LayerShape, ShowerView, quadratic
from understudy.recipe import Recipe
from understudy.transforms.base import Chain, Transform

LEVELS, RADII = [0.0, 1.5], [0.6, 2.0]


class Doubled(Transform):
    """Learned cells are twice the physical ones; what is below zero is empty."""

    def _forward(self, response, conditions):
        return 2 * response

    def _inverse(self, response, conditions):
        return response.clamp(min=0.0) / 2


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


def doubled(n=1):
    chain = Chain([Doubled()])
    return chain.fit(torch.zeros(n, 1), {})


def slow_shape(layer, cells, learned, levels, radii):
    """The numbers of one layer of one shower, cell by cell; positions in cells from the layer's middle."""
    rows, columns = layer.shape
    size = [(edges[-1] - edges[0]) / (len(edges) - 1) for edges in layer.edges]
    middle = [sum(layer.centres[:, a]) / layer.n_cells for a in (0, 1)]
    u = [[(layer.centres[c, a] - middle[a]) / size[a] for a in (0, 1)] for c in range(layer.n_cells)]
    total = sum(cells) + TINY
    f = [x / total for x in cells]
    mean = [sum(f[c] * u[c][a] for c in range(len(f))) for a in (0, 1)]
    width = [math.sqrt(max(sum(f[c] * u[c][a] ** 2 for c in range(len(f))) - mean[a] ** 2, 1e-6)) for a in (0, 1)]
    both = sum(f[c] * u[c][0] * u[c][1] for c in range(len(f))) - mean[0] * mean[1]
    around = []
    for radius in radii:
        distance = [(u[c][0] - mean[0]) ** 2 + (u[c][1] - mean[1]) ** 2 for c in range(len(f))]
        around.append(sum(x * math.exp(-d / (2 * radius**2)) for x, d in zip(f, distance, strict=True)))
    root = sum(math.sqrt(x + 1e-6) for x in f)
    along = [sum(f[a * columns + b] for a in range(rows)) for b in range(columns)]
    across = [sum(f[a * columns + b] for b in range(columns)) for a in range(rows)]
    counts = [sum(0.5 + 0.5 * math.tanh(SHARPNESS * (y - level)) for y in learned) for level in levels]
    return [*mean, *width, both, max(f), sum(x * x for x in f), *around, root, *along, *across, *counts]


@pytest.mark.parametrize("layer", builtin("atlas-em-89").layers, ids=lambda layer: layer.name)
def test_the_numbers_of_a_layer_are_those_of_a_slow_twin(layer):
    cells = (
        50 * torch.rand(4, layer.n_cells, generator=generator()) * (torch.rand(4, layer.n_cells, generator=generator(2)) < 0.6)
    )
    learned = 2 * cells / 50 - 0.1
    found = LayerShape(layer, LEVELS, RADII, coarse=0)(cells, learned)
    expected = [slow_shape(layer, cells[i].tolist(), learned[i].tolist(), LEVELS, RADII) for i in range(4)]
    torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32), rtol=1e-4, atol=2e-5)


def test_a_fine_grid_is_also_summed_and_counted_in_coarse_blocks():
    edges = tuple(float(e) for e in range(7))
    layer = Layer("fine", (edges, edges), ("mm", "mm"))
    cells = torch.rand(3, 36, generator=generator()) * 10
    learned = cells / 5 - 1
    plain, with_blocks = (LayerShape(layer, LEVELS, RADII, coarse)(cells, learned) for coarse in (0, 2))
    assert torch.equal(with_blocks[:, : plain.shape[1]], plain)
    image, smooth = cells.reshape(3, 6, 6), torch.tanh(SHARPNESS * learned).reshape(3, 6, 6)
    blocks = [(slice(2 * a, 2 * a + 2), slice(2 * b, 2 * b + 2)) for a in range(3) for b in range(3)]
    expected = torch.stack(
        [smooth[:, a, b].sum((1, 2)) for a, b in blocks] + [torch.log1p(image[:, a, b].sum((1, 2))) for a, b in blocks], 1
    )
    torch.testing.assert_close(with_blocks[:, plain.shape[1] :], expected, rtol=1e-5, atol=1e-5)
    assert LayerShape(layer, LEVELS, RADII, coarse=3)(cells, learned).shape == plain.shape  # too few blocks


def test_the_energy_of_a_layer_is_shown_where_it_is_asked_for():
    layer = builtin("atlas-em-89").layers[0]
    cells = 10 * torch.rand(3, layer.n_cells, generator=generator())
    plain, with_energy = (LayerShape(layer, LEVELS, RADII, 0, energy)(cells, cells) for energy in (False, True))
    torch.testing.assert_close(with_energy, torch.cat([plain, (1 + cells.sum(1, keepdim=True)).log()], 1))


def test_a_cell_at_a_level_counts_half_and_learns_most():
    layer = builtin("atlas-em-89").layers[0]
    learned = torch.full((1, layer.n_cells), -9.0)
    learned[0, 0], learned[0, 1], learned[0, 2] = 1.5, 9.0, 1.7
    learned.requires_grad_()
    count = LayerShape(layer, [1.5], [], coarse=0)(torch.zeros(1, layer.n_cells), learned)[0, -1]
    step = math.tanh(SHARPNESS * 0.2)
    assert float(count.detach()) == pytest.approx(0.5 + 1 + 0.5 + 0.5 * step, abs=1e-5)
    (slope,) = torch.autograd.grad(count, learned)
    assert float(slope[0, 0]) == pytest.approx(0.5 * SHARPNESS)
    assert float(slope[0, 2]) == pytest.approx(0.5 * SHARPNESS * (1 - step**2), rel=1e-4)
    assert float(slope[0, 3:].abs().max()) == pytest.approx(0, abs=1e-6)


def test_the_terms_are_all_products_of_two_and_end_at_four():
    x, y = 0.5, -2.0
    expected = [1, x, y, x * x, x * y, y * y]
    torch.testing.assert_close(quadratic(torch.tensor([[x, y]])), torch.tensor([expected]))
    torch.testing.assert_close(quadratic(torch.tensor([[9.0]])), torch.tensor([[1.0, 4.0, 16.0]]))


@pytest.fixture(scope="module")
def photons():
    """The photon GAN's view, fitted to parametric showers; the stage and its training split."""
    recipe = Recipe.from_dict(small("atlas-photon-89-gan"))
    geometry, reference = build_geometry(recipe), recipe.reference()
    events = build_preparation(recipe, geometry)(reference.generate(1500, np.random.default_rng(1)), reference.geometry)
    stage = build_stage(recipe.stages[1], recipe, events.schema, geometry, generator())
    batch = training_batch(stage, events)
    stage.model.view.fit(batch)
    return stage, batch


def test_extra_is_the_number_of_columns_that_are_added(photons):
    stage, batch = photons
    seen = stage.model.seen(batch.response, batch)
    assert seen.shape == (len(batch), 89 + stage.model.view.extra(89))
    assert torch.isfinite(seen).all()


def rest_and_width(view, batch):
    """Columns that are shown, before the inverse hyperbolic sine."""
    return torch.sinh(view(batch.response, batch)[:, view.scale > 0] / view.scale[view.scale > 0])


def test_real_showers_have_mean_zero_and_width_one_wherever_their_conditions_are(photons):
    stage, batch = photons
    rest = rest_and_width(stage.model.view, batch)
    varied = rest[:, rest.std(0) > 0.7]  # others have the least width that is allowed, or less
    assert varied.shape[1] > 60
    assert float(rest.mean(0).abs().max()) < 0.25  # the fit weighs all events alike, whatever their width
    assert float(rest.mean(0).abs().median()) < 0.05
    assert float(varied.std(0).median()) == pytest.approx(1.0, abs=0.1)
    energy = batch.conditions[:, stage.encoder.names.index("log(incident_energy)")]
    for rows in energy.argsort().chunk(3):
        assert float(varied[rows].mean(0).abs().median()) < 0.15
        assert float(varied[rows].std(0).median()) == pytest.approx(1.0, abs=0.25)


def test_what_follows_the_conditions_is_taken_out(photons):
    stage, batch = photons
    view = stage.model.view
    raw = view._raw(batch.response, batch)
    shown = (view.scale > 0).nonzero()[:, 0]
    rest = rest_and_width(view, batch)

    def correlation(column, feature):
        return abs(float(torch.corrcoef(torch.stack([column, feature]))[0, 1]))

    follows = [
        (correlation(raw[:, c], batch.conditions[:, k]), correlation(rest[:, i], batch.conditions[:, k]))
        for i, c in enumerate(shown)
        for k in range(batch.conditions.shape[1])
    ]
    strong = [after for before, after in follows if before > 0.7]
    assert len(strong) > 5
    assert max(strong) < 0.2


def test_it_is_fitted_to_the_training_split_alone_and_its_constants_are_saved(photons):
    stage, batch = photons
    saved = {k: v for k, v in stage.model.state_dict().items() if k.startswith("view.")}
    assert {k.rpartition(".")[2] for k in saved} == {"mean", "width", "scale", "least_width"}
    before = stage.model.view.mean.clone()
    half = Batch(batch.response[:700], batch.conditions[:700], given={k: v[:700] for k, v in batch.given.items()})
    stage.model.view.fit(half)
    assert not torch.equal(stage.model.view.mean, before)
    stage.model.view.fit(batch)
    assert torch.equal(stage.model.view.mean, before)


def test_gradients_reach_every_cell_that_a_drawn_shower_has(photons):
    stage, batch = photons
    part = Batch(batch.response[:20], batch.conditions[:20], given={k: v[:20] for k, v in batch.given.items()})
    noise = torch.randn(20, stage.model.noise_size, generator=generator())
    drawn = stage.model.sample(noise, part.conditions).detach().requires_grad_()
    (slope,) = torch.autograd.grad(stage.model.seen(drawn, part).square().sum(), drawn)
    assert torch.isfinite(slope).all()
    cells = stage.model.view.physical(drawn.detach(), part.given)
    alone = torch.stack([(cells[:, s] > 0).sum(1) for s in stage.model.view.geometry.slices.values()], 1) == 1
    for s, single in zip(stage.model.view.geometry.slices.values(), alone.T, strict=True):
        hit = (cells[:, s] > 0) & ~single[:, None]  # one cell alone holds the layer's energy, whatever is drawn
        assert (slope[:, s][hit] != 0).all()


def test_columns_of_faint_cells_weigh_less_and_their_shares_nothing():
    edges = tuple(float(e) for e in range(4))
    geometry = Calorimeter("nine", (Layer("only", (edges, edges), ("mm", "mm")),))
    chain = doubled()
    cells = 1 + torch.rand(200, 9, generator=generator())
    cells[:, 4] = 1e-3 * torch.rand(200, generator=generator(3))
    view = ShowerView(1, geometry, chain, cells=2.0, shapes=0.5, shares=3.0, faint=0.01, faint_weight=0.25)
    view.fit(Batch(2 * cells, torch.randn(200, 1, generator=generator(4))))
    others = [c for c in range(9) if c != 4]
    assert float(view.scale[4]) == 0.5
    assert view.scale[others].tolist() == [2.0] * 8
    assert float(view.scale[-9 + 4]) == 0.0
    assert [float(view.scale[-9 + c]) for c in others] == [3.0] * 8
    assert set(view.scale[9:-9].tolist()) <= {0.0, 0.5}


def test_another_number_of_cells_and_no_geometry_are_refused():
    with pytest.raises(ValueError, match="one column per cell \\(89\\), found 90; choose transforms that keep the cells"):
        ShowerView(1, builtin("atlas-em-89"), doubled()).extra(90)
    with pytest.raises(ValueError, match="needs to know where the cells sit; name the recipe's geometry"):
        ShowerView(1, None, doubled())
    with pytest.raises(RuntimeError, match="there are no transforms"):
        ShowerView(1, builtin("atlas-em-89")).fit(Batch(torch.zeros(2, 89), torch.zeros(2, 1)))


def test_a_cell_that_is_never_hit_in_the_training_split_is_seen_when_a_generated_shower_hits_it(photons):
    stage, batch = photons
    never = int((batch.response > 0).float().mean(0).argmin())
    assert float(batch.response[:, never].max()) == 0
    stray = batch.response.clone()
    layer = stage.model.view.geometry.layer_of_cell[never]
    of_layer = torch.as_tensor(stage.model.view.geometry.layer_of_cell == layer)
    stray[:, of_layer] = torch.where(stray[:, of_layer] > 0, stray[:, of_layer], -5.0)
    stray[:, never] = stray[:, of_layer].max(1).values.clamp(min=1.0)
    with torch.no_grad():
        moved = (stage.model.seen(stray, batch) - stage.model.seen(batch.response, batch)).abs()
    hit = batch.response[:, of_layer].amax(1) > 0
    assert float(moved[hit][:, never].median()) > 0.5  # where its layer has energy enough for it to pass


NINE = Calorimeter("nine", (Layer("only", (tuple(map(float, range(4))),) * 2, ("mm", "mm")),))


class Scores(Transform):
    """Learned numbers are no cells, and there is no way forth: one more than there are cells."""

    def _forward(self, response, conditions):
        raise AssertionError("the view looks at physical cells alone")

    def _inverse(self, response, conditions):
        return response[:, :9].clamp(min=0.0) ** 2

    def output_size(self, d):
        return d + 1


def of_powers(**words):
    chain = Chain([Scores()])
    chain.transforms[0]._set_fitted()
    chain._set_fitted()
    return ShowerView(1, NINE, chain, thresholds={"only": 0.25}, power=0.5, **words)


def test_cells_are_shown_as_powers_over_their_thresholds_without_the_transforms_way_forth():
    cells = torch.tensor([[0.0, 0.2, 0.25, 1.0, 4.0, 0.0, 9.0, 0.0, 0.01]])
    view = of_powers(levels=[0.0])
    raw = view._raw(torch.cat([cells.sqrt(), torch.ones(1, 1)], 1), Batch(cells, torch.zeros(1, 1)))
    torch.testing.assert_close(raw[:, :9], torch.tensor([[0.0, 0.0, 0.0, 2.0, 6.0, 0.0, 10.0, 0.0, 0.0]]))
    learned = torch.where(cells > 0.25, 2 * ((cells / 0.25).sqrt() - 1), 0.0)
    torch.testing.assert_close(raw[:, 9:-9], LayerShape(NINE.layers[0], [0.0], [0.6, 0.9, 1.35, 2.0, 4.0], 0)(cells, learned))
    torch.testing.assert_close(raw[:, -9:], cells / (cells.sum() + TINY))
    assert raw.shape[1] == 10 + view.extra(10)


def test_gradients_reach_cells_above_threshold_and_are_finite_for_empty_ones():
    view = of_powers()
    scores = (0.6 + torch.rand(300, 10, generator=generator())) * (torch.rand(300, 10, generator=generator(2)) < 0.7)
    batch = Batch(scores, torch.randn(300, 1, generator=generator(3)))
    view.fit(batch)
    drawn = scores.clone().requires_grad_()
    seen = view(drawn, batch)
    assert torch.isfinite(seen).all()
    (slope,) = torch.autograd.grad(seen.square().sum(), drawn)
    assert torch.isfinite(slope).all()
    assert (slope[:, :9][scores[:, :9] > 0.5] != 0).all()
    assert (slope[:, :9][scores[:, :9] == 0] == 0).all()
    assert "threshold" not in view.state_dict()
