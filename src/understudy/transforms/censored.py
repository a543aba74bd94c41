r"""Normal variables that are only seen above a limit, and a network that learns their location and spread.

A column $y \sim N(\mu, \sigma^2)$ that is empty where it would lie below `EMPTY` has, with $b = (\mu - 1)/\sigma$, the negative
log-likelihood

$$-\ln L = \begin{cases} \tfrac12 \big(\tfrac{y - \mu}{\sigma}\big)^2 + \ln \sigma & \text{seen} \\
   -\ln \Phi(-b) & \text{empty} \end{cases}$$

up to a constant (J. Tobin, Econometrica 26 (1958) 24). $\mu$ and $\ln \sigma$ are the outputs of a network of the conditions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from understudy.networks.dense import Dense
from understudy.transforms.moments import mean_and_scale

EMPTY = 1.0
"""Values above it are cells, values at zero are empty."""
SPREADS = (-5.0, 4.0)
"""Range of the logarithm of the spread."""
FAR_BELOW = -1e6
"""Location of a column that never varies: always empty, whatever the noise."""
CLIP_NORM = 10.0


def located(network: Dense, features: Tensor) -> tuple[Tensor, Tensor]:
    """$\\mu$ and $\\sigma$, `(n, d)` each."""
    found = network(features)
    d = found.shape[1] // 2
    return found[:, :d], found[:, d:].clamp(*SPREADS).exp()


def cost(mean: Tensor, spread: Tensor, y: Tensor, atom: Tensor) -> Tensor:
    """Negative log-likelihood of each column by itself, `(n, d)`, up to a constant.

    Args:
        mean: $\\mu$, `(n, d)`.
        spread: $\\sigma$, `(n, d)`.
        y: zero where a column is empty, `(n, d)`.
        atom: which columns can be empty, `(d,)`.
    """
    seen = 0.5 * ((y - mean) / spread).square() + spread.log()
    empty = atom & (y <= 0)
    limit = torch.where(empty, (mean - EMPTY) / spread, 0.0)
    return torch.where(empty, -torch.special.log_ndtr(-limit), torch.where(empty, 0.0, seen))


def learn(
    network: Dense,
    features: Tensor,
    y: Tensor,
    weights: Tensor | None,
    atom: Tensor,
    constant: Tensor,
    *,
    epochs: int,
    batch_size: int,
    lr: float,
    rng: torch.Generator,
    progress: Callable[[float], None],
) -> None:
    """Train `network`, whose last layer has $2 d$ outputs, to the likelihood; its weights are then frozen.

    Args:
        network: the network.
        features: `(n, features)`.
        y: `(n, d)`, as of `cost`.
        weights: optional `(n,)`, of mean 1.
        atom: which columns can be empty, `(d,)`.
        constant: which never vary, `(d,)`; they are put far below.
        epochs: passes through the events.
        batch_size: events in a batch.
        lr: the highest learning rate.
        rng: orders the events.
        progress: told the part that is done, 0 to 1.
    """
    network.requires_grad_(True).train()
    _start(network, *mean_and_scale(y, weights), atom, constant)
    size = min(batch_size, len(y))
    each = max(1, len(y) // size)
    steps = epochs * each
    with torch.enable_grad():
        optimiser = torch.optim.Adam(network.parameters(), lr=lr)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, lr, total_steps=steps, pct_start=0.1)
        rows = torch.empty(0, dtype=torch.int64)
        for step in range(steps):
            if len(rows) < size:
                rows = torch.randperm(len(y), generator=rng)
            batch, rows = rows[:size], rows[size:]
            optimiser.zero_grad(set_to_none=True)
            loss = cost(*located(network, features[batch]), y[batch], atom)
            (loss if weights is None else loss * weights[batch][:, None]).mean().backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(network.parameters(), CLIP_NORM)
            optimiser.step()
            schedule.step()
            if (step + 1) % each == 0:
                progress((step + 1) / steps)
    network.requires_grad_(False).eval()


def _start(network: Dense, mean: Tensor, scale: Tensor, atom: Tensor, constant: Tensor) -> None:
    """Let the network begin near the columns' own location and spread, whatever the conditions."""
    last = network.layers[-2]
    with torch.no_grad():
        last.weight.mul_(0.3)  # type: ignore[operator]
        start = torch.where(atom & (mean < EMPTY), mean - EMPTY, mean)
        start = torch.where(constant, FAR_BELOW, start)
        last.bias.copy_(torch.cat([start, scale.clamp(0.2, 10.0).log()]))  # type: ignore[operator]
