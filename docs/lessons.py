r"""Two small lessons on adversarial training, as one picture: `python docs/lessons.py` writes `docs/images/lessons.png`.

1. Two uniform distributions on parallel lines at a distance $\theta$: $W_1 = |\theta|$, but the Jensen-Shannon divergence is
   $\log 2$ and both Kullback-Leibler divergences are infinite for every $\theta \ne 0$ (Arjovsky, Chintala and Bottou 2017).
2. $\min_x \max_y x\,y$: simultaneous gradient steps turn away from the equilibrium, alternating ones turn around it, optimistic
   ones reach it.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
PLACE = Path(__file__).parent / "images" / "lessons.png"


def kullback_leibler(p: Array, q: Array) -> float:
    r"""$KL(p \| q) = \sum_i p_i \log(p_i / q_i)$ of probabilities `(n,)`; infinite where $q$ lacks what $p$ has."""
    here = p > 0
    if (q[here] == 0).any():
        return math.inf
    return float(np.sum(p[here] * np.log(p[here] / q[here])))


def jensen_shannon(p: Array, q: Array) -> float:
    r"""$\tfrac12 KL(p \| m) + \tfrac12 KL(q \| m)$ with $m = (p + q)/2$."""
    m = 0.5 * (p + q)
    return 0.5 * kullback_leibler(p, m) + 0.5 * kullback_leibler(q, m)


def lines(theta: float, points: int = 8) -> tuple[Array, Array, Array]:
    """Two lines of equally likely points at x = 0 and x = theta: all places `(k, 2)` and the two distributions `(k,)` on them."""
    y = (np.arange(points) + 0.5) / points
    first, second = np.stack([0 * y, y], 1), np.stack([0 * y + theta, y], 1)
    places, index = np.unique(np.concatenate([first, second]), axis=0, return_inverse=True)
    p, q = (np.bincount(index.ravel()[part], minlength=len(places)) / points for part in (slice(points), slice(points, None)))
    return places, p, q


def wasserstein(theta: float, points: int = 8) -> float:
    """The Wasserstein-1 distance of the two lines, by the best of all pairings of their points."""
    from scipy.optimize import linear_sum_assignment

    y = (np.arange(points) + 0.5) / points
    cost = np.hypot(theta, y[:, None] - y[None])
    return float(cost[linear_sum_assignment(cost)].mean())


def play(rule: str, step: float = 0.1, steps: int = 300, start: tuple[float, float] = (1.0, 0.0)) -> Array:
    r"""The path `(steps + 1, 2)` of $\min_x \max_y x y$ from `start`.

    Args:
        rule: `simultaneous`, both players move at once; `alternating`, $y$ sees where $x$ has gone; `optimistic`, both at once by
            $2 g_t - g_{t-1}$ (Daskalakis et al. 2018).
        step: learning rate.
        steps: moves of each player.
        start: where they begin.
    """
    x, y = start
    before = (y, x)
    path = [(x, y)]
    for _ in range(steps):
        if rule == "alternating":
            x = x - step * y
            y = y + step * x
        elif rule == "optimistic":
            now = (y, x)
            x, y = x - step * (2 * now[0] - before[0]), y + step * (2 * now[1] - before[1])
            before = now
        else:
            x, y = x - step * y, y + step * x
        path.append((x, y))
    return np.array(path)


def main() -> None:
    """Draw both."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    theta = np.linspace(-1, 1, 41)
    left.plot(theta, [wasserstein(t) for t in theta], label="Wasserstein-1")
    left.plot(theta, [jensen_shannon(*lines(t)[1:]) for t in theta], ".", label="Jensen-Shannon")
    left.plot([0], [0], "k*", label="Kullback-Leibler (infinite elsewhere)")
    left.set(xlabel=r"distance $\theta$ of the lines", ylabel="divergence", ylim=(-0.05, 1.05))
    left.legend(fontsize=8)
    for rule in ("simultaneous", "alternating", "optimistic"):
        right.plot(*play(rule).T, lw=1, label=rule)
    right.plot(0, 0, "k*")
    right.set(xlabel="x", ylabel="y", title=r"$\min_x \max_y\ x\,y$", aspect="equal")
    right.legend(fontsize=8)
    figure.savefig(PLACE, dpi=110)


if __name__ == "__main__":
    main()
