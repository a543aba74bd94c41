r"""The Cramer GAN (Bellemare et al. 2017, arXiv:1705.10743): the energy distance of what the critic makes of both samples.

The critic $h$ maps a response with its conditions to a vector. For $X$ reference and $Y$ generated events,

$$\mathcal E = 2 E\|h(X) - h(Y)\| - E\|h(X) - h(X')\| - E\|h(Y) - h(Y')\|$$

is what the critic maximises and the generator minimises. (The paper's surrogate puts $\|h(X)\|$ in the place of $E\|h(X) -
h(X')\|$, since it draws one reference event at a time; a batch has many.) Each expectation is the mean over all pairs $i \ne j$
of a batch with **pair weights** $w_i w_j$,

$$E\|h(X) - h(X')\| \approx \frac{1}{n (n - 1)} \sum_{i \ne j} w_i w_j\, \|h(x_i) - h(x_j)\|,$$

which is unbiased for weights of either sign that average to 1 over the training split: the two events of a pair are drawn
independently. It would not be if the batch's own sum of weights divided it, nor with $i = j$ (distance zero, weight $w_i^2$), nor
for a generated event and the reference event whose conditions it takes. A generated event has the weight of its conditions.

The penalty of the paper acts on $f(x) = \|h(x) - h(y')\| - \|h(x)\|$, between reference and generated events, with $y'$ the
generated event of another row. It holds at every point by itself, so that no weights enter; where it counts, the space between
the samples, is the same for all weights of one sample. The critic's parameters reach $f$ through $h(y')$ too, and the penalty
must follow them there: with $h(y')$ held fixed a shift common to all of $h$, which leaves every distance as it is, seems to turn
the direction of $h(x) - h(y')$, and the critic runs after that without end.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from understudy.models.objectives.base import Objective
from understudy.registry import register

TINY = 1e-12
"""Added to squared distances: the root has no gradient at zero."""


@register("objectives", "cramer")
class Cramer(Objective):
    """Energy distance of vectors $h$, with pair weights.

    Args:
        dimension: length of the critic's output.
    """

    pairs = True

    def __init__(self, dimension: Annotated[int, Field(ge=2)] = 256) -> None:
        self.outputs = dimension

    def critic(self, real: Tensor, generated: Tensor, weights: Tensor | None) -> Tensor:
        """Minus the estimate of the energy distance of `(n, k)` and `(n, k)`."""
        return -energy_distance(real, generated, weights)

    def generator(self, generated: Tensor, weights: Tensor | None) -> Tensor:
        """Not without reference events."""
        raise ValueError("the objective 'cramer' compares generated events with reference ones; use it in the model 'gan'")

    def against(self, real: Tensor, generated: Tensor, weights: Tensor | None) -> Tensor:
        """The estimate of the energy distance."""
        return energy_distance(real, generated, weights)

    def witness(self, scores: Tensor, generated: Tensor) -> Tensor:
        """$f$, `(n,)`: the distance to the generated event of the next row less that to zero."""
        return norm(scores - generated.roll(1, 0)) - norm(scores)


def energy_distance(x: Tensor, y: Tensor, weights: Tensor | None = None) -> Tensor:
    """The unbiased estimate of the energy distance; rows of x and y share their weight and are no pair of their own.

    Args:
        x: `(n, k)`.
        y: `(n, k)`.
        weights: `(n,)`, averaging to 1 over what the rows were drawn from; may be negative.

    Raises:
        ValueError: fewer than two rows.
    """
    n = len(x)
    if n < 2:
        raise ValueError(f"the energy distance is a mean over pairs: give batches of 2 or more events, not {n}")
    both = torch.cat([x, y])
    w = torch.ones(n, device=x.device, dtype=x.dtype) if weights is None else weights.to(x.dtype)
    signs = torch.cat([w, -w])
    other = 1 - torch.eye(n, device=x.device, dtype=x.dtype).repeat(2, 2)
    return -(signs @ (distances(both) * other) @ signs) / (n * (n - 1))


def distances(x: Tensor) -> Tensor:
    """Euclidean distances of all rows `(n, k)` from each other, `(n, n)`; with a gradient also where they are zero."""
    x = x - x.detach().mean(0)  # less is lost to rounding
    squares = x.square().sum(1)
    return (squares[:, None] + squares[None, :] - 2 * x @ x.T).clamp(min=0.0).add(TINY).sqrt()


def norm(x: Tensor) -> Tensor:
    """Lengths `(n,)` of rows `(n, k)`."""
    return x.square().sum(1).add(TINY).sqrt()
