"""Pass or fail, with reasons: every criterion is an excess over the floor, its error, and a threshold from the settings.

The criteria look for what makes a fast simulation unusable: responses that can be told apart, a wrong energy scale, an
observable that is far off, repeated showers, training showers given out again, showers that are never made, and a width
at one condition that is not the reference's.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from scipy import stats

from understudy.validation.metrics import ClassifierMetrics, Judged, ObservableMetrics, ScaleMetrics, StrongMetrics
from understudy.validation.settings import Thresholds

JUDGES = {
    "low_level": "the network on cells",
    "high_level": "the classifier on observables",
    "combined": "the classifier on cells and observables",
    "neighbour": "the nearest-neighbour judge",
}
STRONG = ("low_level", "high_level", "combined")


@dataclass(frozen=True)
class Check:
    """One criterion: `excess` must stay below `limit` or within `significance` standard deviations; one sentence says so."""

    name: str
    excess: float
    error: float
    limit: float
    passed: bool
    sentence: str

    def plain(self) -> dict[str, Any]:
        """Plain data; NaN is left to the writer."""
        return asdict(self)


def judge(
    classifier: ClassifierMetrics,
    observables: dict[str, ObservableMetrics],
    scale: ScaleMetrics | None,
    neighbours: dict[str, dict[str, float | None]],
    thresholds: Thresholds,
    variety: Sequence[Mapping[str, Any]] = (),
    strong: StrongMetrics | None = None,
) -> list[Check]:
    """All criteria that these metrics allow, in a fixed order; `variety` are the studies of `variety.at_one_condition`,
    `strong` the judges that were trained on the training events."""
    checks = [
        _classifier(f"classifier_{n}", w, getattr(classifier, n), getattr(thresholds, n), thresholds) for n, w in JUDGES.items()
    ]
    for name in () if strong is None else STRONG:
        limit, who = getattr(thresholds, f"strong_{name}"), f"{JUDGES[name]}, trained on the training events,"
        if limit is not None:
            checks.append(_classifier(f"classifier_strong_{name}", who, getattr(strong, name), limit, thresholds))
    if scale is not None:
        checks.append(_scale(scale, thresholds))
    checks.append(_worst(observables, thresholds))
    checks += [_fraction(name, what, neighbours[name], thresholds) for name, what in FRACTIONS.items() if name in neighbours]
    if "training_distance_ks" in neighbours:
        checks.append(_training_distance(neighbours["training_distance_ks"], thresholds))
    widths = _widths(variety, thresholds)
    return checks if widths is None else [*checks, widths]


def conclude(checks: list[Check]) -> tuple[str, list[str]]:
    """`fail` with the sentences of the failed criteria, or `pass` with all sentences."""
    failed = [c.sentence for c in checks if not c.passed]
    return ("fail", failed) if failed else ("pass", [c.sentence for c in checks])


FRACTIONS = {
    "duplicates": "events have a near copy in their own sample",
    "too_close": "events are nearer to the training sample than all but 1 % of unseen reference events",
    "copied": "reference events are nearer to an event of this sample than all but 1 % are to each other, as after a leak",
    "too_far": "reference events are farther from the nearest event of this sample than all but 1 % are from each other",
}


def _check(name: str, excess: float, error: float, limit: float, significance: float, sentence: str, allowed: str) -> Check:
    if not math.isfinite(excess):
        return Check(name, excess, error, limit, False, f"{sentence}: it is not defined, so that nothing is proven.")
    passed = excess <= limit or (math.isfinite(error) and excess <= significance * error)
    return Check(
        name, excess, error, limit, passed, f"{sentence}; {'allowed is' if passed else 'more than the allowed'} {allowed}."
    )


def _classifier(name: str, who: str, found: Judged, limit: float, thresholds: Thresholds) -> Check:
    auc, error, floor, floor_error = (_number(x) for x in (found.auc, found.error, found.floor, found.floor_error))
    sentence = f"The AUC of {who} is {auc:.3f} +- {error:.3f} with a floor of {floor:.3f} +- {floor_error:.3f}"
    both = math.hypot(error, floor_error)
    # far below its floor a judge has met copies of the very events that it was trained on: no better than far above
    allowed = f"{limit:g} above or below it"
    return _check(name, abs(auc - floor), both, limit, thresholds.significance, sentence, allowed)


def _scale(scale: ScaleMetrics, thresholds: Thresholds) -> Check:
    value, error, limit = _number(scale.value), _number(scale.error), thresholds.scale
    sentence = f"The mean {scale.observable.replace('_', ' ')} is off by {100 * value:+.2f} +- {100 * error:.2f} %"
    return _check("scale", abs(value), error, limit, thresholds.significance, sentence, f"{100 * limit:g} %")


def _worst(observables: dict[str, ObservableMetrics], thresholds: Thresholds) -> Check:
    """The observable whose KS distance exceeds its floor most; one not defined for the candidate alone is worst of all."""

    def excess(name: str) -> float:
        ks, defined = observables[name].ks, observables[name].defined
        if not (defined["reference"] or 0) > 0:
            return -math.inf
        return math.inf if ks.value is None or math.isnan(ks.value) else ks.value - _number(ks.floor, 0.0)

    name = max(observables, key=excess)
    ks = observables[name].ks
    value, error, floor = _number(ks.value), _number(ks.error), _number(ks.floor, 0.0)
    sentence = (
        f"The largest Kolmogorov-Smirnov distance above the floor is {value:.3f} +- {error:.3f} ({name}, floor {floor:.3f})"
        if math.isfinite(value)
        else f"{name}, which {100 * _number(observables[name].defined['reference']):.1f} % of the reference"
        " events have, no event of this sample has"
    )
    return _check("ks", value - floor, error, thresholds.ks, thresholds.significance, sentence, f"{thresholds.ks:g}")


def _fraction(name: str, what: str, found: dict[str, float | None], thresholds: Thresholds) -> Check:
    value, error, floor = _number(found.get("value")), _number(found.get("error")), _number(found.get("floor"))
    sentence = f"{100 * value:.1f} % of the {what} (floor {100 * floor:.1f} %)"
    limit = getattr(thresholds, name)
    return _check(name, value - floor, error, limit, thresholds.significance, sentence, f"{100 * limit:g} % above it")


def _training_distance(found: dict[str, float | None], thresholds: Thresholds) -> Check:
    value, error, floor = _number(found.get("value")), _number(found.get("error")), _number(found.get("floor"))
    sentence = (
        "The distances to the nearest training event differ from those of unseen reference events by a Kolmogorov-Smirnov"
        f" distance of {value:.3f} +- {error:.3f} (floor {floor:.3f})"
    )
    limit = thresholds.training_distance_ks
    allowed = f"{limit:g} above it"
    return _check("training_distance_ks", value - floor, error, limit, thresholds.significance, sentence, allowed)


def _widths(variety: Sequence[Mapping[str, Any]], thresholds: Thresholds) -> Check | None:
    """The width at one condition that is farthest off, first of those beyond the limit and beyond chance.

    Many widths are looked at and one is chosen, so that it needs as many sigmas as make a false alarm among all of them
    as rare as `significance` makes a single one. The error is taken as it would be were the widths equal.
    """
    found = [
        (_number(entry["width_ratio"]["value"]), _number(entry["width_ratio"]["error"]), name, study["name"])
        for study in variety
        for name, entry in study["observables"].items()
    ]
    known = [f for f in found if math.isfinite(f[0]) and math.isfinite(f[1])]
    if not known:
        return None
    limit, sigmas = thresholds.variety, _sigmas_of_many(thresholds.significance, len(known))

    def at_equal_widths(ratio: float, error: float) -> float:
        return error / min(ratio, 1.0) if ratio > 0 else error

    def rank(f: tuple[float, float, str, str]) -> tuple[bool, float]:
        return abs(f[0] - 1) > max(limit, sigmas * at_equal_widths(*f[:2])), abs(f[0] - 1)

    ratio, error, name, where = max(known, key=rank)
    sentence = f"Asked again and again at {where}, the width of {name} is {ratio:.2f} +- {error:.2f} of the reference's"
    allowed = f"{100 * limit:g} % above or below it"
    return _check("variety", abs(ratio - 1), at_equal_widths(ratio, error), limit, sigmas, sentence, allowed)


def _sigmas_of_many(significance: float, count: int) -> float:
    """Sigmas at which one of `count` independent numbers is off by chance as often as a single one at `significance`."""
    single = 2 * stats.norm.sf(significance)
    local = float(stats.norm.isf(-0.5 * math.expm1(math.log1p(-single) / count))) if single < 1 else 0.0
    return local if math.isfinite(local) else significance


def _number(value: float | None, default: float = math.nan) -> float:
    return default if value is None else value
