r"""What a trained regressor reads from a response: the conditions, as a run that a recipe needs has learned to tell them.

The regressor's own chain is run on physical cells, $R(x)$, and compared with the true conditions $c$ in the space in which it
was trained, where each of them has unit spread: $r = R(x) - c$. It is frozen; gradients pass through it to the cells.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Self

import torch
from torch import Tensor, nn

from understudy.geometry import Calorimeter
from understudy.models.regressor import Regressor
from understudy.schema import Schema
from understudy.surrogate import Surrogate
from understudy.transforms.base import Tensors, condition


class Reading(nn.Module):
    """A needed regressor, seen to fit the events that it is to read.

    Args:
        needs: trained stand-ins by name.
        name: which of them.
        geometry: where the response's cells sit.
        schema: the events' schema.

    Raises:
        ValueError: no such need, it is no regressor of the conditions, or it was trained on another geometry, response or
            parameters.
    """

    def __init__(self, needs: Mapping[str, Any], name: str, geometry: Calorimeter | None, schema: Schema | None) -> None:
        super().__init__()
        if name not in needs:
            raise ValueError(
                f"the regressor {name!r} is not among what the recipe needs ({', '.join(needs) or 'nothing'}); add it to 'needs'"
            )
        if schema is None:
            raise ValueError("a regressor can only read events whose schema is known")
        surrogate = needs[name]
        check_regressor(surrogate, name, geometry, schema)
        self._held: tuple[Surrogate] = (surrogate.requires_grad_(False).eval(),)  # inside a tuple it is no submodule
        self.size: int = surrogate.last.transforms.output_size(surrogate.schema.response_width)

    def residual(self, cells: Tensor, given: Tensors) -> Tensor:
        """`R(x) - c` in the regressor's learned space, `(n, size)`, for physical cells `(n, d)` and true conditions."""
        (surrogate,) = self._held
        stage = surrogate.last
        truth = torch.cat([condition(given, b.name) for b in surrogate.schema.response], dim=1)
        seen = {surrogate.schema.conditions[0].name: cells.float()}
        read = stage.model.sample(cells.new_zeros(len(cells), 0), stage.encoder(seen))
        residual: Tensor = read.float() - stage.transforms(truth, seen)
        return residual

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        applied: Any = super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        self._held[0]._apply(fn, recurse)  # type: ignore[no-untyped-call]
        return applied  # type: ignore[no-any-return]


def reads_responses(surrogate: Surrogate) -> bool:
    """Whether a stand-in is a regressor of what an image was made from."""
    blocks = surrogate.schema.conditions
    single = len(surrogate.stages) == 1 and isinstance(surrogate.last.model, Regressor)
    return single and len(blocks) == 1 and blocks[0].kind == "image"


def check_regressor(surrogate: Surrogate, name: str, geometry: Calorimeter | None, schema: Schema) -> None:
    """ValueError unless `surrogate` reads given conditions of `schema` from responses of `schema` and `geometry`."""
    if not reads_responses(surrogate):
        gives = ", ".join(b.name for b in surrogate.schema.response)
        takes = ", ".join(b.name for b in surrogate.schema.conditions)
        raise ValueError(
            f"the needed run {name!r} is no regressor of a response: it gives {gives} for {takes}; name a run of a recipe with"
            " 'invert: true' and the model 'regressor'"
        )
    if surrogate.geometry != geometry:
        mine, theirs = _said(geometry), _said(surrogate.geometry)
        raise ValueError(
            f"the regressor {name!r} was trained on {theirs}, but this recipe has {mine}; train it on the same cells"
        )
    seen = surrogate.schema.conditions[0]
    if [(b.name, b.width) for b in schema.response] != [(seen.name, seen.width)]:
        said = ", ".join(b.name for b in schema.response)
        raise ValueError(f"the regressor {name!r} reads {seen.name!r}, but the response of this recipe is {said}")
    given = {b.name: b for b in schema.given}
    for block in surrogate.schema.response:
        own = given.get(block.name)
        if own is None or (own.shape, own.unit) != (block.shape, block.unit):
            raise ValueError(
                f"the regressor {name!r} reads {block.name!r} ({block.width} numbers in {block.unit or 'no unit'}), which is not"
                f" among the conditions of this recipe ({', '.join(given) or 'none'}); train it on conditions that are"
            )


def _said(geometry: Calorimeter | None) -> str:
    return "no geometry" if geometry is None else f"geometry {geometry.name!r} ({geometry.n_cells} cells)"
