"""What a Pareto plot is made of: one point per stand-in, in groups that may be compared.

An AUC is a number about a stand-in, a reference and a judge. Two are on one axis only if the reference events and the floor's
(given conditions and response; reports that do not say are told apart by all of their conditions), the observables that judges
see and the judges' settings are the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from understudy.validation.metrics import Comparison, Judged, Metrics, SampleInfo

JUDGES = {"low": "low_level", "high": "high_level", "combined": "combined"}
"""Judges by their short name: the keys of `classifier` in `metrics.json`."""
ENGINES = ("onnx", "torch")
REPORT, STRONG = "classifier", "classifier_strong"
"""Judges trained on a part of the test events, and judges trained on the training events."""
OF_STRONG = ("trained_on", "strong")
"""Settings that concern the strong judges alone."""


@dataclass(frozen=True)
class Point:
    """A stand-in's fidelity and cost.

    Args:
        label: what figures and tables call it.
        run: the run's directory.
        name: what its report calls it.
        judged: AUC with floor by the judge's short name.
        ms: milliseconds per event, if they were measured.
        minutes: minutes of training, if it was trained.
        hardware: what it was timed on, with the number of threads.
        parameters: of the trained stand-in.
        verdict: `pass` or `fail`.
    """

    label: str
    run: Path
    name: str
    judged: Mapping[str, Judged]
    ms: float | None = None
    minutes: float | None = None
    hardware: str = ""
    parameters: int | None = None
    verdict: str = ""


@dataclass(frozen=True)
class Group:
    """Stand-ins that were judged alike.

    Args:
        reference: name of the reference.
        events: its number of events.
        sha256: of the reference's events and of the floor's.
        training_events: events of both samples that trained each judge.
        points: the stand-ins.
        baselines: compared in the same reports, without a cost of their own (the shower library); one of each name.
        floors: by judge, value and error; the mean of the runs', which differ by the judges' seeds alone.
    """

    reference: str
    events: int
    sha256: tuple[str, str]
    training_events: int
    points: tuple[Point, ...]
    baselines: tuple[Point, ...]
    floors: Mapping[str, tuple[float, float]]

    @property
    def title(self) -> str:
        """The reference's name with the beginning of its checksum: files of one name are told apart."""
        return f"{self.reference} ({self.sha256[0][:8]})"

    @property
    def hardware(self) -> tuple[str, ...]:
        """What the stand-ins were timed on, each once."""
        return tuple(dict.fromkeys(p.hardware for p in self.points if p.hardware))


def metrics_file(path: str | Path) -> Path:
    """The `metrics.json` of a run, of a report or of a bundle; or the file itself.

    Raises:
        FileNotFoundError: there is none.
    """
    place = Path(path)
    if not place.exists():
        raise FileNotFoundError(f"there is no run {place}; give directories of finished runs")
    known = [place] if place.is_file() else [place / "report" / "metrics.json", place / "metrics.json"]
    for file in known:
        if file.is_file():
            return file
    raise FileNotFoundError(f"{place} holds no metrics: it has not been validated; finish it with 'understudy run ... --resume'")


def groups(runs: Iterable[str | Path], batch: int = 100, engine: str = "onnx", judges: str = REPORT) -> list[Group]:
    """Read runs and group those that were judged alike, in the order in which they are given.

    Args:
        runs: directories of runs, reports or bundles, or `metrics.json` files; one that is given twice counts once.
        batch: batch size of the timing.
        engine: `onnx` or `torch`.
        judges: `classifier` for those of every report, `classifier_strong` for those trained on the training events.

    Raises:
        FileNotFoundError: a run does not exist or was not validated.
        ValueError: no runs, a file of another format, no run was timed so, or a run without these judges.
    """
    files = list(dict.fromkeys(metrics_file(run).resolve() for run in runs))
    if not files:
        raise ValueError("no runs are given; name the directories of finished runs")
    if engine not in ENGINES:
        raise ValueError(f"no timing of {engine!r}; choose one of {', '.join(ENGINES)}")
    read = {file: Metrics.read(file) for file in files}
    _check_batch(read.values(), batch, engine)
    if lacking := [file for file, metrics in read.items() if getattr(metrics, judges, None) is None]:
        raise ValueError(
            f"{_run_of(lacking[0])} has no strong judges; validate it with a recipe that asks for them, or leave out --strong"
        )
    together: dict[str, list[Path]] = {}
    for file, metrics in read.items():
        together.setdefault(_key(metrics, judges), []).append(file)
    return [_group({file: read[file] for file in members}, batch, engine, judges) for members in together.values()]


def front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Rows of the points `(cost, loss)` that no other dominates, the cheapest first; of equal points all are kept."""
    order = sorted(range(len(points)), key=lambda i: points[i])
    kept: list[int] = []
    for row in order:
        last = points[kept[-1]] if kept else None
        if last is None or points[row][1] < last[1] or points[row] == last:
            kept.append(row)
    return kept


def on_front(group: Group, judge: str, cost: str) -> list[Point]:
    """The stand-ins on the front of a judge's AUC against `ms` or `minutes`, the cheapest first."""
    known = [p for p in group.points if getattr(p, cost) is not None and p.judged[judge].auc is not None]
    chosen = front([(getattr(p, cost), p.judged[judge].auc or 0.0) for p in known])
    return [known[i] for i in chosen]


def _key(metrics: Metrics, judges: str) -> str:
    """What must be the same for two AUCs to be on one axis."""
    samples = [_judged_sha256(metrics.reference), _judged_sha256(metrics.floor_sample)]
    settings = dict(metrics.settings.get(REPORT) or {})
    if judges == REPORT:
        settings = {name: value for name, value in settings.items() if name not in OF_STRONG}
    return json.dumps([*samples, getattr(metrics, judges).training_events, settings, sorted(metrics.observables)], sort_keys=True)


def _judged_sha256(sample: SampleInfo) -> str:
    """Of given conditions and response; of older reports, of all conditions."""
    return str((sample.model_extra or {}).get("judged_sha256", sample.sha256))


def _group(runs: Mapping[Path, Metrics], batch: int, engine: str, judges: str) -> Group:
    first = next(iter(runs.values()))
    points, baselines = [], []
    for file, metrics in runs.items():
        for name, found in metrics.candidates.items() or [(metrics.candidate.name, metrics)]:
            if getattr(found, judges, None) is None:
                continue
            main = name == metrics.candidate.name
            cost = metrics if main else found
            point = _point(file, name, found, cost, batch, engine, judges)
            if main or cost.timing is not None:
                points.append(point)
            elif not name.startswith(f"{metrics.candidate.name} given "):  # the same stand-in, told what it would have drawn
                baselines.append(point)
    floors = {judge: _mean([_floor(getattr(getattr(m, judges), key)) for m in runs.values()]) for judge, key in JUDGES.items()}
    return Group(
        first.reference.name,
        first.reference.events,
        (_judged_sha256(first.reference), _judged_sha256(first.floor_sample)),
        getattr(first, judges).training_events,
        tuple(_labelled(points)),
        tuple(_merged(baselines)),
        floors,
    )


def _point(file: Path, name: str, found: Comparison, cost: Comparison, batch: int, engine: str, judges: str) -> Point:
    timing, training = cost.timing, cost.training
    times = {} if timing is None else getattr(timing, engine)
    threads = "" if timing is None else f", {timing.threads} thread{'' if timing.threads == 1 else 's'}"
    return Point(
        name,
        _run_of(file),
        name,
        judged(getattr(found, judges)),
        times.get(str(batch)),
        None if training is None else training.minutes,
        "" if timing is None else timing.hardware + threads,
        None if training is None else training.parameters,
        found.verdict,
    )


def judged(classifier: Any) -> dict[str, Judged]:
    """A report's AUCs by the judges' short names."""
    return {judge: getattr(classifier, key) for judge, key in JUDGES.items()}


def _run_of(file: Path) -> Path:
    folder = file.parent
    return folder.parent if folder.name in ("report", "bundle") else folder


def _labelled(points: Sequence[Point]) -> list[Point]:
    """Points with labels of their own: the report's name, with so much of the run's path as is needed to tell them apart."""
    found = []
    for point in points:
        same = [p for p in points if p.name == point.name]
        depth = next((d for d in range(1, len(point.run.parts)) if len({p.run.parts[-d:] for p in same}) == len(same)), 1)
        tail = "/".join(point.run.parts[-depth:])
        found.append(point if len(same) == 1 else replace(point, label=f"{point.name} ({tail})"))
    return found


def _merged(points: Sequence[Point]) -> list[Point]:
    """One baseline of each name; its AUCs are the mean of the runs'."""
    found = []
    for name in dict.fromkeys(p.name for p in points):
        same = [p for p in points if p.name == name]
        means = {judge: _mean([(p.judged[judge].auc, p.judged[judge].error) for p in same]) for judge in JUDGES}
        mine = {j: same[0].judged[j].model_copy(update={"auc": m[0], "error": m[1]}) for j, m in means.items()}
        found.append(replace(same[0], judged=mine, minutes=None))
    return found


def _floor(entry: Judged) -> tuple[float | None, float | None]:
    return entry.floor, entry.floor_error


def _mean(values: Sequence[tuple[float | None, float | None]]) -> tuple[float, float]:
    """Mean of values and of their errors: the events are the same, so that averaging does not make them smaller."""
    known = [(v, e or 0.0) for v, e in values if v is not None]
    if not known:
        return float("nan"), float("nan")
    return sum(v for v, _ in known) / len(known), sum(e for _, e in known) / len(known)


def _check_batch(runs: Iterable[Metrics], batch: int, engine: str) -> None:
    """ValueError unless at least one run was timed with this batch size, where any was timed at all."""
    timed = [getattr(m.timing, engine) for m in runs if m.timing is not None]
    sizes = sorted({int(size) for times in timed for size in times})
    if sizes and batch not in sizes:
        raise ValueError(f"no run was timed with batches of {batch}; there are {', '.join(map(str, sizes))}")
