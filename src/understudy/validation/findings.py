"""Findings of analyses: made for all samples of a comparison, and entered into its numbers and verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from understudy.registry import Factory
from understudy.validation.analyses.base import Analysis, Finding, Samples
from understudy.validation.metrics import Comparison, CurveMetrics

Found = Mapping[str, Sequence[Finding]]
"""Findings by the kind of their analysis; a kind that is named twice is numbered."""


def analyse(entries: Sequence[Factory], samples: Samples) -> dict[str, list[Finding]]:
    """Do the analyses that a recipe names, in its order."""
    found: dict[str, list[Finding]] = {}
    for entry in entries:
        analysis: Analysis = entry()
        times = sum(name.split("#")[0] == entry.kind for name in found)
        found[entry.kind if not times else f"{entry.kind}#{times + 1}"] = list(analysis(samples))
    return found


def entered(comparison: Comparison, name: str, found: Found) -> Comparison:
    """A candidate's comparison with what the analyses found of it."""
    numbers, curves, checks, reasons = dict(comparison.analyses), dict(comparison.curves), list(comparison.checks), list[str]()
    for kind, findings in found.items():
        own = {key: value for finding in findings for key, value in finding.numbers.get(name, {}).items()}
        if own:
            numbers[kind] = own
        for finding in findings:
            curves |= {key: CurveMetrics.model_validate(entry) for key, entry in finding.curves.get(name, {}).items()}
            reasons += finding.reasons.get(name, ())
        checks += [
            {"name": kind, "passed": False, "sentence": sentence} for f in findings for sentence in f.reasons.get(name, ())
        ]
    verdict, told = comparison.verdict, list(comparison.reasons)
    if reasons:
        told = reasons if verdict == "pass" else [*told, *reasons]
        verdict = "fail"
    changed = {"analyses": numbers, "curves": curves, "checks": checks, "verdict": verdict, "reasons": told}
    return comparison.model_copy(update=changed)
