r"""Fixed-step solvers of $dx/dt = v(x, t)$ from $t = 0$ to $1$.

With a step $h$ (Hairer, Norsett and Wanner, Solving Ordinary Differential Equations I, section II.1):

- `euler`: $x + h\, v(x, t)$, first order, one evaluation;
- `midpoint`: $x + h\, v(x + \tfrac h2 v(x, t),\; t + \tfrac h2)$, second order, two;
- `heun`: $x + \tfrac h2 (v_1 + v_2)$ with $v_1 = v(x, t)$ and $v_2 = v(x + h v_1, t + h)$, second order, two.

The steps are equal and unrolled, so a solution is a finite composition of $v$ that an ONNX graph can hold.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from torch import Tensor

Field = Callable[[Tensor, float], Tensor]
"""$v(x, t)$: from `x` of any shape and a time to the same shape."""
Step = Callable[[Field, Tensor, float, float], Tensor]
"""`(v, x, t, h)` to the solution at $t + h$."""
Solver = Literal["euler", "midpoint", "heun"]


def euler(v: Field, x: Tensor, t: float, h: float) -> Tensor:
    """One step of Euler's method."""
    return x + h * v(x, t)


def midpoint(v: Field, x: Tensor, t: float, h: float) -> Tensor:
    """One step of the midpoint rule."""
    return x + h * v(x + 0.5 * h * v(x, t), t + 0.5 * h)


def heun(v: Field, x: Tensor, t: float, h: float) -> Tensor:
    """One step of Heun's method, the trapezium rule with an Euler step as predictor."""
    first = v(x, t)
    return x + 0.5 * h * (first + v(x + h * first, t + h))


SOLVERS: dict[str, Step] = {"euler": euler, "midpoint": midpoint, "heun": heun}


def integrate(v: Field, x: Tensor, steps: int, solver: Solver) -> Tensor:
    """The solution at $t = 1$ that starts from `x` at $t = 0$, in `steps` equal steps.

    Raises:
        ValueError: fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"a differential equation is solved in one step or more, not in {steps}; set 'steps' to 1 or more")
    for k in range(steps):
        x = SOLVERS[solver](v, x, k / steps, 1 / steps)
    return x
