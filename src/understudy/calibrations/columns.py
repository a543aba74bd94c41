"""A response of a few named numbers is described by these numbers."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from understudy.calibrations.base import Description
from understudy.schema import Block
from understudy.transforms.base import Tensors


class Columns(Description):
    """Columns of a response that is no calorimeter's.

    Args:
        blocks: the response's blocks.
        chosen: names of the columns; all of them, in their order, if None.
        who: named in errors.

    Raises:
        ValueError: a column that there is not, or none.
    """

    def __init__(self, blocks: Sequence[Block], chosen: Sequence[str] | None, who: str) -> None:
        super().__init__()
        known = {name: column for column, name in enumerate(n for b in blocks for n in column_names(b)) if name}
        if chosen is not None and (missing := [name for name in chosen if name not in known]):
            raise ValueError(f"{who}: the response has no {missing[0]!r}; it has {', '.join(known) or 'nothing of the kind'}")
        self.names = tuple(known if chosen is None else chosen)
        if not self.names:
            raise ValueError(f"{who}: the response ({', '.join(b.name for b in blocks)}) has no column that could be calibrated")
        width = sum(b.width for b in blocks)
        where = torch.full((width,), len(self.names))
        where[[known[name] for name in self.names]] = torch.arange(len(self.names))
        self.register_buffer("columns", torch.tensor([known[name] for name in self.names]), persistent=False)
        self.register_buffer("where", where, persistent=False)

    columns: Tensor
    where: Tensor

    def fit(self, reference: Tensor, conditions: Tensors, weights: Tensor | None = None) -> None:
        """Nothing is learned."""
        self._set_fitted()

    def forward(self, response: Tensor, conditions: Tensors) -> Tensor:
        """The columns `(n, k)`."""
        return response.index_select(1, self.columns).double()

    def impose(self, response: Tensor, coordinates: Tensor, conditions: Tensors) -> Tensor:
        """The response with these columns replaced."""
        padded = torch.cat([coordinates.to(response.dtype), response.new_zeros(()).expand(response.shape[0], 1)], 1)
        return torch.where(self.where < len(self.names), padded.index_select(1, self.where), response)


def column_names(block: Block) -> list[str]:
    """A name per column of a block; empty where it is no continuous number."""
    if block.kind != "continuous":
        return [""] * block.width
    if not block.shape:
        return [block.name]
    ends = list(block.columns) if len(block.shape) == 1 and block.columns else [str(i) for i in range(block.width)]
    return [f"{block.name}_{end}" for end in ends]
