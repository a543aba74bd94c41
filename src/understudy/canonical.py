r"""Events in a canonical frame: what is symmetric is learned once, and the symmetry is exact.

Where a group $G$ maps conditions and cells so that $p(g\,x \mid g\,c) = p(x \mid c)$ (see `symmetry.py`), each event is
brought to one representative of its orbit, $c^* = g_c\,c$ with

$$g_c = \operatorname{arg\,max}_{g \in G}\ \bigl(p_x(g\,c),\ p_y(g\,c),\ x(g\,c),\ y(g\,c)\bigr)$$

in lexicographic order, the momentum $p$ before the position; ties go to the earlier element, the identity first. A model of
$x^* \mid c^*$ gives $x = g_c^{-1} x^*$, and is equivariant whatever it is: $c$ and $g\,c$ have the same $c^*$, so the same noise
gives images of one response. For the symmetries of the square, $c^*$ has slopes $t_x \ge t_y \ge 0$; a sample is as good as
eight times as many events. (Canonicalisation: Kaba et al., arXiv:2211.06489.)

Conditions that an element leaves as they are (a particle along the axis through the centre) have no unique $g_c$; there
the response is as symmetric as the model has learned it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from understudy.geometry import Calorimeter
from understudy.schema import Array, Schema
from understudy.symmetry import Symmetry, check_images
from understudy.transforms.base import Tensors

ORDER = ("momentum", "position")
"""Conditions that choose the element, the first one first."""


class CanonicalFrame(nn.Module):
    """To the canonical frame and back; uses only operations that ONNX knows.

    Args:
        elements: a whole group, the identity first.
        geometry: where the cells sit.
        schema: of the events.

    Raises:
        ValueError: an element is no symmetry of the cells, it is not known how it changes a condition, or no condition tells
            images from each other.
    """

    matrices: Tensor
    shifts: Tensor
    images: Tensor
    inverses: Tensor
    preference: Tensor

    def __init__(self, elements: Sequence[Symmetry], geometry: Calorimeter, schema: Schema) -> None:
        super().__init__()
        check_images(elements, geometry, schema)
        if not any(b.name in ORDER for b in schema.conditions):
            raise ValueError(
                f"'canonicalise' looks at the momentum or the position, and the conditions are"
                f" {', '.join(b.name for b in schema.conditions) or 'none'}; give one of them or leave out 'canonicalise'"
            )
        matrices = np.array([e.matrix for e in elements], np.float64)
        origins = np.array([e.origin for e in elements])
        shifts = origins - np.einsum("kij,kj->ki", matrices, origins)
        tables = np.stack([e.permutation(geometry) for e in elements])
        self._constant("matrices", matrices.astype(np.float32))
        self._constant("shifts", shifts.astype(np.float32))
        self._constant("images", tables)
        self._constant("inverses", np.argsort(tables, axis=1))
        self._constant("preference", np.arange(len(elements), 0, -1))

    def _constant(self, name: str, values: Array) -> None:
        """A buffer that the recipe and the geometry give again: it is in no file of weights."""
        self.register_buffer(name, torch.tensor(values), persistent=False)

    def element(self, conditions: Tensors) -> Tensor:
        """Which element brings each event to the canonical frame, `(n,)`."""
        best: Tensor | None = None
        for name in ORDER:
            if name not in conditions:
                continue
            vector = conditions[name][:, None, None, :2]
            image = (vector * self.matrices).sum(-1) + (self.shifts if name == "position" else 0.0)
            for axis in (0, 1):
                key = image[:, :, axis] if best is None else torch.where(best, image[:, :, axis], -torch.inf)
                largest = key == key.amax(1, keepdim=True)
                best = largest if best is None else best & largest
        if best is None:
            raise KeyError(f"the conditions {', '.join(conditions)} hold neither {' nor '.join(ORDER)}")
        return torch.where(best, self.preference, 0).argmax(1)

    def conditions(self, conditions: Tensors, element: Tensor) -> dict[str, Tensor]:
        """The conditions in the canonical frame; energies and categories stay."""
        found = dict(conditions)
        matrix, shift = self.matrices[element], self.shifts[element]
        for name in ORDER:
            if name not in found:
                continue
            moved = (found[name][:, None, :2] * matrix).sum(-1)
            if name == "position":
                moved = moved + shift
            found[name] = torch.cat([moved, found[name][:, 2:]], dim=1)
        return found

    def to_canonical(self, cells: Tensor, element: Tensor) -> Tensor:
        """Cells `(n, d)` in the canonical frame, one element after the other: a training split needs little more memory."""
        found = torch.empty_like(cells)
        for number, image in enumerate(self.images):
            rows = torch.nonzero(element == number)[:, 0]
            found[rows] = cells[rows][:, image]
        return found

    def back(self, cells: Tensor, element: Tensor) -> Tensor:
        """Cells `(n, d)` of the canonical frame where the caller's conditions have them."""
        return cells.gather(1, self.inverses[element])
