"""The calibration `moments`: leading moments by a triangular transport, imposed by a maximum-entropy tilt.

Of a calorimeter: total energy, shares of the layers, barycentres, widths, correlation and containment. Of any other response:
its columns, which are moved themselves.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor

from understudy.calibrations.base import Description
from understudy.calibrations.columns import Columns
from understudy.calibrations.showers import Showers, held_above, is_shower
from understudy.calibrations.tilt import STEPS
from understudy.calibrations.transport import Transport
from understudy.calibrations.transported import TRAINING, Transported
from understudy.geometry import Calorimeter
from understudy.registry import Given, register
from understudy.schema import Block
from understudy.training.settings import TrainingSettings


@register("calibrations", "moments")
class Moments(Transported):
    """Moves leading moments of the generated response to the reference's, ranks preserved.

    Args:
        blocks: of the response.
        geometry: where its cells are, if it is a calorimeter's.
        feature_size: numbers that encode the conditions.
        energy: name of the condition that is the incident energy, or None.
        floor: read-out threshold of the cells [MeV], or None.
        rng: draws the initial weights.
        held: energy [MeV] up to which cells keep what they have, where it is above the threshold: the spectrum of fainter cells
            then stays, and the others take all of the change.
        moments: of a calorimeter `total_energy`, `layer_energies`, `barycentre`, `width`, `correlation`, `containment`; of any
            other response its columns. All that there are if None.
        layers: whose shapes are moved; all if None.
        radii: of the containment [mm]; 1, 2 and 4 cell sizes, as the layer is large, if None.
        steps: Newton's steps in which cells come to their moments. One is quick, and enough where little has to be moved.
        hidden_layers: of the network of each moment.
        width: neurons in each of them.
        bins: of each moment's spline.
        training: of the transport.

    Raises:
        ValueError: a moment, layer or column that the response lacks.
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
        moments: list[str] | None = None,
        layers: list[str] | None = None,
        radii: Annotated[list[PositiveFloat], Field(min_length=1)] | None = None,
        steps: Annotated[int, Field(ge=1, le=10)] = STEPS,
        hidden_layers: PositiveInt = 2,
        width: PositiveInt = 48,
        bins: Annotated[int, Field(ge=2, le=100)] = 8,
        training: TrainingSettings = TRAINING,
    ) -> None:
        description: Description
        if geometry is not None and is_shower(geometry, sum(b.width for b in blocks)):
            description = Showers(geometry, moments, layers, radii, energy, held_above(floor, held), "moments", steps)
        elif layers is not None or radii is not None:
            raise ValueError("moments: the response is no calorimeter's, so it has no layers and radii; leave these keys out")
        else:
            description = Columns(blocks, moments, "moments")
        transport = Transport(
            feature_size=feature_size,
            response_size=len(description.names),
            layers=hidden_layers,
            width=width,
            bins=bins,
            rng=rng,
        )
        super().__init__(description, transport, training, feature_size)
