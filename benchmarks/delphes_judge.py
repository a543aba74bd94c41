"""A trained Delphes electron against the formulae, on a million electrons that it has never seen: AUC, regions, Wasserstein-1.

    python benchmarks/delphes_judge.py RUN [--events 1000000] [--seed 7]

The reference is simulated twice at the same electrons: to compare with, and as the floor. Trees learn from the first half of
the electrons of both samples (log pT, eta, |eta|, detected or not, log of the relative momentum) and are asked about the second;
`momentum` is the same for electrons that both have detected. Errors of the AUC are those of Hanley and McNeil (1982), of regions
binomial or by the normal density at the quantile of a bootstrap of 50 replicas.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import roc_auc_score

from understudy.deployment.bundle import read_trained
from understudy.domain import OutOfDomainWarning
from understudy.recipe import Recipe
from understudy.references.delphes import efficiency, regions
from understudy.validation.distances import wasserstein1

FEWEST = 100
PT = "reconstructed_pt"


def inputs(events: Any, given: dict[str, Any]) -> np.ndarray:
    """What the trees look at, `(n, 5)`."""
    relative = np.where(events.mask, events[PT] / given["pt"], np.nan)
    return np.stack([np.log(given["pt"]), np.abs(given["eta"]), given["eta"], events.mask, np.log(relative)], 1)


def auc(first: np.ndarray, second: np.ndarray) -> tuple[float, float]:
    """AUC of trees that tell `first` from `second`, learned on the first halves, and its error."""
    half = len(first) // 2
    labels = np.r_[np.zeros(half), np.ones(half)]
    trees = HistGradientBoostingClassifier(max_iter=100, max_leaf_nodes=63, early_stopping=False, random_state=0)
    trees.fit(np.concatenate([first[:half], second[:half]]), labels)
    scores = [trees.decision_function(x[half:]) for x in (first, second)]
    a = roc_auc_score(np.r_[np.zeros(len(scores[0])), np.ones(len(scores[1]))], np.concatenate(scores))
    m, n = len(scores[0]), len(scores[1])
    q1, q2 = a / (2 - a), 2 * a * a / (1 + a)
    return a, float(np.sqrt((a * (1 - a) + (m - 1) * (q1 - a * a) + (n - 1) * (q2 - a * a)) / (m * n)))


def spread(ratio: np.ndarray) -> tuple[float, float]:
    """Median and 16-84 % width."""
    low, middle, high = np.quantile(ratio, [0.16, 0.5, 0.84])
    return float(middle), float(high - low)


def errors(ratio: np.ndarray, rng: np.random.Generator, replicas: int = 50) -> np.ndarray:
    """Relative errors of median and width."""
    found = np.array([spread(rng.choice(ratio, len(ratio))) for _ in range(replicas)])
    return found.std(0) / found.mean(0)


def main() -> None:
    """Simulate, judge, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--events", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    surrogate, recipe, _ = read_trained(options.run)
    reference = Recipe.load("delphes-electron").reference() if recipe.reference.kind == "file" else recipe.reference()
    rng = np.random.default_rng([options.seed, recipe.seed, 99])
    given = {k: np.asarray(v, np.float32) for k, v in reference.gun.draw(options.events, rng).items()}
    truth, floor = (reference.simulator.simulate(given, rng) for _ in range(2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutOfDomainWarning)
        made = surrogate.simulate(given, rng, chunk=8192)
    found = {}
    for name, other in (("stand-in", made), ("floor", floor)):
        both = truth.mask & other.mask
        found[name] = (
            auc(inputs(truth, given), inputs(other, given)),
            auc(inputs(truth, given)[both], inputs(other, given)[both]),
        )
        x, y = (np.log(e[PT][both] / given["pt"][both]) for e in (truth, other))
        (a, ea), (b, eb) = found[name]
        print(f"{name:9} AUC {a:.4f} +- {ea:.4f}, momentum {b:.4f} +- {eb:.4f}, W1 of ln(pT'/pT) {wasserstein1(x, y):.2e}")
    of_eta, of_pt = regions(given["pt"], given["eta"])
    print("eta pT | electrons | efficiency: expected, off by (floor) | median off by +- (floor) % | width off by +- (floor) %")
    for i, j in np.ndindex(4, 4):
        inside = (of_eta == i) & (of_pt == j)
        if inside.sum() < FEWEST:
            continue
        expected = float(efficiency(given["pt"][inside][:1], given["eta"][inside][:1])[0])
        line = f"{i} {j} | {inside.sum()} | {expected:.3f} {100 * (made.mask[inside].mean() - expected):+.2f} %"
        line += f" ({100 * (floor.mask[inside].mean() - expected):+.2f})"
        if (inside & truth.mask & floor.mask & made.mask).sum() > FEWEST:
            ratios = [(e[PT] / given["pt"])[inside & e.mask] for e in (truth, made, floor)]
            error = 100 * np.sqrt(2) * errors(ratios[0], rng)
            base, mine, theirs = (np.array(spread(r)) for r in ratios)
            for k in (0, 1):
                line += f" | {100 * (mine[k] / base[k] - 1):+.2f} +- {error[k]:.2f} ({100 * (theirs[k] / base[k] - 1):+.2f})"
        print(line)


if __name__ == "__main__":
    main()
