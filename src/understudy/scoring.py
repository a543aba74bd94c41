"""How good the weights of a checkpoint are: on validation events alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from understudy.build import learned_from, target_of
from understudy.conditions import together
from understudy.models.base import Batch, Model
from understudy.splits import Data
from understudy.surrogate import RESPONSE, Stage, as_tensors
from understudy.training.batches import resident
from understudy.training.session import Score
from understudy.transforms.base import check_sample
from understudy.validation.distances import wasserstein1
from understudy.validation.score import PhysicsScore

WHOLE = 4_000_000
"""Numbers of the responses that are drawn in one pass."""


def stage_score(stage: Stage, data: Data, seed: int) -> Score:
    """What is minimised over checkpoints of a stage's model, on the validation events at their own conditions.

    Of the response it is the physics score, the same noise for all; of a derived condition minus the log-likelihood where the
    model has one, else the distance in bins of the first feature.
    """
    events = learned_from(stage, data.validation)
    conditions = as_tensors({k: v for k, v in events.conditions.items() if k != stage.produces})
    noise = torch.randn(len(events), stage.model.noise_size, generator=torch.Generator().manual_seed(seed))
    element, seen = stage.canonical(conditions)
    features = stage.encoder(seen)
    truth = stage.transforms(stage.turned(target_of(stage, events), element), seen)
    weights = None if events.weights is None else torch.tensor(events.weights)
    check_sample("the score of checkpoints: the validation split", len(events), weights)
    validation = Batch(truth, features, None if weights is None else weights / weights.mean())
    physics = PhysicsScore(events, data.response_geometry) if stage.produces == RESPONSE else None

    def score(model: Model) -> Mapping[str, float]:
        device = next(model.parameters()).device
        with torch.no_grad():
            misfit = None if physics else model.misfit(resident(validation, device), torch.Generator().manual_seed(seed))
            if misfit is not None:
                return {"score": float(misfit)}
            drawn = sampled(model, noise, features, device, truth.shape[1])
            if physics is None:
                return {"score": binned_distance(truth, drawn, features[:, 0], weights=weights)}
            response = stage.project(stage.restored(stage.physical(drawn, seen), element), conditions)
        return physics.score(events.with_response(response.numpy()))

    return score


def sampled(model: Model, noise: Tensor, features: Tensor, device: torch.device, width: int) -> Tensor:
    """What a model on `device` draws in the learned space, `(n, d)`; wide responses a part of the events at a time."""
    size = len(noise) if len(noise) * width <= WHOLE else together(width)
    parts = zip(torch.split(noise, size), torch.split(features, size), strict=True)
    return torch.cat([model.sample(z.to(device), c.to(device)).cpu() for z, c in parts])


def binned_distance(truth: Tensor, drawn: Tensor, feature: Tensor, bins: int = 8, weights: Tensor | None = None) -> float:
    """Mean Wasserstein-1 distance of each column in standard deviations of the truth, in equal bins of a feature.

    With weights `(n,)`, which count for truth and drawn alike, bins whose weights do not sum to more than zero are left out.
    """
    if weights is not None:
        return _weighted_distance(truth, drawn, feature.argsort().chunk(bins), weights)
    distances = [
        (drawn[rows].sort(0).values - truth[rows].sort(0).values).abs().mean(0) / _spread(truth[rows], truth)
        for rows in feature.argsort().chunk(bins)
    ]
    return float(torch.stack(distances).mean())


def _weighted_distance(truth: Tensor, drawn: Tensor, parts: Sequence[Tensor], weights: Tensor) -> float:
    found = []
    for rows in parts:
        w = weights[rows].numpy()
        if w.sum() > 0:
            spread = _spread(truth[rows], truth)
            columns = zip(drawn[rows].T.numpy(), truth[rows].T.numpy(), spread, strict=True)
            found += [float(wasserstein1(a, b, w, w)) / float(s) for a, b, s in columns]
    return float(np.mean(found))


def _spread(some: Tensor, all_of_them: Tensor) -> Tensor:
    """Standard deviations of `some`, at least a tenth of those of all: a bin whose events are all alike says little."""
    return torch.maximum(some.std(0), 0.1 * all_of_them.std(0)).clamp(min=1e-12)
