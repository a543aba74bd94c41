r"""What a detector passes on unchanged is not learned: $y$ lacks these numbers, and the inverse takes them from the conditions.

The direction of a track that only its momentum is smeared of, say. The values are copied, to the last bit.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from understudy.registry import Given, register
from understudy.schema import Schema
from understudy.transforms.base import Tensors, Transform, condition


@register("transforms", "pass-through")
class PassThrough(Transform):
    """Leave out blocks of the response that are conditions; comes first in a chain.

    Args:
        schema: the events' schema.
        blocks: condition by response block, e.g. `{"reconstructed_eta": "eta"}`.

    Raises:
        ValueError: a block is none of the response or of the conditions, or the two have different shapes; nothing would be left
            to learn; or, in the fit, an event's value is not that of its condition.
    """

    def __init__(self, schema: Given[Schema], blocks: Mapping[str, str]) -> None:
        super().__init__()
        conditions = {b.name: b for b in schema.conditions}
        known = {b.name: b for b in schema.response}
        for name, source in blocks.items():
            if name not in known or source not in conditions:
                raise ValueError(
                    f"pass-through: {name!r} from {source!r} is not a block of the response ({', '.join(known)}) and a condition"
                    f" ({', '.join(conditions) or 'none'}); mend the names"
                )
            if known[name].width != conditions[source].width:
                raise ValueError(
                    f"pass-through: {name!r} has {known[name].width} numbers and {source!r} {conditions[source].width}"
                )
        if not blocks or len(blocks) == len(known):
            raise ValueError("pass-through: name some blocks of the response, and leave at least one to be learned")
        self.parts: list[tuple[int, str | None]] = [(b.width, blocks.get(b.name)) for b in schema.response]
        self.names = [b.name for b in schema.response]

    def output_size(self, d: int) -> int:
        """The columns that are left."""
        return d - sum(width for width, source in self.parts if source is not None)

    def _fit(self, response: Tensor, conditions: Tensors, weights: Tensor | None) -> None:
        for (_, source), name, part in zip(self.parts, self.names, self._split(response), strict=True):
            if source is not None and not torch.equal(part, condition(conditions, source).to(part)):
                event = int((part != condition(conditions, source).to(part)).any(1).nonzero()[0])
                raise ValueError(
                    f"pass-through: {name!r} of event {event} is {float(part[event, 0]):g}, not the condition {source!r}; it"
                    " has to be learned, leave it out of 'pass-through'"
                )

    def _forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        kept = [p for (_, source), p in zip(self.parts, self._split(response), strict=True) if source is None]
        return torch.cat(kept, 1)

    def _inverse(self, response: Tensor, conditions: Tensors) -> Tensor:
        made, start = [], 0
        for width, source in self.parts:
            if source is None:
                made.append(response[:, start : start + width])
                start += width
            else:
                made.append(condition(conditions, source).to(response))
        return torch.cat(made, 1)

    def _split(self, response: Tensor) -> tuple[Tensor, ...]:
        return torch.split(response, [width for width, _ in self.parts], dim=1)
