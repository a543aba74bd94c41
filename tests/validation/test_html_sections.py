"""The report's tables beside the distances, and what is still wrong."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from understudy.events import Events
from understudy.geometry import Calorimeter, Layer
from understudy.schema import Block, Schema
from understudy.validation import figures, figures_report, grouping, html_sections
from understudy.validation.compare import compare
from understudy.validation.html import page
from understudy.validation.measure import above_twice_floor
from understudy.validation.metrics import DistanceMetrics, ObservableMetrics
from understudy.validation.outcome import Outcome, Sample
from understudy.validation.report import Report
from understudy.validation.settings import ClassifierSettings, ValidationSettings
from understudy.validation.variety import Variety

GRID = Calorimeter("grid", (Layer.grid("rear", (3, 3), (1.0, 1.0), (0.0, 0.0)),))
QUICK = ValidationSettings(
    replicas=20,
    floor_repeats=3,
    energy_bins=2,
    gallery=(2e4, 9e9),
    classifier=ClassifierSettings(seeds=1, epochs=1, iterations=3, replicas=4),
)
SCHEMA = Schema((Block("incident_energy", "MeV", minimum=0.0),), (Block("showers", "MeV", shape=(9,), minimum=0.0),))


def showers(n: int, seed: int, scale: float = 1.0) -> Events:
    energy = np.random.default_rng(77).uniform(1e4, 1e5, n)
    shares = np.random.default_rng(seed).dirichlet(np.ones(9), n)
    total = np.random.default_rng(seed + 1000).normal(0.2 * scale, 0.01, (n, 1))
    return Events(SCHEMA, {"incident_energy": energy}, {"showers": energy[:, None] * total * shares})


@pytest.fixture(scope="module")
def report() -> Report:
    wrong = showers(300, 2, 1.2)
    one = {"incident_energy": np.array([2e4])}
    variety = Variety("20 GeV", one, showers(60, 5), {"good": showers(60, 6)}, {"good": showers(60, 7)}, "How it was made.")
    return compare(
        showers(300, 0), {"good": showers(300, 3), "wrong": wrong}, floor=showers(300, 1), geometry=GRID, settings=QUICK,
        variety=[variety],
    )  # fmt: skip


@pytest.fixture(scope="module")
def text(report: Report) -> str:
    def blank(figure: Any, alt: str, dpi: int = 1) -> figures.Picture:
        return figures.Picture(b"", "image/png", 1, 1, alt)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(figures, "svg", blank)
        patch.setattr(figures, "png", blank)
        return page(report)


def entry(value: float, error: float, floor: float, floor_error: float) -> ObservableMetrics:
    w1 = DistanceMetrics(value=value, error=error, floor=floor, floor_error=floor_error)
    other = DistanceMetrics(value=0.0, error=0.0, floor=0.0, floor_error=0.0)
    return ObservableMetrics(unit="", wasserstein1=w1, separation_power=other, ks=other, defined={"reference": 1.0})


def test_above_twice_the_floor_needs_three_sigmas() -> None:
    found = above_twice_floor(
        {
            "fine": entry(1.9, 0.01, 1.0, 0.01),
            "chance": entry(3.0, 0.5, 1.0, 0.0),
            "floors_chance": entry(3.0, 0.1, 1.0, 0.2),
            "wrong": entry(3.0, 0.1, 1.0, 0.1),
            "worst": entry(50.0, 0.1, 1.0, 0.1),
            "undefined": entry(math.nan, math.nan, 1.0, 0.1),
            "no_floor": entry(1.0, 0.1, 0.0, 0.0),
        }
    )
    assert [f["observable"] for f in found] == ["worst", "wrong"]
    assert found[1]["over_floor"] == 3.0
    assert found[1]["sigmas"] == pytest.approx(1.0 / math.hypot(0.1, 0.2))


def test_what_is_wrong_is_listed_with_a_link_to_its_figure(report: Report, text: str) -> None:
    good, wrong = (report.metrics["candidates"][n]["above_twice_floor"] for n in ("good", "wrong"))
    assert "response" in [w["observable"] for w in wrong]
    assert [w["over_floor"] for w in wrong] == sorted((w["over_floor"] for w in wrong), reverse=True)
    assert len(good) < len(wrong)
    for found in wrong:
        assert f'<a href="#{found["observable"]}">' in text
        assert f'<figure id="{found["observable"]}">' in text
    assert f"{len(wrong)} of {len(report.observables)} observables are above twice their floor" in text
    assert not html_sections.still_wrong(report, set())["wrong"][0].drawn


def test_the_gallery_says_what_it_replaced(report: Report, text: str) -> None:
    panel = figures_report.gallery_panel(report)
    assert panel is not None
    assert "9e+06 GeV by" in panel.note
    assert "Showers at the same conditions" in text


def test_single_conditions_have_numbers_for_those_that_were_asked(report: Report, text: str) -> None:
    (table,) = html_sections.variety_tables(report)
    assert table.heads == ("mean", "width", "ratio of widths", "ratio at one condition", "KS (floor)")
    samples = [line.sample for lines in table.groups for line in lines]
    assert set(samples) == {"", "good"}
    labels = [lines[0].label for lines in table.groups]
    names = [o.name.replace("_", " ") for o in report.observables]
    assert [names.index(re.sub(r" \[.*", "", label)) for label in labels] == sorted(
        names.index(re.sub(r" \[.*", "", label)) for label in labels
    )
    assert "How it was made." in text
    assert "20 GeV" in text
    assert "variety" in [c["name"] for c in report.metrics["candidates"]["good"]["checks"]]
    assert "variety" not in [c["name"] for c in report.metrics["candidates"]["wrong"]["checks"]]
    study = report.metrics["candidates"]["good"]["variety"][0]
    assert study["events"] == study["reference_events"] == 60
    assert study["exact"] is False


def outcome(observables: dict[str, dict[str, float]], **more: Any) -> Outcome:
    """An outcome that holds moments alone: reference as given, candidate twice as wide and shifted by its width."""
    from understudy.validation.observables import Observable

    entries = {
        name: {
            "unit": "mm",
            "moments": {"reference": m, "candidate": {**m, "mean": m["mean"] + m["width"], "width": 2 * m["width"]}},
        }
        for name, m in observables.items()
    }
    sample = Sample("ref", showers(2, 0), {}, {}, None)
    metrics = {"candidates": {"model": {"observables": entries, **more}}}
    known = tuple(Observable(name, "mm", name, lambda e, g: np.zeros(len(e))) for name in observables)
    return Outcome(metrics, sample, sample, {"model": sample}, known)


def test_means_and_widths_and_closure_are_apart() -> None:
    m = {"mean": 1.0, "mean_error": 0.03, "width": 0.5, "width_error": 0.02}
    found = outcome({"width_x": m, "residual_position_x": m})
    moments, closure = html_sections.moments_table(found), html_sections.closure_table(found)
    assert moments is not None
    assert closure is not None
    assert [g[0].label for g in moments.groups] == ["width x [mm]"]
    assert [g[0].label for g in closure.groups] == ["position x [mm]"]
    assert closure.heads == ("bias", "difference of biases", "width", "ratio of widths")
    reference, model = closure.groups[0]
    assert [c.text for c in reference.cells] == ["1.000 ± 0.030", "", "0.500 ± 0.020", ""]
    assert model.cells[1].text == "0.50 ± 0.04"
    assert model.cells[3].text.startswith("2.00 ±")
    assert model.cells[1].far
    assert model.cells[3].far
    assert html_sections.closure_table(outcome({"width_x": m})) is None


def test_the_closure_of_a_regressors_own_run_is_a_table() -> None:
    entry = {"unit": "mm", "bias": 0.5, "bias_error": 0.1, "width": 2.0, "width_error": 0.05, "central": 1.8}
    found = {"residual_position_x": entry, "residual_momentum_px": {**entry, "unit": "", "bias": None, "bias_error": None}}
    made = outcome({})
    assert html_sections.reading_table(made) is None
    table = html_sections.reading_table(replace(made, metrics={**made.metrics, "closure": found}))
    assert table is not None
    assert table.heads == ("bias", "width", "half of the central 68 %")
    ((x,), (px,)) = table.groups
    assert (x.label, px.label) == ("position x [mm]", "momentum px")
    assert [c.text for c in x.cells] == ["0.50 ± 0.10", "2.00 ± 0.05", "1.80"]
    assert [c.far for c in (*x.cells, px.cells[0])] == [True, False, False, False]


def test_fits_of_all_samples_are_in_one_table() -> None:
    fit = {
        "a": {"value": 0.08, "error": 0.001, "unit": "sqrt(GeV)"},
        "c": {"value": 0.01, "error": 0.002, "unit": ""},
        "covariance": [[1, 0], [0, 1]],
        "chi2": 5.25,
        "ndf": 6,
        "p_value": 0.5,
    }
    fits = {"resolution": {"reference": fit, "floor": fit, "candidate": fit, "pulls": {"a": 0.0, "c": 0.0}}}
    table = html_sections.fits_table(outcome({}, fits=fits))
    assert table is not None
    assert table.heads == ("a [√GeV]", "c", "χ²/ndf", "p-value")
    (lines,) = table.groups
    assert [line.sample for line in lines] == ["", "floor", "model"]
    assert [c.text for c in lines[2].cells] == ["0.0800 ± 0.0010", "0.0100 ± 0.0020", "5.2/6", "0.5"]
    assert not any(c.far for line in lines for c in line.cells)
    poor, noise = {**fit, "chi2": 180.0, "p_value": 1e-30}, {"value": 0.2, "error": 0.01, "unit": "GeV"}
    table = html_sections.fits_table(
        outcome({}, fits={"resolution": {"reference": poor}, "with_b": {"reference": {**fit, "b": noise}}})
    )
    assert table is not None
    assert table.heads == ("a [√GeV]", "b [GeV]", "c", "χ²/ndf", "p-value")
    (first,), (second,) = table.groups
    assert [c.text for c in first.cells] == ["0.0800 ± 0.0010", "", "0.0100 ± 0.0020", "180.0/6", "< 0.0001"]
    assert [c.far for c in first.cells] == [False, False, False, True, True]
    assert second.cells[1].text == "0.200 ± 0.010"
    assert html_sections.fits_table(outcome({}, fits={})) is None
    assert html_sections.fits_table(outcome({})) is None


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("residual_position_x", "Regressor closure"),
        ("asymmetry_along", "Asymmetry about the impact point"),
        ("radius_90", "Containment radius"),
        ("width_across_rear", "Shower width along and across the direction of flight"),
        ("width_x_rear", "Shower width"),
        ("mean_eta_rear", "Energy-weighted mean"),
        ("core_fraction_rear", "Shower core and cells above threshold"),
        ("hits_rear", "Shower core and cells above threshold"),
        ("response", "Whole shower"),
    ],
)
def test_observables_are_grouped(name: str, group: str) -> None:
    assert grouping.observable_group(name, GRID) == group


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("width_eta_rear", "Shower width in η"),
        ("mean_x_front", "Energy-weighted mean in x"),
        ("fraction_front", "Fraction of the energy per layer"),
        ("hits_rear", "Cells above threshold"),
        ("energy_of_something", "Whole shower"),
    ],
)
def test_observables_of_several_layers_are_grouped_by_quantity(name: str, group: str) -> None:
    two = Calorimeter("two", (GRID.layers[0], Layer.grid("front", (3, 3), (1.0, 1.0), (0.0, 0.0))))
    assert grouping.observable_group(name, two) == group


@pytest.mark.parametrize(
    ("name", "group"),
    [
        ("residual_momentum_px_bias_vs_energy", "Regressor closure"),
        ("resolution_rms_vs_energy", "Energy"),
        ("linearity_vs_energy", "Energy"),
        ("s_curve_x", "Impact point and direction"),
        ("offset_x_vs_slope", "Impact point and direction"),
        ("lateral_profile", "Profiles"),
        ("sparsity_vs_threshold", "Profiles"),
        ("cell_energies_middle", "Profiles"),
        ("width_x_rear_vs_energy", "Shower shape against the energy"),
    ],
)
def test_curves_are_grouped(name: str, group: str) -> None:
    assert grouping.curve_group(name) == group
