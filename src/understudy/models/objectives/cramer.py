r"""The Cramer GAN (Bellemare et al. 2017, arXiv:1705.10743): the energy distance of what the critic makes of both samples.

The critic $h$ maps a response with its conditions to a vector. For $X$ reference and $Y$ generated events,

$$\mathcal E = 2 E\|h(X) - h(Y)\| - E\|h(X) - h(X')\| - E\|h(Y) - h(Y')\|$$

is what the critic maximises and the generator minimises. It can be formed in two ways.

**conditional**, the paper's: at the conditions of every reference event $x$ two responses $y$, $y'$ are generated. With
$f(x) = \|h(x) - h(y')\| - \|h(x)\|$ the critic maximises $E\, w\, [f(x) - f(y)]$, which has $\|h(x)\|$ in the place of
the distance to a second reference event, since there is but one; the generator minimises
$E\, w\, [\|h(x) - h(y)\| + \|h(x) - h(y')\| - \|h(y) - h(y')\|]$, which is $\mathcal E$ at each condition up to what it
cannot change. Both are linear in the weight $w$ of the event: unbiased for weights of either sign that average to 1 over the
training split.

**joint**: the energy distance of responses *with* their conditions. Each expectation is the mean over all pairs $i \ne j$ of a
batch with **pair weights** $w_i w_j$,

$$E\|h(X) - h(X')\| \approx \frac{1}{n (n - 1)} \sum_{i \ne j} w_i w_j\, \|h(x_i) - h(x_j)\|,$$

which is unbiased too: the two events of a pair are drawn independently. It would not be if the batch's own sum of weights
divided it, nor with $i = j$ (distance zero, weight $w_i^2$), nor for a generated event and the reference event whose
conditions it takes. A generated event has the weight of its conditions. Most pairs differ in their conditions, so that
less of this distance is due to the response.

The penalty of the paper acts on $f$ between $x$ and $y$; in the joint form $y'$ is the generated event of another row. It
holds at every point by itself, so that no weights enter; where it counts, the space between the samples, is the same for all
weights of one sample. The critic's parameters reach $f$ through $h(y')$ too, and the penalty must follow them there: with
$h(y')$ held fixed a shift common to all of $h$, which leaves every distance as it is, seems to turn the direction of
$h(x) - h(y')$, and the critic runs after that without end.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor

from understudy.models.base import weighted_mean
from understudy.models.objectives.base import Objective
from understudy.registry import register

TINY = 1e-12
"""Added to squared distances: the root has no gradient at zero."""


@register("objectives", "cramer")
class Cramer(Objective):
    """Energy distance of vectors $h$.

    Args:
        dimension: length of the critic's output.
        form: `conditional`, at each condition by itself with two generated responses, or `joint`, with pair weights.
    """

    pairs = True

    def __init__(
        self, dimension: Annotated[int, Field(ge=2)] = 256, form: Literal["conditional", "joint"] = "conditional"
    ) -> None:
        self.outputs, self.joint = dimension, form == "joint"
        self.draws = 1 if self.joint else 2

    def critic(self, real: Tensor, generated: Tensor, weights: Tensor | None) -> Tensor:
        """Minus the distance of `(n, k)` and `(draws * n, k)`, in the conditional form minus its surrogate."""
        if self.joint:
            return -energy_distance(real, generated, weights)
        first, _ = generated.chunk(2)
        return -weighted_mean(self.witness(real, generated) - self.witness(first, generated), weights)

    def generator(self, generated: Tensor, weights: Tensor | None) -> Tensor:
        """Not without reference events."""
        raise ValueError("the objective 'cramer' compares generated events with reference ones; use it in the model 'gan'")

    def against(self, real: Tensor, generated: Tensor, weights: Tensor | None) -> Tensor:
        """The distance, in the conditional form without the part of reference events alone."""
        if self.joint:
            return energy_distance(real, generated, weights)
        first, second = generated.chunk(2)
        return weighted_mean(norm(real - first) + norm(real - second) - norm(first - second), weights)

    def witness(self, scores: Tensor, generated: Tensor) -> Tensor:
        """$f$, `(n,)`: the distance to $h(y')$ less that to zero."""
        other = generated.roll(1, 0) if self.joint else generated.chunk(2)[1]
        return norm(scores - other) - norm(scores)


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
