"""The card of a bundle: what it is, what it was trained on, how well it does, how to run it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from understudy.deployment.parity import Parity
from understudy.recipe import Recipe
from understudy.surrogate import Surrogate


def card(recipe: Recipe, surrogate: Surrogate, metrics: Mapping[str, Any] | None, parity: Parity) -> str:
    """A page of Markdown."""
    parts = [
        f"# {recipe.name}\n\n{recipe.title or 'A learned stand-in for a detector simulation.'}",
        f"Follows: {recipe.source}" if recipe.source else "",
        _domain(surrogate),
        _fidelity(metrics),
        _use(recipe, surrogate),
        f"## Export\n\nThe ONNX graph agrees with torch within {parity.largest_difference:.1e} (relative or absolute, before"
        f" thresholds) on {parity.events} events; {parity.flipped_cells} cells fell to the other side of a threshold.",
    ]
    return "\n\n".join(p for p in parts if p) + "\n"


def _domain(surrogate: Surrogate) -> str:
    rows = ["## Trained domain\n", "| condition | from | to | unit |", "|---|---|---|---|"]
    domain = surrogate.domain
    for name, low in domain.low.items():
        columns = surrogate.schema.block(name).columns or ("",) * len(low)
        for column, a, b in zip(columns, low, domain.high[name], strict=True):
            rows.append(f"| {name} {column} | {a:.5g} | {b:.5g} | {domain.units[name]} |")
    return "\n".join(rows) + "\n\nOutside it the stand-in still answers, with a warning and a flag per event."


def _fidelity(metrics: Mapping[str, Any] | None) -> str:
    if not metrics:
        return "## Fidelity\n\nNot validated."
    lines = [
        f"## Fidelity\n\nVerdict: **{metrics['verdict']}**. Classifier AUC (0.5: indistinguishable) with its floor:\n",
        "| judge | AUC | floor |",
        "|---|---|---|",
    ]
    for judge in ("low_level", "high_level", "combined"):
        row = metrics["classifier"].get(judge)
        if row:
            lines.append(
                f"| {judge.replace('_', ' ')} | {_pm(row['auc'], row['error'])} | {_pm(row['floor'], row['floor_error'])} |"
            )
    reasons = "\n".join(f"- {r}" for r in metrics.get("reasons", ()))
    return "\n".join(lines) + (f"\n\n{reasons}" if reasons else "")


def _pm(value: float | None, error: float | None) -> str:
    return "-" if value is None else f"{value:.3f}" + ("" if error is None else f" +- {error:.3f}")


def _use(recipe: Recipe, surrogate: Surrogate) -> str:
    given = ", ".join(f'"{b.name}": ...' for b in surrogate.schema.given)
    return (
        "## Use\n\n```python\nimport numpy as np\nfrom understudy import load_bundle\n\n"
        f'surrogate = load_bundle("path/to/{recipe.name}/bundle")\n'
        f"showers = surrogate.simulate({{{given}}}, np.random.default_rng(1))\n```"
    )
