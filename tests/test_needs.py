from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch

from understudy import registry
from understudy.build import build_stage
from understudy.deployment.bundle import load_needs
from understudy.models.base import Model
from understudy.needs import pin
from understudy.recipe import Recipe
from understudy.registry import Given
from understudy.surrogate import Surrogate


class Critic(Model):
    """Holds a stand-in that another run has trained."""

    noise_size = 1

    def __init__(self, *, response_size: Given[int], needs: Given[Mapping[str, Surrogate]]) -> None:
        super().__init__()
        self.response_size = response_size
        self.first = needs["first"]

    def turns(self):
        return ()

    def sample(self, noise, conditions):
        return noise.expand(-1, self.response_size)


@pytest.fixture
def words(monkeypatch, bundle, tmp_path):
    from small import small

    registry.kinds("models")
    monkeypatch.setitem(registry._ROOMS["models"], "toy-with-needs", Critic)
    run = tmp_path / "first"
    shutil.copytree(bundle, run / "bundle")
    data = small(name="second", needs={"first": str(run)})
    data["stages"][1]["model"] = {"kind": "toy-with-needs"}
    return data


def test_a_needed_run_is_pinned_loaded_frozen_and_handed_to_the_model(words, events, surrogate):
    recipe = pin(Recipe.from_dict(words))
    assert len(recipe.needs["first"].sha256) == 64
    needs = load_needs(recipe)
    stage = build_stage(recipe.stages[1], recipe, events.schema, surrogate.geometry, needs=needs)
    assert stage.model.first is needs["first"]
    assert not any(p.requires_grad for p in needs["first"].parameters())
    for name, value in surrogate.state_dict().items():
        torch.testing.assert_close(needs["first"].state_dict()[name], value)


def test_a_needed_run_that_changed_or_went_away_is_noticed(words):
    recipe = pin(Recipe.from_dict(words))
    assert pin(Recipe.from_dict(recipe.to_dict())) == recipe
    folder = Path(recipe.needs["first"].run)
    manifest = folder / "bundle" / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"seed": 99}))
    with pytest.raises(ValueError, match=r"needs 'first' from .* has changed since it was pinned"):
        pin(recipe)
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match=r"needs 'first' from .* holds no bundle; do that run first"):
        pin(recipe)
