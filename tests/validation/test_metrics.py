"""`metrics.json`, format 1, keeps its contract."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest

from understudy.validation.metrics import Comparison, Metrics

JUDGED = {"auc": 0.55, "error": 0.01, "floor": 0.5, "floor_error": 0.01}
DISTANCE = {"value": 1.5, "error": 0.1, "floor": 0.2, "floor_error": 0.05}


def comparison(**changes: Any) -> dict[str, Any]:
    judges = dict.fromkeys(("low_level", "high_level", "combined", "neighbour"), JUDGED)
    distances = dict.fromkeys(("wasserstein1", "separation_power", "ks"), DISTANCE)
    return {
        "candidate": {"name": "gan", "events": 100, "sha256": "ab"},
        "classifier": {**judges, "training_events": 100},
        "observables": {"total_energy": {"unit": "MeV", "defined": {"reference": 1.0, "candidate": 1.0}, **distances}},
        "curves": {"response_vs_energy": {"chi2": 8.0, "ndf": 8, "p_value": 0.4, "max_pull": 1.2, "floor_chi2": 7.0}},
        "paired": True,
        "floor_paired": False,
        "verdict": "pass",
        "reasons": ["all is well"],
        **changes,
    }


def metrics(**changes: Any) -> Metrics:
    sample = {"name": "geant4", "events": 100, "sha256": "cd"}
    data = comparison(**changes)
    return Metrics(**data, reference=sample, floor_sample=sample, seed=1, candidates={"gan": data})


def test_a_file_is_read_back_and_written_again_unchanged(tmp_path: Path) -> None:
    timing = {"hardware": "a processor", "threads": 1, "torch": {"1": 0.5}, "onnx": {"1": 0.2}}
    training = {"minutes": 3.0, "device": "cpu", "parameters": 1000}
    path = metrics(timing=timing, training=training, further={"kept": [1, 2]}).write(tmp_path / "metrics.json")
    again = Metrics.read(path).write(tmp_path / "again.json")
    assert path.read_bytes() == again.read_bytes()
    data = json.loads(path.read_text())
    assert data["format"] == 1
    assert data["timing"] == timing
    assert data["training"] == training
    assert data["further"] == {"kept": [1, 2]}
    assert data["nulls"] == {}


def test_the_keys_of_the_contract_are_there_with_their_meaning(tmp_path: Path) -> None:
    data = json.loads(metrics().write(tmp_path / "m.json").read_text())
    for part in ("reference", "candidate"):
        assert {"name", "events", "sha256"} <= set(data[part])
    for name in ("low_level", "high_level", "combined"):
        assert data["classifier"][name] == JUDGED
    observable = data["observables"]["total_energy"]
    assert observable["unit"] == "MeV"
    for name in ("wasserstein1", "separation_power", "ks"):
        assert {"value", "error", "floor"} <= set(observable[name])
    assert {"chi2", "ndf", "p_value", "max_pull"} <= set(data["curves"]["response_vs_energy"])
    assert data["verdict"] in ("pass", "fail")
    assert all(isinstance(r, str) for r in data["reasons"])
    assert "timing" not in data
    assert "training" not in data
    assert {"classifier", "observables", "verdict"} <= set(data["candidates"]["gan"])


def test_what_is_not_a_number_is_null_and_says_why(tmp_path: Path) -> None:
    broken = comparison()
    broken["observables"]["total_energy"]["ks"] = {**DISTANCE, "value": math.nan, "error": math.inf}
    path = metrics(observables=broken["observables"]).write(tmp_path / "m.json")
    assert "NaN" not in path.read_text().replace("as NaN", "")
    assert "Infinity" not in path.read_text()
    data = json.loads(path.read_text())
    assert data["observables"]["total_energy"]["ks"]["value"] is None
    assert "not defined" in data["nulls"]["observables.total_energy.ks.value"]
    assert "observables.total_energy.ks.error" in data["nulls"]
    assert Metrics.read(path).plain() == data


def test_keys_are_sorted_whatever_their_order(tmp_path: Path) -> None:
    data = comparison()
    turned = dict(reversed(data.items()))
    assert list(metrics().plain()) == sorted(metrics().plain())
    first, second = metrics(**data).write(tmp_path / "a.json"), metrics(**turned).write(tmp_path / "b.json")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not a metrics file"),
        ("[]", "has metrics format None where 1 is expected"),
        ('{"format": 2}', "has metrics format 2 where 1 is expected"),
        ('{"format": 1}', "the key 'candidate' is missing"),
    ],
)
def test_a_file_that_is_none_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "m.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        Metrics.read(path)


def test_a_verdict_is_pass_or_fail() -> None:
    with pytest.raises(ValueError, match="verdict"):
        Comparison(**comparison(verdict="perhaps"))
