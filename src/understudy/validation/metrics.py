"""`metrics.json`, format 1: what a validation found, for tools and for people.

Every distance and every AUC comes with its error (one standard deviation) and its floor (the same quantity between two
disjoint reference samples of the candidate's sizes); ratios of neighbour distances have a floor only. A number that is not
defined is written as null, and `nulls` says why, by its path. The
first candidate fills the keys at the top level; every candidate, the first one too, is under `candidates` with the same
keys. Further keys are kept when a file is read and written again.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from understudy.files import write_json
from understudy.registry import explain

Number = float | None
FORMAT = 1
NOT_DEFINED = "not defined: it came out as NaN or infinite (no event has the observable, or no error can be given)"


class _Part(BaseModel):
    model_config = ConfigDict(extra="allow", ser_json_inf_nan="null")


class SampleInfo(_Part):
    """A sample: its name, size, and the sha256 of its arrays."""

    name: str
    events: int
    sha256: str


class Judged(_Part):
    """Area under a judge's ROC curve."""

    auc: Number
    error: Number
    floor: Number
    floor_error: Number


class ClassifierMetrics(_Part):
    """Classifier two-sample test; `training_events` counts the events of both samples that trained each judge."""

    low_level: Judged
    high_level: Judged
    combined: Judged
    neighbour: Judged
    training_events: int


class StrongMetrics(_Part):
    """Judges trained on the training events (`strong.py`): events of both classes that trained and tested, of the floor too."""

    low_level: Judged
    high_level: Judged
    combined: Judged
    training_events: int
    tested_events: int
    floor_training_events: int
    floor_tested_events: int


class DistanceMetrics(_Part):
    """A distance, its bootstrap error, and its floor with the spread of single floors."""

    value: Number
    error: Number
    floor: Number
    floor_error: Number


class ObservableMetrics(_Part):
    """Distances of one observable; `wasserstein1` has the observable's unit, the others are pure numbers.

    `defined` are the weighted fractions of reference and candidate events that have the observable. `moments` and `tails`
    are by sample (`reference`, `candidate`, `floor`): mean and width with errors, and quantiles with errors as far out as
    the sample's size allows (`moments.py`), in the observable's unit.
    """

    unit: str
    wasserstein1: DistanceMetrics
    separation_power: DistanceMetrics
    ks: DistanceMetrics
    defined: dict[str, Number]
    moments: dict[str, dict[str, Number]] = Field(default_factory=dict)
    tails: dict[str, dict[str, dict[str, Number]]] = Field(default_factory=dict)


class CurveMetrics(_Part):
    """Agreement of a curve with the reference's, and of the floor's (`floor_chi2`) with the reference's."""

    chi2: Number
    ndf: int
    p_value: Number
    max_pull: Number
    floor_chi2: Number


class ScaleMetrics(_Part):
    """Mean response (or total energy) of the candidate over the reference's, minus one.

    Where reference events at the very conditions of the candidate exist, in either reference sample, it is they that the
    candidate is compared with, event by event; `floor` is the difference of the two reference samples.
    """

    observable: str
    value: Number
    error: Number
    floor: Number


class TimingMetrics(_Part):
    """Milliseconds per event by batch size, on one thread unless `threads` says otherwise."""

    hardware: str
    threads: int = 1
    torch: dict[str, Number] = Field(default_factory=dict)
    onnx: dict[str, Number] = Field(default_factory=dict)


class TrainingMetrics(_Part):
    """What the training took."""

    minutes: Number
    device: str
    parameters: int


class Comparison(_Part):
    """One candidate against the reference.

    `fits` holds under `resolution` the terms a/sqrt(E), b/E and c of the energy resolution (E in GeV, added in quadrature) of
    `reference`, `candidate` and `floor`, and the candidate's `pulls`, and under `resolution_with_b` the same with the term b
    where `resolution` has none and does not describe the reference; it is empty where none could be fitted.
    `classifier_strong` is there where judges were trained on the training events, and `tails` are far quantiles (see `tails.py`).
    `structure` and `neighbours` hold value and floor of the studies of cells and neighbours, `checks` the verdict's criteria
    (see `verdict.py`), `analyses` what the recipe's analyses found by their kind, `variety` the studies of single conditions
    (see `variety.py`) and `above_twice_floor` the observables that are still wrong, worst first (see
    `measure.above_twice_floor`); `paired` tells whether candidate and reference are at the same conditions event by event, and
    `floor_paired` the same of the floor.
    """

    candidate: SampleInfo
    classifier: ClassifierMetrics
    classifier_strong: StrongMetrics | None = None
    observables: dict[str, ObservableMetrics]
    tails: dict[str, Any] = Field(default_factory=dict)
    curves: dict[str, CurveMetrics] = Field(default_factory=dict)
    fits: dict[str, dict[str, Any]] = Field(default_factory=dict)
    scale: ScaleMetrics | None = None
    structure: dict[str, dict[str, Number]] = Field(default_factory=dict)
    neighbours: dict[str, dict[str, Number]] = Field(default_factory=dict)
    variety: list[dict[str, Any]] = Field(default_factory=list)
    above_twice_floor: list[dict[str, Any]] = Field(default_factory=list)
    analyses: dict[str, Any] = Field(default_factory=dict)
    checks: list[dict[str, Any]] = Field(default_factory=list)
    paired: bool
    floor_paired: bool
    timing: TimingMetrics | None = None
    training: TrainingMetrics | None = None
    verdict: Literal["pass", "fail"]
    reasons: list[str]

    def at_cost(self, timing: Mapping[str, Any] | None = None, training: Mapping[str, Any] | None = None) -> Self:
        """The same with what the candidate costs, as far as it is known."""
        times = TimingMetrics.model_validate(timing) if timing else self.timing
        return self.model_copy(
            update={"timing": times, "training": TrainingMetrics.model_validate(training) if training else self.training}
        )


class Metrics(Comparison):
    """The contents of `metrics.json`; `nulls` says by path why a number is missing.

    `symmetries` holds, by symmetry of the geometry, the largest pull between the main candidate's showers and those at mirrored
    conditions, of cells and of observables (see `symmetries.py`). `hold_out` is the comparison inside and outside a region of the
    conditions that was never trained on, where there is one (see `compare.regions`).
    """

    format: Literal[1] = 1
    reference: SampleInfo
    floor_sample: SampleInfo
    settings: dict[str, Any] = Field(default_factory=dict)
    seed: int
    symmetries: dict[str, dict[str, Any]] = Field(default_factory=dict)
    hold_out: dict[str, dict[str, Any]] = Field(default_factory=dict)
    candidates: dict[str, Comparison] = Field(default_factory=dict)
    nulls: dict[str, str] = Field(default_factory=dict)

    def plain(self) -> dict[str, Any]:
        """Sorted plain data without NaN or infinity, as it is written."""
        data = self.model_dump(mode="python")
        data["nulls"] = {}
        reasons = dict(self.nulls)
        cleaned = _clean(data, "", reasons)
        cleaned["nulls"] = dict(sorted(reasons.items()))
        ordered: dict[str, Any] = _sorted(cleaned)
        return ordered

    def write(self, path: str | Path) -> Path:
        """Write the file beside `path` and rename it; returns the path."""
        return write_json(path, self.plain())

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read a `metrics.json`.

        Raises:
            FileNotFoundError: no such file.
            ValueError: not JSON, of another format, or without a key of the contract.
        """
        try:
            data = json.loads(Path(path).read_text(encoding="utf-8"))
        except (json.JSONDecodeError, UnicodeDecodeError) as error:
            raise ValueError(f"{path} is not a metrics file: {error}") from error
        found = data.get("format") if isinstance(data, Mapping) else None
        if found != FORMAT:
            raise ValueError(f"{path} has metrics format {found!r} where {FORMAT} is expected; write it again with this version")
        try:
            return cls.model_validate(data)
        except ValidationError as error:
            raise ValueError(explain(error, str(path))) from None


def _clean(value: Any, path: str, reasons: dict[str, str]) -> Any:
    """`value` with None for NaN and infinity, their paths entered in `reasons`; parts that were not measured left out."""
    if isinstance(value, Mapping):
        optional = ("timing", "training", "scale", "classifier_strong")
        kept = {str(k): v for k, v in value.items() if not (k in optional and v is None)}
        return {k: _clean(v, f"{path}.{k}" if path else k, reasons) for k, v in kept.items()}
    if isinstance(value, list | tuple):
        return [_clean(v, f"{path}[{i}]", reasons) for i, v in enumerate(value)]
    if isinstance(value, float) and not math.isfinite(value):
        value = None
    if value is None:
        reasons.setdefault(path, NOT_DEFINED)
    return value


def _sorted(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {k: _sorted(value[k]) for k in sorted(value)}
    return [_sorted(v) for v in value] if isinstance(value, list) else value
