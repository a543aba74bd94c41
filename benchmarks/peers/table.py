"""The table of the comparison, as Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

REST = ("E scale [%]", "ms/shower", "training [min]")
SHORT = {"low_level": "low", "high_level": "high", "combined": "combined"}
HEAD = ("model", *(f"{kind}{judge}" for kind in ("", "strong ") for judge in SHORT.values()), *REST)


def auc(judged: Mapping[str, float]) -> str:
    """A value with its error."""
    return f"{judged['auc']:.3f} ± {judged['error']:.3f}"


def floor_row(rows: Mapping[str, Mapping[str, Any]], geant4: Mapping[str, Any] | None) -> list[str]:
    """Reference against reference: what a perfect model would have; and Geant4's own time."""
    first = next(iter(rows.values()))
    cells = [
        f"{first[kind][j]['floor']:.3f} ± {first[kind][j]['floor_error']:.3f}"
        for kind in ("classifier", "classifier_strong")
        for j in SHORT
    ]
    scale = first.get("scale") or {}
    time = "not run" if geant4 is None else f"{geant4['cpu_ms']:.1f}"
    return ["Geant4 against itself (floor)", *cells, f"{100 * scale.get('floor', float('nan')):+.2f}", time, "-"]


def row(found: Mapping[str, Any]) -> list[str]:
    """One model; times are of the processor where known."""
    cost, scale = found["cost"], found["scale"]
    minutes = cost.get("training_cpu_s", cost["training_wall_s"]) / 60
    cells = [auc(found[kind][j]) for kind in ("classifier", "classifier_strong") for j in SHORT]
    percent = f"{100 * scale['value']:+.2f} ± {100 * scale['error']:.2f}" if scale else "-"
    return [found["title"], *cells, percent, f"{cost['cpu_ms']:.3g}", f"{minutes:.1f}"]


def table(facts: Mapping[str, Any], rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Everything in one table, with what it is about above and below it."""
    order = sorted(rows.values(), key=lambda r: r["classifier_strong"]["combined"]["auc"])
    lines = [HEAD, ["---", *["---:"] * (len(HEAD) - 1)], floor_row(rows, facts["geant4"]), *(row(r) for r in order)]
    trained = order[0]["judges_trained_on"]
    geant4 = facts["geant4"]
    about = [
        f"{facts['recipe']} on {facts['data']['name']}: {facts['events']['training']:,} training and {facts['events']['test']:,}"
        f" test showers; {facts['hardware']}, one thread.",
        "",
        *("| " + " | ".join(line) + " |" for line in lines),
        "",
        "AUCs (0.5: cannot be told from Geant4) of ordinary judges, trained on"
        f" {trained['classifier']:,} events, and of strong ones, trained on {trained['classifier_strong']:,}, all asked about"
        " held-out showers. Milliseconds are of the processor, batch 100, from conditions to cells; training minutes of the"
        " processor too, for runs of Understudy by the clock.",
    ]
    if geant4 is not None:
        about.append(f"Geant4's time is for a mean energy of {geant4['mean_energy_gev']:.1f} GeV, without its initialisation.")
    return "\n".join(about) + "\n"
