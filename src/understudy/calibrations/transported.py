r"""A calibration by transport: describe, standardise, move, impose.

Coordinates are standardised by what the conditions say of them: $(m_k - \sum_j A_{kj} q_j) / \sigma_k$ with $q$ the features and
their squares. The spread of a coordinate that hardly varies is taken to be one: then there is nothing to move.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from understudy.calibrations.base import Calibration, Description, Pair
from understudy.calibrations.transport import GENERATED, REFERENCE, Transport
from understudy.models.base import Batch, Model, weighted_mean
from understudy.training.history import Watch
from understudy.training.loop import TrainingResult, train
from understudy.training.settings import TrainingSettings
from understudy.transforms.base import Tensors
from understudy.transforms.moments import mean_and_scale

TRAINING = TrainingSettings(epochs=40, batch_size=512, score_every=1, patience=8, ema=0.99, threads=1)
RIDGE = 1e-6
"""Of the fit that standardises, relative to the number of events."""


class Transported(Calibration):
    """Moves the coordinates of a description to those of the reference.

    Args:
        description: of the response.
        transport: moves its standardised coordinates.
        training: how long the transport is trained, on twice as many events as the training split holds.
    """

    slopes: Tensor
    scale: Tensor

    def __init__(self, description: Description, transport: Transport, training: TrainingSettings, feature_size: int) -> None:
        super().__init__()
        self.description, self.transport, self.training_settings = description, transport, training
        size = len(description.names)
        self.register_buffer("slopes", torch.zeros(2 * feature_size + 1, size, dtype=torch.float64))
        self.register_buffer("scale", torch.ones(size, dtype=torch.float64))

    def fit(
        self,
        training: Pair,
        validation: Pair,
        *,
        seed: int,
        directory: str | Path,
        resume: bool = False,
        fingerprint: str = "",
        watch: Watch | None = None,
    ) -> TrainingResult:
        """See `Calibration.fit`."""
        training.check("a calibration")
        validation.check("the validation of a calibration")
        with torch.no_grad():
            self.description.fit(training.reference, training.conditions, training.weights)
            self._standardise(training)
            batch, other = self._batch(training), self._batch(validation)
        result = train(
            self.transport,
            batch,
            self.training_settings,
            seed=seed,
            directory=directory,
            score=_Likelihood(other),
            resume=resume,
            fingerprint=fingerprint,
            watch=watch,
        )
        self._set_fitted()
        return result

    def forward(self, response: Tensor, features: Tensor, conditions: Tensors) -> Tensor:
        """The calibrated response `(n, d)`."""
        self._require_fitted()
        coordinates = self.description(response, conditions)
        moved = self.transport.move(self._standard(coordinates, features), features)
        return self.description.impose(response, coordinates + self.scale * moved, conditions)

    def _standardise(self, pair: Pair) -> None:
        """Regress the coordinates of both samples on features and their squares."""
        described = [self.description(sample, pair.conditions) for sample in (pair.reference, pair.generated)]
        both, q = torch.cat(described), _powers(pair.features).double().repeat(2, 1)
        w = torch.ones(len(both), dtype=torch.float64) if pair.weights is None else pair.weights.double().abs().repeat(2)
        squares = q.T @ (w[:, None] * q) + RIDGE * w.sum() * torch.eye(q.shape[1], dtype=torch.float64)
        self._keep(slopes=torch.linalg.solve(squares, q.T @ (w[:, None] * both)))
        self._keep(scale=mean_and_scale(both - q @ self.slopes, w.to(torch.float32))[1])

    def _standard(self, coordinates: Tensor, features: Tensor) -> Tensor:
        return ((coordinates - _powers(features).double() @ self.slopes) / self.scale).to(features.dtype)

    def _batch(self, pair: Pair) -> Batch:
        """Both samples as the transport sees them."""
        samples = {REFERENCE: pair.reference, GENERATED: pair.generated}
        flag = torch.ones_like(pair.features[:, :1])
        standard = [self._standard(self.description(x, pair.conditions), pair.features) for x in samples.values()]
        features = torch.cat([torch.cat([s * flag, pair.features], 1) for s in samples])
        weights = None if pair.weights is None else (pair.weights / pair.weights.mean()).to(torch.float32).repeat(2)
        return Batch(torch.cat(standard), features, weights, torch.arange(len(features)))


class _Likelihood:
    """The score of a transport: minus the mean log-likelihood of other events."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    def __call__(self, model: Model) -> Mapping[str, float]:
        device = next(model.parameters()).device
        weights = None if self.batch.weights is None else self.batch.weights.to(device)
        with torch.no_grad():
            density: Any = model.log_prob(self.batch.response.to(device), self.batch.conditions.to(device))  # type: ignore[operator]
        return {"score": -float(weighted_mean(density, weights))}


def _powers(features: Tensor) -> Tensor:
    """One, the features and their squares, `(n, 2 c + 1)`."""
    return torch.cat([torch.ones_like(features[:, :1]), features, features.square()], 1)
