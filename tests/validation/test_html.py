"""The report page: self-contained, complete, readable at every width."""

from __future__ import annotations

import copy
import dataclasses
import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from understudy.events import Block, Events, Schema
from understudy.geometry import Calorimeter, Layer
from understudy.validation import figures, figures_report, html_tables
from understudy.validation.compare import compare
from understudy.validation.html import page, write_report
from understudy.validation.html_tables import Cell, quantity
from understudy.validation.report import Report
from understudy.validation.settings import ClassifierSettings, ValidationSettings

ODD = "<script>alert('a')</script> & $x$"
GRID = Calorimeter(
    "grid", (Layer.grid("front", (2, 1), (1.0, 1.0), (0.0, 0.0)), Layer.grid("rear", (3, 3), (1.0, 1.0), (0.0, 0.0)))
)
QUICK = ValidationSettings(
    replicas=4, floor_repeats=2, energy_bins=2, classifier=ClassifierSettings(seeds=1, epochs=1, iterations=3, replicas=4)
)
CELLS = Schema((Block("incident_energy", "MeV", minimum=0.0),), (Block("showers", "MeV", shape=(11,), minimum=0.0),))
TRACKS = Schema((Block("momentum", "MeV"),), (Block("track", shape=(3,), columns=("px", "py", "hits")),))
TIMING = {"hardware": "one core", "threads": 1, "torch": {"10000": 0.01, "1": 2.5, "100": 0.1}, "onnx": {"1": 0.5}}
VOID = {"meta", "img", "br", "link", "input", "hr"}
CHROMIUM = next((c for c in ("chromium", "chromium-browser", "google-chrome") if shutil.which(c)), None)


def showers(n: int, seed: int) -> Events:
    rng = np.random.default_rng(seed)
    energy = rng.uniform(1e4, 1e5, n)
    return Events(CELLS, {"incident_energy": energy}, {"showers": energy[:, None] * rng.dirichlet(np.ones(11), n)})


def tracks(n: int, seed: int) -> Events:
    rng = np.random.default_rng(seed)
    values = np.column_stack([rng.normal(size=(n, 2)), rng.poisson(4, n)])
    weights, mask = rng.normal(1.0, 0.5, n), rng.uniform(size=n) < 0.8
    return Events(TRACKS, {"momentum": rng.uniform(1, 9, n)}, {"track": values}, weights, mask)


@pytest.fixture(scope="module")
def report() -> Report:
    candidates = {ODD: showers(150, 2), "second": showers(150, 3)}
    training = {"minutes": 3.0, "device": "cpu", "parameters": 1234}
    costs = {
        "second": {"timing": {**TIMING, "onnx": {"1": 7.25}}, "training": {"minutes": 9.5, "device": "cpu", "parameters": 77}}
    }
    return compare(
        showers(150, 0), candidates, floor=showers(150, 1), train=showers(200, 4), geometry=GRID, settings=QUICK,
        reference_name="the <lead>", timing=TIMING, training=training, costs=costs,
    )  # fmt: skip


@pytest.fixture(scope="module")
def written(report: Report, tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = [{"epoch": i, "score": {"score": 1 / i}, "losses": {"critic": -i}} for i in (1, 2, 3)]
    return write_report(report, tmp_path_factory.mktemp("out") / "report", rows)


@pytest.fixture(scope="module")
def text(written: Path) -> str:
    return written.read_text(encoding="utf-8")


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are made but not turned into bytes, which takes most of the time."""

    def blank(figure: Figure, alt: str, dpi: int = 1) -> figures.Picture:
        return figures.Picture(b"", "image/png", 1, 1, alt)

    monkeypatch.setattr(figures, "svg", blank)
    monkeypatch.setattr(figures, "png", blank)


@pytest.fixture(scope="module")
def plain() -> Report:
    return compare(tracks(200, 0), tracks(200, 2), floor=tracks(200, 1), settings=QUICK)


class Page(HTMLParser):
    """Checks that tags close in order, and keeps attributes and words."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words += data + " "

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def test_page_needs_nothing_from_outside(text: str) -> None:
    parsed = Page(text)
    for _, attributes in parsed.tags:
        for key in ("src", "href", "srcset", "poster", "data"):
            value = attributes.get(key)
            assert value is None or value.startswith(("data:image/", "#")), value
    assert not parsed.all("script")
    assert not parsed.all("link")
    assert not re.search(r"@import|url\(", text)


def test_images_have_words_and_links_have_ends(text: str) -> None:
    parsed = Page(text)
    images = parsed.all("img")
    assert len(images) > 20
    assert all(image["alt"] and int(image["width"] or 0) > 0 and int(image["height"] or 0) > 0 for image in images)
    ids = [a["id"] for _, a in parsed.tags if a.get("id")]
    assert len(ids) == len(set(ids))
    assert {(a["href"] or "")[1:] for a in parsed.all("a")} <= set(ids)


def test_every_observable_and_its_numbers_are_there(report: Report, text: str) -> None:
    words = re.sub(r"\s+", " ", Page(text).words)
    for name in report.candidates:
        for key, entry in report.metrics["candidates"][name]["observables"].items():
            assert key in words
            for distance in ("wasserstein1", "separation_power", "ks"):
                found = entry[distance]
                assert quantity(found["value"], found["error"]) in words
                assert quantity(found["floor"], found["floor_error"]) in words
        for judged in ("low_level", "high_level", "combined", "neighbour"):
            entry = report.metrics["candidates"][name]["classifier"][judged]
            assert quantity(entry["auc"], entry["error"], most=4) in words
        assert report.metrics["candidates"][name]["verdict"] in words
        for reason in report.metrics["candidates"][name]["reasons"]:
            assert re.sub(r"\s+", " ", reason.replace("+-", "±")) in words
    for curve in report.reference.curves:
        assert curve in words


def test_what_a_further_candidate_costs_is_told_beside_it(report: Report, text: str) -> None:
    words = re.sub(r"\s+", " ", Page(text).words)
    assert "second: trained in 9.50 minutes on cpu; 77 parameters" in words
    assert "second, onnx 7.25" in words
    kept = report.metrics["candidates"]
    assert kept["second"]["training"]["parameters"] == 77
    assert "training" not in kept[ODD]


def test_samples_timing_and_training_are_told(report: Report, text: str) -> None:
    parsed = Page(text)
    for info in (report.metrics["reference"], report.metrics["candidate"], report.metrics["floor_sample"]):
        assert info["sha256"] in {a.get("title") for _, a in parsed.tags}
        assert info["sha256"][:16] in parsed.words
    assert "batch 1 batch 100 batch 10,000" in re.sub(r"\s+", " ", parsed.words)
    assert "1,234 parameters" in parsed.words
    assert "one core" in parsed.words


def test_names_are_escaped(text: str) -> None:
    assert "<script" not in text
    assert html.escape("<script>alert(") in text
    assert "the &lt;lead&gt;" in text
    assert "<title>" in text


@pytest.mark.usefixtures("undrawn")
def test_numbers_that_are_not_defined_are_a_dash(report: Report) -> None:
    metrics = copy.deepcopy(dict(report.metrics))

    def blank(value: object) -> object:
        if isinstance(value, dict):
            return {k: blank(v) for k, v in value.items()}
        return None if isinstance(value, float) else value

    for part in ("classifier", "observables", "curves", "structure", "neighbours", "scale"):
        for candidate in metrics["candidates"].values():
            candidate[part] = blank(candidate[part])
    words = Page(page(dataclasses.replace(report, metrics=metrics))).words
    assert not re.search(r"\b(nan|inf|None|NaN|null)\b", words)
    assert html_tables.MISSING in words


def test_no_raw_numbers_are_printed(text: str) -> None:
    words = Page(text).words
    assert not re.search(r"\b(nan|NaN|inf|None)\b", words)
    assert not re.search(r"\d\.\d{8}", words)
    assert not re.search(r"\de-\d", words)


def test_report_without_geometry_with_mask_and_signed_weights(plain: Report, tmp_path: Path) -> None:
    path = write_report(plain, tmp_path)
    words = Page(path.read_text(encoding="utf-8")).words
    assert "track_px" in words
    assert "Mean showers" not in words
    assert "Nearest neighbours" not in words
    assert "Without a value" in words
    assert (tmp_path / "overview.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.usefixtures("undrawn")
def test_outside_and_undefined_events_are_told(plain: Report) -> None:
    panels = figures_report.observable_panels(plain)["Response"]
    panel = next(p for p in panels if p.key == "track_px")
    values, weights = plain.reference.values["track_px"], plain.reference.events.weights
    assert weights is not None
    share = 100 * weights[np.isnan(values)].sum() / weights.sum()
    assert f"Without a value: reference {share:.2g}\u00a0%" in panel.note


@pytest.mark.usefixtures("undrawn")
def test_an_observable_without_any_value_is_said(plain: Report) -> None:
    nothing = {**plain.reference.values, "track_px": np.full(200, np.nan)}
    reference = dataclasses.replace(plain.reference, values=nothing)
    panels = figures_report.observable_panels(dataclasses.replace(plain, reference=reference))["Response"]
    assert panels[0].note == "The reference has no value."


@pytest.mark.usefixtures("undrawn")
def test_many_observables_are_drawn_in_part_and_told_whole(report: Report, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(report.metrics["settings"], "histograms", 3)
    monkeypatch.setitem(report.metrics["settings"], "curves", 2)
    assert sum(len(p) for p in figures_report.observable_panels(report).values()) == 3
    assert sum(len(p) for p in figures_report.curve_panels(report).values()) == 2
    words = Page(page(report)).words
    assert f"all {len(report.observables)} are in the tables" in words
    assert len(html_tables.distance_rows(report, "ks")) == len(report.observables)
    monkeypatch.setitem(report.metrics["settings"], "histograms", 1)
    monkeypatch.setitem(report.metrics["settings"], "curves", 0)
    assert f"all {len(report.observables)} are in the tables" in Page(page(report)).words


def test_folder_holds_page_and_picture(written: Path) -> None:
    assert sorted(p.name for p in written.parent.iterdir()) == ["overview.png", "report.html"]
    assert written.stat().st_size < 3e6


@pytest.mark.usefixtures("undrawn")
def test_report_writes_its_page(report: Report, tmp_path: Path) -> None:
    assert report.write(tmp_path / "report") == tmp_path / "report" / "report.html"
    assert json.loads((tmp_path / "report" / "metrics.json").read_text())["format"] == 1


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.5123, 0.0061, "0.512 ± 0.006"),
        (0.5123, 0.0031, "0.5123 ± 0.0031"),
        (0.5123, 0.00961, "0.512 ± 0.010"),
        (1234.6, 56.7, "1235 ± 57"),
        (3.2e-5, 1.2e-6, "(3.20 ± 0.12) × 10⁻⁵"),
        (-2.5, 0.13, "−2.50 ± 0.13"),
        (1.5e7, None, "1.50 × 10⁷"),
        (0.0, None, "0"),
        (0.0, 0.2, "0.00 ± 0.20"),
        (12.0, 0.0, "12.0"),
        (0.0733333333, 1e-12, "0.0733"),
        (None, 1.0, "–"),
        (float("nan"), None, "–"),
        (1.0, float("nan"), "1.00"),
    ],
)
def test_digits_follow_the_error(value: float | None, error: float | None, text: str) -> None:
    assert quantity(value, error) == text


def test_digits_are_limited() -> None:
    assert quantity(0.999991, 0.000012, most=4) == "1.0000"
    assert quantity(1e-9, None, power=0, most=3) == "< 0.001"
    assert quantity(2.5e-3, 1e-4, power=-3) == "2.50 ± 0.10"


def test_only_significant_excess_is_marked() -> None:
    entry = {"value": 0.6, "error": 0.01, "floor": 0.5, "floor_error": 0.01}
    assert html_tables.exceeds(entry)
    assert not html_tables.exceeds({**entry, "error": 0.05})
    assert not html_tables.exceeds({**entry, "value": 0.4})
    assert not html_tables.exceeds({**entry, "value": None})
    assert html_tables.cell(entry) == Cell("0.600 ± 0.010", True)


MEASURE = """<script>addEventListener("load", () => parent.postMessage([innerWidth, document.documentElement.scrollWidth,
[...document.images].filter(i => i.complete && i.naturalWidth).length].join(" "), "*"))</script></body>"""
FRAME = """<!doctype html><script>addEventListener("message", e => { const p = document.createElement("p"); p.id = "found";
p.textContent = e.data; document.body.append(p); })</script><body>
<iframe src="page.html" width="WIDTH" height="2000" style="border:0"></iframe></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium browser is installed")
@pytest.mark.parametrize("width", [390, 1400])
def test_page_fits_phone_and_screen(text: str, tmp_path: Path, width: int) -> None:
    """In a frame of that width, as a browser's own window is never as narrow as a phone."""
    (tmp_path / "page.html").write_text(text.replace("</body>", MEASURE), encoding="utf-8")
    (tmp_path / "frame.html").write_text(FRAME.replace("WIDTH", str(width)), encoding="utf-8")
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
        "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
        f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1600,2000", "--virtual-time-budget=10000", "--dump-dom",
    ]  # fmt: skip
    address = (tmp_path / "frame.html").as_uri()
    found = subprocess.run([*command, address], capture_output=True, text=True, timeout=120, check=True)
    match = re.search(r'<p id="found">(\d+) (\d+) (\d+)</p>', found.stdout)
    assert match, found.stderr
    inner, scroll, images = (int(g) for g in match.groups())
    assert inner == width
    assert scroll <= width
    assert images == text.count("<img ")
