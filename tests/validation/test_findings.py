"""Analyses enter the numbers, the verdict and the page."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from understudy.events import Events
from understudy.registry import factory, register
from understudy.schema import Block, Schema
from understudy.validation import figures
from understudy.validation.analyses.base import Analysis, Finding, Samples, agreement
from understudy.validation.compare import compare
from understudy.validation.curve import Curve
from understudy.validation.html import page
from understudy.validation.settings import ValidationSettings


@register("analyses", "test-mean")
class Mean(Analysis):
    """The mean of the response, and whether it is near the reference's."""

    def __init__(self, limit: float = 0.1) -> None:
        self.limit = limit

    def __call__(self, samples: Samples) -> Sequence[Finding]:
        base, floor = samples.reference.response["y"].mean(), samples.floor.response["y"].mean()
        shifts = {name: float(e.response["y"].mean() - base) for name, e in samples.candidates.items()}

        def curve(y: float) -> Curve:
            return Curve("mean", np.array([0.0, 1.0]), np.array([y]), np.array([0.01]))

        figure = figures.Figure(figsize=(2, 1))
        return [
            Finding(
                "Mean of y",
                "A mean, and nothing else.",
                {name: {"shift": {"value": shift, "floor": float(floor - base)}} for name, shift in shifts.items()},
                {name: {"mean": agreement(curve(base), curve(floor), curve(base + s))} for name, s in shifts.items()},
                [{"sample": name, "shift": f"{shift:.3f}"} for name, shift in shifts.items()],
                [figures.svg(figure, "nothing at all")],
                {name: [f"The mean of y is off by {s:.2f}"] for name, s in shifts.items() if abs(s) > self.limit},
            )
        ]


def sample(n: int, shift: float, seed: int) -> Events:
    rng = np.random.default_rng(seed)
    schema = Schema(conditions=(Block("x"),), response=(Block("y"),))
    return Events(schema, {"x": rng.normal(size=n)}, {"y": rng.normal(shift, 1.0, n)})


@pytest.fixture(scope="module")
def settings() -> ValidationSettings:
    quick = {"seeds": 1, "replicas": 5, "epochs": 1, "iterations": 5}
    return ValidationSettings.model_validate(
        {"replicas": 5, "floor_repeats": 2, "classifier": quick, "analyses": ["test-mean", {"kind": "test-mean", "limit": 9}]}
    )


def test_numbers_curves_verdict_and_page(settings: ValidationSettings) -> None:
    made = {"good": sample(600, 0.0, 3), "shifted": sample(600, 0.4, 4)}
    report = compare(sample(600, 0.0, 1), made, floor=sample(600, 0.0, 2), settings=settings)
    good, shifted = (report.metrics["candidates"][n] for n in ("good", "shifted"))
    assert shifted["analyses"]["test-mean"]["shift"]["value"] == pytest.approx(0.4, abs=0.15)
    assert "test-mean#2" in shifted["analyses"]
    assert shifted["curves"]["mean"]["chi2"] > 100
    assert shifted["verdict"] == "fail"
    assert any("mean of y" in r for r in shifted["reasons"])
    assert not any("mean of y" in r for r in good["reasons"])
    text = page(report)
    assert "A mean, and nothing else." in text
    assert 'href="#finding-2"' in text


def test_settings_are_written_back_and_checked(settings: ValidationSettings) -> None:
    plain = settings.model_dump(mode="json")["analyses"]
    assert plain == [{"kind": "test-mean", "limit": 0.1}, {"kind": "test-mean", "limit": 9.0}]
    with pytest.raises(ValueError, match="no kind 'test-meen' in analyses"):
        factory("analyses", "test-meen")
