r"""A student of one or a few steps that learns from a trained generator which response belongs to which noise.

A teacher $T$ that maps noise to responses deterministically, however many steps it takes, is a function like any other; its
values can be learned by regression on pairs of noise and sample, as many as wanted (E. Luhman and T. Luhman,
arXiv:2101.02388, eq. 6):

$$\mathcal L = E_{c, z} \frac1d \sum_k w_k \frac{\big(S_k(z, c) - T_k(z, c)\big)^2}{\mathrm{Var}\, y_k}, \qquad z \sim N(0, 1).$$

With all $w_k = 1$ this is the part of the variance that the student does not explain. It is easy where the teacher maps normal
noise to normal scores: the map is near the identity, and the student adds the noise to what its network gives (`residual`).

No event's response enters, only conditions. Pairs at conditions between those of two training events are as good as any
(`jitter`); and as the regression holds at every condition by itself, weights of events say only how much a condition counts:
their absolute values are taken, so that the loss is bounded below.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, NamedTuple

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from understudy.geometry import Calorimeter
from understudy.models.base import Batch, Model, Optimiser, Spec, Turn, weighted_mean
from understudy.models.one_step import OneStep
from understudy.models.teacher import Teacher
from understudy.registry import Given, Part, register
from understudy.schema import Schema
from understudy.surrogate import RESPONSE
from understudy.transforms.base import Chain

ADAM = Optimiser(lr=1e-3, betas=(0.9, 0.999), schedule="cosine")
LEAST_VARIANCE = 1e-3
"""Of a column, relative to the mean over all: what hardly varies is not worth more than that."""
MEASURED = 4096
"""Events from which the spread of physical values is measured."""
PIECE = 1024
"""Pairs that the teacher draws at once."""


class Pairs(NamedTuple):
    """Noise `(n, z)`, features `(n, c)`, the teacher's samples `(n, d)` and the weights of their conditions, if any."""

    noise: Tensor
    features: Tensor
    target: Tensor
    weights: Tensor | None


@register("models", "distilled")
class Distilled(Model):
    """The student of a needed run's stage that produces the same.

    Args:
        feature_size: numbers that encode the conditions.
        response_size: numbers in the response.
        teacher: name of the need. Its stage must be said in the same words as this one (features, transforms, frame): the
            student takes over its fitted encoder and transforms.
        network: from noise and features, side by side, to the response.
        steps: passes, see `OneStep`.
        residual: add the noise to the network's output; if None, where noise and response are equally long.
        pairs: pairs that are drawn once, at random training conditions, and used again and again, for a teacher that is slow;
            every batch has fresh ones if None. They are kept in memory.
        jitter: how far, of the whole way, a condition may be moved towards that of another training event.
        energy_weighting: part of a column's weight that goes with the variance of its physical value; the rest is the same
            for all. For transforms that leave every column to one cell.
        optimiser: of the network.
        rng: draws the initial weights, and seeds `pairs`; torch's own generator if None.
        geometry: where the response's cells sit, for a network that asks for it.
        schema: the events' schema.
        transforms: the stage's transforms.
        needs: trained stand-ins that the recipe names.
        produces: what the stage produces.
        words: how the recipe says the stage.

    Raises:
        ValueError: as `Teacher` and `OneStep`, or a network that draws noise of its own.
    """

    column_weights: Tensor
    moved: Tensor

    def __init__(
        self,
        *,
        feature_size: Given[int],
        response_size: Given[int],
        teacher: str,
        network: Annotated[Spec, Part("networks")] = "dense",
        steps: Annotated[int, Field(ge=1, le=16)] = 1,
        residual: bool | None = None,
        pairs: PositiveInt | None = None,
        jitter: Annotated[float, Field(ge=0, le=1)] = 0.0,
        energy_weighting: Annotated[float, Field(ge=0, le=1)] = 0.0,
        optimiser: Optimiser = ADAM,
        rng: Given[torch.Generator | None] = None,
        geometry: Given[Calorimeter | None] = None,
        schema: Given[Schema | None] = None,
        transforms: Given[Chain | None] = None,
        needs: Given[Mapping[str, Any] | None] = None,
        produces: Given[str] = RESPONSE,
        words: Given[Mapping[str, Any] | None] = None,
    ) -> None:
        super().__init__()
        self.teacher = Teacher(needs, teacher, produces, schema, words)
        self.pairs, self.jitter, self.energy_weighting, self.optimiser = pairs, jitter, energy_weighting, optimiser
        self.noise_size = self.teacher.stage.model.noise_size
        self.map = OneStep(
            network,
            feature_size=feature_size,
            response_size=response_size,
            noise=self.noise_size,
            steps=steps,
            residual=residual,
            rng=rng,
            geometry=geometry,
        )
        if self.map.noise_size != self.noise_size:
            raise ValueError("the network of a student draws noise of its own, which its teacher does not have; choose another")
        self._transforms = (transforms,)  # inside a tuple they are no submodule
        self.register_buffer("column_weights", torch.ones(response_size), persistent=False)
        self.register_buffer("moved", torch.ones(feature_size), persistent=False)
        self._seed = int(torch.randint(2**62, (), generator=rng))
        self._conditions: tuple[Tensor, Tensor | None] | None = None
        self._pool: Pairs | None = None

    def take_over(self, encoder: nn.Module, transforms: nn.Module) -> bool:
        """The encoder and transforms are the teacher's."""
        self.teacher.hand_over(encoder, transforms)
        return True

    def fit(
        self,
        response: Tensor,
        conditions: Tensor,
        weights: Tensor | None = None,
        given: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> None:
        """Measure the columns' spread, and see which features can lie between two values."""
        variance = response.var(0, correction=0)
        found = self._importance(response, given) / variance.clamp(min=LEAST_VARIANCE * max(float(variance.mean()), 1e-12))
        self.column_weights = found.detach().to(self.column_weights)
        low, high = conditions.min(0).values, conditions.max(0).values
        between = ((conditions > low) & (conditions < high)).any(0)  # a feature of two values is a flag
        self.moved = between.to(self.moved)
        self._conditions, self._pool = (conditions, weights), None

    def turns(self) -> tuple[Turn, ...]:
        """One."""
        return (Turn("student", tuple(self.map.parameters()), self.optimiser, self.loss),)

    def sample(self, noise: Tensor, conditions: Tensor) -> Tensor:
        """$S(z, c)$, `(n, d)`."""
        response: Tensor = self.map(noise, conditions)
        return response

    def loss(self, batch: Batch, generator: torch.Generator) -> Tensor:
        """The mean squared distance from the teacher, in units of the columns' variance."""
        pairs = self._fresh(batch.conditions, batch.weights, generator) if self.pairs is None else self._kept(batch, generator)
        squared = (self.sample(pairs.noise, pairs.features).float() - pairs.target).square()
        return weighted_mean((squared * self.column_weights).mean(1), None if pairs.weights is None else pairs.weights.abs())

    def _fresh(self, features: Tensor, weights: Tensor | None, generator: torch.Generator) -> Pairs:
        """Pairs at the given conditions `(n, c)`, or near them; the generator may be on another device."""
        n, device = len(features), features.device
        if self.jitter:
            other = torch.randperm(n, generator=generator, device=generator.device).to(device)
            part = self.jitter * torch.rand((n, 1), generator=generator, device=generator.device).to(features)
            features = features + part * self.moved.to(device) * (features[other] - features)
        noise = torch.randn((n, self.noise_size), generator=generator, device=generator.device).to(features)
        return Pairs(noise, features, self.teacher.sample(noise, features), weights)

    def _kept(self, batch: Batch, generator: torch.Generator) -> Pairs:
        """Some of the pairs that were drawn once."""
        if self._pool is None:
            self._pool = self._drawn_once(batch.conditions.device)
        rows = torch.randint(len(self._pool.noise), (len(batch),), generator=generator, device=generator.device)
        rows = rows.to(batch.conditions.device)
        return Pairs(*(None if part is None else part[rows] for part in self._pool))  # type: ignore[arg-type]

    def _drawn_once(self, device: torch.device) -> Pairs:
        """The pairs that serve the whole training; a continued one draws the same again."""
        if self._conditions is None or self.pairs is None:
            raise RuntimeError("the student's pairs are drawn at training conditions; call fit first")
        known, weights = self._conditions
        generator = torch.Generator().manual_seed(self._seed)
        rows = torch.randint(len(known), (self.pairs,), generator=generator).to(known.device)
        pieces = [
            self._fresh(known[r].to(device), None if weights is None else weights[r].to(device), generator)
            for r in torch.split(rows, PIECE)
        ]
        columns = [[p[i] for p in pieces] for i in range(4)]
        return Pairs(*(None if weights is None and i == 3 else torch.cat(c) for i, c in enumerate(columns)))  # type: ignore[arg-type]

    def _importance(self, response: Tensor, given: Mapping[str, Tensor]) -> Tensor:
        """The columns' weights `(d,)`, which average to 1."""
        if not self.energy_weighting:
            return response.new_ones(response.shape[1])
        (transforms,) = self._transforms
        if transforms is None:
            raise ValueError("energy_weighting needs the stage's transforms; leave it out")
        few = slice(0, MEASURED)
        with torch.no_grad():
            physical = transforms.inverse(response[few], {name: values[few] for name, values in given.items()})
        if physical.shape != response[few].shape:
            raise ValueError(
                f"energy_weighting weighs columns by their cells, but the transforms make {response.shape[1]} columns of"
                f" {physical.shape[1]} numbers; leave it out"
            )
        variance = physical.var(0, correction=0)
        a = self.energy_weighting
        return (1 - a) + a * variance / variance.mean().clamp(min=1e-30)
