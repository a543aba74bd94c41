"""A stage that is taken over from a needed run as it is: the energy sum that a teacher draws, say, before its student's showers.

Its weights are copied, so that nothing but this run's own bundle is asked for them later.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from understudy.models.base import Model, Turn
from understudy.models.teacher import Teacher
from understudy.registry import Given, register
from understudy.schema import Schema
from understudy.surrogate import RESPONSE


@register("models", "borrowed")
class Borrowed(Model):
    """The model of a needed run's stage that produces the same; nothing is trained.

    Args:
        teacher: name of the need.
        needs: trained stand-ins that the recipe names.
        produces: what the stage produces.
        schema: the events' schema.
        words: how the recipe says the stage.

    Raises:
        ValueError: as `Teacher`.
    """

    def __init__(
        self,
        *,
        teacher: str,
        needs: Given[Mapping[str, Any] | None] = None,
        produces: Given[str] = RESPONSE,
        schema: Given[Schema | None] = None,
        words: Given[Mapping[str, Any] | None] = None,
    ) -> None:
        super().__init__()
        self.teacher = Teacher(needs, teacher, produces, schema, words)
        self.model: Model = copy.deepcopy(self.teacher.stage.model)
        self.noise_size = self.model.noise_size

    def take_over(self, encoder: nn.Module, transforms: nn.Module) -> bool:
        """The encoder and transforms are those of the needed run."""
        self.teacher.hand_over(encoder, transforms)
        return True

    def turns(self) -> tuple[Turn, ...]:
        """None: nothing is trained."""
        return ()

    def sample(self, noise: Tensor, conditions: Tensor) -> Tensor:
        """What the model of the needed run gives."""
        return self.model.sample(noise, conditions)
