"""A plain conditional neural spline flow of zuko on all cells at once (Durkan et al. 2019, arXiv:1906.04032).

    python zuko_flow.py SPLIT.npz ANSWERS.npz [--minutes 10] [--passes N] [--hidden 128] [--transforms 3]

What somebody writes who reads zuko's tutorial: `zuko.flows.NSF` on standardised logarithms of the cells, given the standardised
conditions; maximum likelihood by Adam with a cosine schedule over the budget; the weights with the best likelihood of the
validation events are kept. Up to 100 cells it is autoregressive, as is zuko's default; beyond that, where a shower would
take thousands of network calls, it is a coupling flow (2 passes).
"""

from __future__ import annotations

import argparse
import copy
import math

import numpy as np
import torch
import zuko
from peer import CELLS, Budget, Known, LogCells, first_rows, measure, parser, write
from torch import Tensor

MOST_AUTOREGRESSIVE = 100
CHUNK = 500


def train(
    flow: torch.nn.Module, x: Tensor, c: Tensor, held: tuple[Tensor, Tensor], options: argparse.Namespace
) -> dict[str, float]:
    """Fit by likelihood within the budget; leaves the best weights and returns what it took."""
    rng = torch.Generator().manual_seed(options.seed)
    optimiser = torch.optim.Adam(flow.parameters(), lr=options.lr)
    budget, best, kept, steps, evaluated = Budget(options.minutes), math.inf, copy.deepcopy(flow.state_dict()), 0, 0.0
    while (used := budget.used) < 1:
        for group in optimiser.param_groups:
            group["lr"] = 0.5 * options.lr * (1 + math.cos(math.pi * used))
        rows = torch.randint(len(x), (options.batch,), generator=rng)
        loss = -flow(c[rows]).log_prob(x[rows]).mean() / x.shape[1]
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(flow.parameters(), 10.0)
        optimiser.step()
        steps += 1
        if used - evaluated > 0.04:
            evaluated, score = used, likelihood(flow, *held)
            print(f"{used:4.0%} of the budget, step {steps}: training {loss.item():.4f}, validation {score:.4f}", flush=True)
            if score < best:
                best, kept = score, copy.deepcopy(flow.state_dict())
    took = budget.spent()
    flow.load_state_dict(kept)
    return {**took, "steps": steps, "epochs": steps * options.batch / len(x), "validation_nll_per_cell": best}


@torch.no_grad()
def likelihood(flow: torch.nn.Module, x: Tensor, c: Tensor) -> float:
    """Mean negative log-likelihood per cell."""
    parts = [flow(b).log_prob(a) for a, b in zip(x.split(CHUNK), c.split(CHUNK), strict=True)]
    return -float(torch.cat(parts).mean()) / x.shape[1]


@torch.no_grad()
def sample(flow: torch.nn.Module, c: Tensor) -> Tensor:
    """One draw for each row of conditions."""
    return torch.cat([flow(rows).sample() for rows in c.split(CHUNK)])


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--passes", type=int, help="groups of cells; absent: one for each cell up to 100 cells, else 2")
    options.add_argument("--hidden", type=int, default=128, help="width of the two hidden layers (default %(default)s)")
    options.add_argument("--transforms", type=int, default=3)
    options.add_argument("--batch", type=int, default=256)
    options.add_argument("--lr", type=float, default=1e-3)
    chosen = options.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(chosen.seed)
    known, generator = Known.read(chosen.split), np.random.default_rng(chosen.seed)
    passes = chosen.passes or (None if known.cells <= MOST_AUTOREGRESSIVE else 2)
    logs = LogCells(known.train[CELLS])
    train_c, held_c, test_c = (torch.from_numpy(f) for f in known.features())
    train_x, held_x = (torch.from_numpy(logs.forward(part[CELLS], generator)) for part in (known.train, known.validation))
    mean, width = train_x.mean(0), train_x.std(0).clamp(min=1e-6)
    flow = zuko.flows.NSF(
        known.cells,
        train_c.shape[1],
        transforms=chosen.transforms,
        hidden_features=(chosen.hidden, chosen.hidden),
        randperm=True,
        passes=passes,
    )
    took = train(flow, (train_x - mean) / width, train_c, ((held_x - mean) / width, held_c), chosen)

    def showers(c: Tensor) -> np.ndarray:
        return logs.inverse((sample(flow, c) * width + mean).numpy())

    hundred = torch.from_numpy(first_rows(test_c.numpy()))
    facts = {
        **took,
        **measure(lambda: showers(hundred)),
        "parameters": sum(p.numel() for p in flow.parameters()),
        "settings": {"passes": passes or known.cells, "hidden": chosen.hidden, "transforms": chosen.transforms, "bins": 8},
        "versions": {"zuko": zuko.__version__, "torch": torch.__version__, "numpy": np.__version__},
    }
    write(chosen.out, showers(test_c), showers(train_c), facts)


if __name__ == "__main__":
    main()
