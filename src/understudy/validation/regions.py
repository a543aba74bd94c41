"""Inside and outside a region of the conditions that was never trained on: how well does the stand-in interpolate?

Each side is a comparison of its own, with its own floor, judges trained on events of that side alone, scale and distances. The
number that tells is the difference of the two: a stand-in that interpolates is as close to the reference inside as it is
outside, within errors that are larger inside, where there are fewer events.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.schema import Array
from understudy.validation.selection import same_conditions, select
from understudy.validation.settings import ValidationSettings
from understudy.validation.study import Study, generator_for
from understudy.validation.whole import Strong

FEWEST = 100
"""Test events on either side below which nothing can be said."""


def compare_regions(
    held_out: Array,
    reference: Events,
    candidates: Mapping[str, Events],
    floor: Events | None,
    geometry: Calorimeter | None,
    settings: ValidationSettings,
    seed: int,
    strong: Strong | None = None,
    told: Callable[[], None] | None = None,
) -> dict[str, dict[str, Any]]:
    """The comparison on either side of the border.

    Args:
        held_out: which test events lie inside, `(len(reference),)`.
        reference: test events.
        candidates: by name, at the conditions of the test events.
        floor: further reference events at the conditions of the test events; each side is halved if None, or at others.
        geometry: where the response's cells sit, or None.
        settings: sizes, errors and thresholds.
        seed: of everything random.
        strong: answers of judges trained on the training events, all outside.
        told: called after each side.

    Returns:
        `inside` and `outside`: `events` (of the reference there), and `candidates` by name: `classifier`, `scale` and
        `observables` as of the whole comparison, `verdict` and `reasons`, and `classifier_strong` (`auc` and `error` by judge)
        where there are such judges.

    Raises:
        ValueError: a mask of another length, fewer than 100 events on one side, or a candidate at other conditions.
    """
    inside = np.asarray(held_out, bool)
    _check(inside, reference, candidates)
    if floor is not None and not same_conditions(reference, floor):
        floor = None
    found = {}
    for side, region in (("inside", inside), ("outside", ~inside)):
        there = {name: events[region] for name, events in candidates.items()}
        own = None if floor is None else floor[region]
        chosen = select(reference[region], there, own, settings.max_events, generator_for(seed, "selection", side))
        study = Study(chosen, geometry, None, settings, seed, None)
        entries = {}
        for name, events in chosen.candidates.items():
            comparison = study.comparison(study.sample(name, events, chosen.paired[name]))
            words = comparison.model_dump(mode="python")
            entries[name] = {k: words[k] for k in ("classifier", "scale", "observables", "verdict", "reasons")}
            entries[name]["events"] = len(events)
            if strong is not None:
                entries[name]["classifier_strong"] = strong.inside(name, region)
        found[side] = {"events": int(region.sum()), "candidates": entries}
        if told is not None:
            told()
    return found


def _check(inside: Array, reference: Events, candidates: Mapping[str, Events]) -> None:
    if inside.shape != (len(reference),):
        raise ValueError(f"the held-out region marks {inside.shape} events where the reference has {len(reference)}")
    count = int(inside.sum())
    if min(count, len(inside) - count) < FEWEST:
        raise ValueError(
            f"{count} of {len(inside)} test events lie inside the held-out region; at least {FEWEST} are needed on either side"
        )
    if odd := [name for name, events in candidates.items() if not same_conditions(reference, events)]:
        raise ValueError(f"candidate {odd[0]!r} is not at the conditions of the test events, so that no region can be compared")
