"""Comparisons: what good and bad candidates get, and what is compared with what."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from understudy.events import Events
from understudy.geometry import Calorimeter, Layer
from understudy.schema import Block, Schema
from understudy.validation.compare import compare
from understudy.validation.measure import memberships
from understudy.validation.selection import digest, same_conditions, select
from understudy.validation.settings import ClassifierSettings, ValidationSettings

GRID = Calorimeter(
    "small",
    (
        Layer.grid("front", (3, 3), (1.0, 1.0), (-1.5, -1.5), axes=("x", "y"), units=("mm", "mm")),
        Layer.grid("back", (3, 3), (1.0, 1.0), (-1.5, -1.5), axes=("x", "y"), units=("mm", "mm")),
    ),
)
SCHEMA = Schema((Block("incident_energy", "MeV", minimum=0.0),), (Block("showers", "MeV", shape=(18,), minimum=0.0),))
QUICK = ValidationSettings(
    replicas=30,
    energy_bins=3,
    histograms=6,
    curves=4,
    classifier=ClassifierSettings(seeds=1, epochs=4, iterations=30, replicas=40),
)


def toy(n: int, seed: int, energy: np.ndarray | None = None) -> Events:
    generator = np.random.default_rng(seed)
    e = np.exp(generator.uniform(np.log(1e4), np.log(1e5), n)) if energy is None else np.asarray(energy, float)
    profile = np.exp(-np.hypot(*GRID.layers[0].centres.T))
    mean = np.concatenate([0.4 * profile, 0.6 * profile]) / profile.sum()
    cells = generator.gamma(mean * e[:, None] / 100) * 100
    cells *= (e * (1 + 0.1 / np.sqrt(e / 1e3) * generator.standard_normal(n)) / cells.sum(1))[:, None]
    return Events(SCHEMA, {"incident_energy": e}, {"showers": cells})


def same(events: Events, seed: int) -> Events:
    return toy(len(events), seed, events["incident_energy"])


def scaled(events: Events, factor: float) -> Events:
    return events.with_response(events.packed() * np.float32(factor))


def test_the_reference_given_out_again_is_no_success() -> None:
    reference, train = toy(1000, 1), toy(1500, 2)
    copies = {"copies": scaled(reference, 1.001)}
    report = compare(reference, copies, floor=same(reference, 6), train=train, geometry=GRID, settings=QUICK, seed=1)
    assert report.verdict == "fail"
    assert report.metrics["neighbours"]["copied"]["value"] > 0.9
    assert report.metrics["neighbours"]["copied"]["floor"] < 0.05
    assert any("as after a leak" in reason for reason in report.metrics["reasons"])


def test_the_energy_scale_is_judged_at_the_same_conditions_where_the_reference_is_halved() -> None:
    reference = toy(1000, 1)
    report = compare(reference, {"shifted": scaled(same(reference, 4), 1.01)}, geometry=GRID, settings=QUICK, seed=1)
    scale = report.metrics["scale"]
    assert scale["value"] == pytest.approx(0.01, abs=4 * scale["error"])
    unpaired = reference.packed().sum(1) / reference["incident_energy"]
    assert scale["error"] < 1.7 * unpaired.std() / unpaired.mean() / np.sqrt(500)
    assert not report.metrics["paired"]


def test_a_perfect_candidate_passes_and_poor_ones_fail_for_the_right_reason() -> None:
    reference, train = toy(1000, 1), toy(1500, 2)
    few = same(reference, 3)
    index = np.repeat(np.arange(100), 10)
    share = reference["incident_energy"] / few["incident_energy"][index]
    candidates = {
        "perfect": same(reference, 4),
        "shifted": scaled(same(reference, 5), 1.03),
        "repeating": reference.with_response(few.packed()[index] * share[:, None]),
        "memorising": train[:1000],
    }
    report = compare(reference, candidates, floor=same(reference, 6), train=train, geometry=GRID, settings=QUICK, seed=1)
    found = report.metrics["candidates"]
    assert {name: c["verdict"] for name, c in found.items()} == {
        "perfect": "pass",
        "shifted": "fail",
        "repeating": "fail",
        "memorising": "fail",
    }
    failed = {name: {c["name"] for c in f["checks"] if not c["passed"]} for name, f in found.items()}
    assert "scale" in failed["shifted"]
    assert "duplicates" not in failed["shifted"]
    assert {"classifier_neighbour", "duplicates"} <= failed["repeating"]
    assert failed["memorising"] == {"too_close", "training_distance_ks"}
    assert found["shifted"]["scale"]["value"] == pytest.approx(0.03, abs=0.006)
    assert any("+3." in r or "+2." in r for r in found["shifted"]["reasons"])
    assert report.verdict == report.metrics["verdict"] == "pass"
    assert report.metrics["classifier"] == found["perfect"]["classifier"]
    assert {name: c["paired"] for name, c in found.items()} == {n: n != "memorising" for n in candidates}
    assert report.metrics["floor_paired"] is True


def test_distances_exceed_their_floor_only_where_samples_differ() -> None:
    reference = toy(2000, 1)
    report = compare(
        reference, {"same": toy(1500, 2), "off": scaled(toy(1500, 3), 1.05)}, floor=toy(1500, 4), geometry=GRID, settings=QUICK
    )
    equal, off = (report.metrics["candidates"][name] for name in ("same", "off"))
    for name, observable in equal["observables"].items():
        for distance in ("wasserstein1", "separation_power", "ks"):
            entry = observable[distance]
            assert entry["value"] < entry["floor"] + 5 * (entry["floor_error"] + entry["error"]) + 1e-12, (name, distance)
    entry = off["observables"]["response"]
    assert entry["wasserstein1"]["value"] == pytest.approx(0.05, abs=0.005)
    for distance in ("wasserstein1", "separation_power", "ks"):
        assert entry[distance]["value"] > entry[distance]["floor"] + 5 * entry[distance]["floor_error"]
    assert off["curves"]["response_vs_energy"]["p_value"] < 1e-6 < equal["curves"]["response_vs_energy"]["p_value"]
    assert (off["paired"], off["floor_paired"]) == (False, False)


def test_without_a_floor_the_reference_is_halved_and_all_sizes_are_equal() -> None:
    reference = toy(601, 1)
    report = compare(reference, same(reference, 2), geometry=GRID, settings=QUICK)
    assert len(report.reference.events) == len(report.floor.events) == len(report.candidates["candidate"].events) == 300
    assert report.metrics["candidate"]["events"] == report.metrics["reference"]["events"] == 300
    halves = np.concatenate([report.reference.events["incident_energy"], report.floor.events["incident_energy"]])
    assert len(np.unique(halves)) == 600
    assert same_conditions(report.floor.events, report.candidates["candidate"].events)
    assert report.metrics["paired"] is False
    assert report.metrics["classifier"]["training_events"] == 300


def test_samples_are_cut_to_common_sizes() -> None:
    reference = toy(300, 1)
    generator = np.random.default_rng(0)
    paired = select(reference, {"a": same(reference, 2), "b": toy(200, 3)}, same(reference, 4), 1000, generator)
    assert paired.paired == {"a": True, "b": False}
    assert paired.floor_paired
    assert {len(paired.reference), len(paired.floor), *(len(c) for c in paired.candidates.values())} == {200}
    assert same_conditions(paired.reference, paired.candidates["a"])
    free = select(reference, {"b": toy(150, 3)}, toy(180, 4), 200, generator)
    assert (len(free.reference), len(free.floor), len(free.candidates["b"])) == (200, 150, 150)


def test_a_candidate_never_shares_conditions_with_the_reference_unless_the_floor_does() -> None:
    reference, second = toy(300, 1), toy(180, 4)
    chosen = select(reference, {"a": same(reference, 2)}, second, 1000, np.random.default_rng(0))
    assert (chosen.paired, chosen.floor_paired) == ({"a": False}, False)
    assert digest(chosen.reference) == digest(second)
    assert same_conditions(chosen.floor, chosen.candidates["a"])


def test_the_same_seed_gives_the_same_bytes() -> None:
    reference, candidate = toy(240, 1), toy(240, 2)
    first, again, other = (compare(reference, candidate, geometry=GRID, settings=QUICK, seed=s).metrics for s in (1, 1, 2))
    assert json.dumps(first) == json.dumps(again)
    assert first["classifier"] != other["classifier"]


def test_columns_without_a_geometry_with_weights_and_mask() -> None:
    schema = Schema((Block("eta"),), (Block("dll", shape=(2,), columns=("pion", "kaon")),))

    def sample(seed: int, width: float = 1.0) -> Events:
        generator = np.random.default_rng(seed)
        eta = generator.uniform(2, 5, 1200)
        dll = width * generator.standard_normal((1200, 2)) + eta[:, None]
        mask = generator.random(1200) < 0.8
        dll[~mask] = np.nan
        return Events(schema, {"eta": eta}, {"dll": dll}, weights=generator.choice([1.0, 1.0, 1.0, -0.5], 1200), mask=mask)

    report = compare(sample(1), {"good": sample(2), "wide": sample(3, 2.0)}, floor=sample(4), settings=QUICK)
    assert {n: c["verdict"] for n, c in report.metrics["candidates"].items()} == {"good": "pass", "wide": "fail"}
    assert set(report.metrics["observables"]) == {"dll_pion", "dll_kaon"}
    assert report.metrics["observables"]["dll_pion"]["defined"]["reference"] == pytest.approx(0.8, abs=0.05)
    assert report.metrics["curves"] == {}
    assert "scale" not in report.metrics


def test_an_observable_that_is_never_defined_is_null_with_a_reason_and_no_pass() -> None:
    reference, floor = toy(300, 1), toy(300, 2)
    empty = toy(300, 3).packed().copy()
    empty[:, :9] = 0.0
    report = compare(reference, toy(300, 3).with_response(empty), floor=floor, geometry=GRID, settings=QUICK)
    assert report.metrics["observables"]["mean_x_front"]["ks"]["value"] is None
    assert "observables.mean_x_front.ks.value" in report.metrics["nulls"]
    assert report.metrics["verdict"] == "fail"
    assert any("mean_x_front" in r and "no event of this sample has" in r for r in report.metrics["reasons"])
    assert not any("nan" in r for r in report.metrics["reasons"])


def test_divisions_of_the_pooled_reference_keep_sizes_and_pairs() -> None:
    free = memberships(30, 20, False, 6, np.random.default_rng(0))
    assert (free.sum(1) == 30).all()
    assert len({row.tobytes() for row in free}) == 6
    pairs = memberships(30, 30, True, 6, np.random.default_rng(0))
    assert (pairs[:, :30] ^ pairs[:, 30:]).all()
    assert pairs[0, :30].all()


def test_the_digest_follows_every_array() -> None:
    events = toy(60, 1)
    assert digest(events) == digest(toy(60, 1))
    others = [scaled(events, 1.001), events[:59], replace(events, weights=np.ones(60)), replace(events, mask=np.ones(60, bool))]
    assert len({digest(e) for e in (events, *others)}) == 5


def test_a_report_is_written_and_summed_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[float, float]] = []
    report = compare(
        toy(240, 1),
        {"a": toy(240, 2), "b": toy(240, 3)},
        geometry=GRID,
        settings=QUICK,
        timing={"hardware": "one", "torch": {"1": 1.0}},
        training={"minutes": 1.0, "device": "cpu", "parameters": 10},
        progress=lambda done, total: told.append((done, total)),
    )
    page = SimpleNamespace(write_report=lambda r, folder: folder / "report.html")
    monkeypatch.setitem(sys.modules, "understudy.validation.html", page)
    assert report.write(tmp_path / "report") == tmp_path / "report" / "report.html"
    data = json.loads((tmp_path / "report" / "metrics.json").read_text())
    assert data == report.metrics
    assert data["training"]["parameters"] == 10
    assert data["timing"]["threads"] == 1
    rows = report.summary_rows()
    assert all(set(row) == {"quantity", "a", "b", "floor"} for row in rows)
    assert {row["quantity"] for row in rows} >= {"AUC, cells", "verdict", "repeated events, %"}
    assert told[-1] == (3, 3)
    assert told == sorted(told)


def test_what_cannot_be_compared_is_named() -> None:
    reference = toy(200, 1)
    with pytest.raises(ValueError, match="no candidate was given"):
        compare(reference, {}, geometry=GRID)
    with pytest.raises(ValueError, match="candidate 'gan' has no events"):
        compare(reference, {"gan": reference[:0]}, geometry=GRID)
    with pytest.raises(ValueError, match="has no response to compare"):
        compare(reference, reference.without_response(), geometry=GRID)
    other = Events(Schema((Block("eta"),), SCHEMA.response), {"eta": np.ones(200)}, reference.response)
    with pytest.raises(ValueError, match="conditions eta where the reference has incident_energy"):
        compare(reference, other, geometry=GRID)
    with pytest.raises(ValueError, match="cannot be trained on 20 reference"):
        compare(reference[:40], reference[:40], geometry=GRID, settings=QUICK)


def predicting(events: Events, bias: float, seed: int) -> Events:
    """`events` with a regressor's reading of their energy, 5 % wide."""
    generator = np.random.default_rng(seed)
    read = events["incident_energy"] * (1 + bias + 0.05 * generator.standard_normal(len(events)))
    return events.with_aux(Block("predicted_incident_energy", "MeV"), read)


def test_fits_closure_and_moments_are_in_the_metrics() -> None:
    reference, floor, made = (predicting(toy(900, seed), 0.0, seed) for seed in (21, 22, 23))
    off = predicting(made, 0.03, 24)
    settings = QUICK.model_copy(update={"energy_bins": 6, "noise_term": True})
    report = compare(reference, {"off": off}, floor=floor, geometry=GRID, settings=settings, seed=3)
    metrics = json.loads(json.dumps(report.metrics))
    fit = metrics["fits"]["resolution"]
    assert set(fit) == {"reference", "floor", "candidate", "pulls"}
    for sample in ("reference", "floor", "candidate"):
        assert abs(fit[sample]["a"]["value"] - 0.1) < 5 * fit[sample]["a"]["error"]
        assert fit[sample]["b"]["unit"] == "GeV"
        assert fit[sample]["ndf"] == 3
    assert set(fit["pulls"]) == {"a", "b", "c"}
    residual = metrics["observables"]["residual_incident_energy"]
    assert residual["moments"]["reference"]["mean"] == pytest.approx(0, abs=0.01)
    assert residual["moments"]["candidate"]["mean"] == pytest.approx(0.03, abs=0.01)
    assert residual["moments"]["candidate"]["width"] == pytest.approx(0.05, rel=0.1)
    assert residual["tails"]["candidate"] == {}  # 900 events have no tail of 1 %
    assert metrics["curves"]["residual_incident_energy_bias_vs_energy"]["max_pull"] > 3
    assert {"sparsity_vs_threshold", "lateral_profile_front", "linearity_vs_energy"} <= set(metrics["curves"])


def test_predictions_of_one_sample_alone_are_left_out() -> None:
    reference, made = predicting(toy(400, 31), 0.0, 1), toy(200, 32)
    report = compare(reference, made, geometry=GRID, settings=QUICK, seed=3)
    assert not [name for name in report.metrics["observables"] if name.startswith("residual_")]
