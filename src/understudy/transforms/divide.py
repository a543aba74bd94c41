r"""The response in units of an energy that is known, $y = x/(k E)$."""

from __future__ import annotations

import math

import torch
from pydantic import PositiveFloat
from torch import Tensor

from understudy.registry import Given, register
from understudy.schema import Schema
from understudy.transforms.base import Tensors, Transform, condition


@register("transforms", "divide-by-energy")
class DivideByEnergy(Transform):
    """Divide every number of the response by a condition of its event; where that is 0, the result is 0 both ways.

    Args:
        schema: the events' schema.
        by: name of the condition, one number per event: `incident_energy`, `total_energy`, ...
        scale: further factor of the denominator, e.g. the sampling fraction.
    """

    def __init__(self, schema: Given[Schema], by: str = "incident_energy", scale: PositiveFloat = 1.0) -> None:
        super().__init__()
        self.by = energy_condition(schema, by, "divide-by-energy")
        self.scale = positive(scale, "divide-by-energy")

    def _fit(self, response: Tensor, conditions: Tensors, weights: Tensor | None) -> None:
        check_energies(conditions, self.by, "divide-by-energy")

    def _forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        return ratio(response, self.scale * condition(conditions, self.by))

    def _inverse(self, response: Tensor, conditions: Tensors) -> Tensor:
        return response * (self.scale * condition(conditions, self.by))


def ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient, 0 where the denominator is not positive."""
    positive = denominator > 0
    return torch.where(positive, numerator / torch.where(positive, denominator, 1.0), 0.0)


def energy_condition(schema: Schema, name: str, who: str) -> str:
    """`name`, after a check that it is a condition with one number per event."""
    numbers = [b.name for b in schema.conditions if b.width == 1 and b.kind == "continuous"]
    if name not in numbers:
        raise ValueError(f"{who}: no condition {name!r} with one number per event; there are {', '.join(numbers) or 'none'}")
    return name


def positive(scale: float, who: str) -> float:
    """`scale`, after a check that it is positive and finite."""
    if not 0 < scale < math.inf:
        raise ValueError(f"{who}: the scale has to be above 0, found {scale!r}")
    return float(scale)


def check_energies(conditions: Tensors, name: str, who: str) -> None:
    """ValueError if an energy is negative or not a number."""
    lowest = float(condition(conditions, name).min())
    if not lowest >= 0:
        raise ValueError(f"{who}: the condition {name!r} holds {lowest:g}, which is no energy; remove or mend these events")
