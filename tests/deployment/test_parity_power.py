"""What the parity check finds out, behind dense, convolutional and rectified networks, and what it lets pass."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from small import small
from understudy.build import build_geometry, build_preparation, build_surrogate, training_batch
from understudy.deployment.parity import ParityError, _check_together, check_parity
from understudy.domain import Domain
from understudy.recipe import Recipe
from understudy.surrogate import Surrogate, as_tensors

EVENTS = 300


def words(kind: str) -> dict[str, Any]:
    if kind == "rectified":
        return small("atlas-photon-89-gan")
    if kind == "dense":
        return small("atlas-photon-89-paper", select={})
    found = small("lhcb-ecal-paper", needs={}, projections=[{"kind": "threshold", "energy": 2.0}])
    found["stages"][0]["model"] |= {"view": None, "critic_features": True}
    return found


@pytest.fixture(scope="module", params=["dense", "convolution", "rectified"])
def built(request: pytest.FixtureRequest) -> tuple[Surrogate, Any]:
    """Fitted transforms and random weights, and conditions."""
    recipe = Recipe.from_dict(words(request.param))
    geometry, reference = build_geometry(recipe), recipe.reference()
    made = reference.generate(EVENTS, np.random.default_rng(1))
    events = build_preparation(recipe, geometry)(made, reference.geometry)
    surrogate = build_surrogate(recipe, events.schema, geometry, Domain.of(events), torch.Generator().manual_seed(2))
    for stage in surrogate.stages:
        batch = training_batch(stage, events)
        if hasattr(stage.model, "view"):
            stage.model.view = None  # of no use here, and its fit takes time
        stage.model.fit(batch.response, batch.conditions, batch.weights, batch.given)
    return surrogate.eval(), events


class Distorted:
    """An engine that computes what torch computes, and gets something wrong before or after the thresholds."""

    def __init__(self, surrogate: Surrogate, before: Any = None, after: Any = None) -> None:
        self.surrogate, self.before, self.after = surrogate, before, after

    def run(self, noise: Any, given: Any) -> tuple[Any, Any]:
        with torch.inference_mode():
            conditions = as_tensors(given)
            values = self.surrogate.before_projections(torch.from_numpy(noise), conditions).numpy().copy()
            values = values if self.before is None else self.before(values)
            projected = self.surrogate.last.project(torch.from_numpy(values), conditions).numpy().copy()
        return (projected if self.after is None else self.after(projected)), values


def factors(cells: Any, chosen: Any) -> Any:
    """A thousandth more in the chosen cells."""
    return (cells * np.where(chosen, 1.001, 1.0)).astype(np.float32)


def hottest(cells: Any) -> Any:
    return factors(cells, cells == cells.max(1, keepdims=True))


def check(built: tuple[Surrogate, Any], **wrong: Any) -> Any:
    surrogate, events = built
    return check_parity(surrogate, Distorted(surrogate, **wrong), events, np.random.default_rng(3))  # type: ignore[arg-type]


def test_rounding_passes(built):
    rounding = np.random.default_rng(4)
    found = check(built, before=lambda c: (c * (1 + 1e-7 * rounding.standard_normal(c.shape))).astype(np.float32))
    assert found.events == EVENTS
    assert found.largest_difference < 1e-5


@pytest.mark.parametrize(
    "before",
    [
        lambda c: factors(c, True),
        hottest,
        lambda c: factors(c, np.arange(c.shape[1]) == c.mean(0).argmax()),
        lambda c: factors(c, c > 10.0),
        lambda c: np.concatenate([factors(c[:1], True), c[1:]]),
    ],
    ids=["energy sums", "hottest cells", "one cell", "bright cells", "one event"],
)
def test_a_thousandth_too_much_energy_is_found_out(built, before):
    with pytest.raises(ParityError, match="differs from torch"):
        check(built, before=before)


@pytest.mark.parametrize(
    "after",
    [lambda c: factors(c, True), hottest, lambda c: np.where((c > 0) & (c < 1.05 * c[c > 0].min()), 0.0, c)],
    ids=["energy sums", "hottest cells", "thresholds five per cent higher"],
)
def test_other_projections_are_found_out(built, after):
    with pytest.raises(ParityError, match="projects its response otherwise"):
        check(built, after=after)


def test_differences_that_rounding_could_make_in_each_number_are_none_in_all_of_them():
    cells = np.random.default_rng(5).uniform(1.0, 100.0, (200, 30))
    _check_together(cells, cells * (1 + 2e-5 * np.random.default_rng(6).standard_normal(cells.shape)))
    with pytest.raises(ParityError, match=r"the absolute differences sum up to .* more than 0.0001"):
        _check_together(cells, cells * (1 + 2e-4 * np.random.default_rng(6).standard_normal(cells.shape)))
    with pytest.raises(ParityError, match=r"the differences sum up to 5e-05 of the response, more than 1e-05"):
        _check_together(cells, cells * (1 + 5e-5))
    _check_together(np.zeros((3, 2)), np.full((3, 2), 1e-6))
