"""The calibration `total-energy`: the response to the incident energy, in one dimension; the cells are rescaled."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, PositiveInt
from torch import Tensor

from understudy.calibrations.showers import Showers, held_above, is_shower
from understudy.calibrations.transport import Transport
from understudy.calibrations.transported import TRAINING, Transported
from understudy.geometry import Calorimeter
from understudy.registry import Given, register
from understudy.schema import Block
from understudy.training.settings import TrainingSettings


@register("calibrations", "total-energy")
class TotalEnergy(Transported):
    """Moves the energy sum of all cells to the reference's, ranks preserved.

    Args:
        blocks: of the response.
        geometry: where its cells are.
        feature_size: numbers that encode the conditions.
        energy: name of the condition that is the incident energy, or None.
        floor: read-out threshold of the cells [MeV], or None. Of a cell that is hit, what lies above it is scaled.
        rng: draws the initial weights.
        held: energy [MeV] up to which cells keep what they have, where it is above the threshold: the spectrum of fainter cells
            then stays, and the others take all of the change.
        hidden_layers: of the network.
        width: neurons in each of them.
        bins: of the spline.
        training: of the transport.

    Raises:
        ValueError: the response is no calorimeter's.
    """

    def __init__(
        self,
        blocks: Given[tuple[Block, ...]],
        geometry: Given[Calorimeter | None],
        feature_size: Given[int],
        energy: Given[str | None] = None,
        floor: Given[Tensor | None] = None,
        rng: Given[torch.Generator | None] = None,
        held: NonNegativeFloat = 0.0,
        hidden_layers: PositiveInt = 2,
        width: PositiveInt = 48,
        bins: Annotated[int, Field(ge=2, le=100)] = 12,
        training: TrainingSettings = TRAINING,
    ) -> None:
        if geometry is None or not is_shower(geometry, sum(b.width for b in blocks)):
            raise ValueError(
                "total-energy: the response is no calorimeter's and has no total energy; it has"
                f" {', '.join(b.name for b in blocks)}: use 'moments', or name its geometry in the recipe"
            )
        description = Showers(geometry, ["total_energy"], energy=energy, floor=held_above(floor, held), who="total-energy")
        transport = Transport(feature_size=feature_size, response_size=1, layers=hidden_layers, width=width, bins=bins, rng=rng)
        super().__init__(description, transport, training, feature_size)
