"""Which events of reference, floor and candidates are compared, so that all comparisons have the same sizes.

The noise floor is a comparison of exactly the same kind as the candidate's. A second reference sample serves as the floor
if there is one. Else the reference is divided at random into halves A and B: A stays the reference, B is the floor, and a
candidate made at the reference's conditions is compared at the conditions of B, as the floor is. The same is done with a
second sample at other conditions: it then takes the place of A, and the reference that of B. Otherwise a candidate would
share its conditions with what it is compared with and its floor would not, and would seem to be better than it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from understudy.events import Events
from understudy.schema import Array


@dataclass(frozen=True)
class Selection:
    """Events to compare; `paired` and `floor_paired` tell what is at the reference's conditions, row by row."""

    reference: Events
    floor: Events
    candidates: Mapping[str, Events]
    paired: Mapping[str, bool]
    floor_paired: bool


def select(
    reference: Events, candidates: Mapping[str, Events], floor: Events | None, most: int, generator: np.random.Generator
) -> Selection:
    """Cut samples to common sizes.

    Args:
        reference: events of the reference.
        candidates: events to judge by name.
        floor: a second, disjoint reference sample, or None.
        most: largest number of events of any sample.
        generator: divides the reference where there is no floor.

    Raises:
        ValueError: no candidate, no events, no response, or samples with different blocks.
    """
    if not candidates:
        raise ValueError("nothing to compare: no candidate was given")
    for name, events in candidates.items():
        check_comparable(reference, events, f"candidate {name!r}")
    candidates = {name: with_weights(reference, events) for name, events in candidates.items()}
    if floor is None:
        return _halved(reference, candidates, most, generator)
    check_comparable(reference, floor, "the floor")
    floor = with_weights(reference, floor)
    paired = {name: same_conditions(reference, events) for name, events in candidates.items()}
    floor_paired = same_conditions(reference, floor)
    if any(paired.values()) and not floor_paired:
        reference, floor, paired = floor, reference, dict.fromkeys(candidates, False)
    m = min(most, len(floor), *(len(c) for c in candidates.values()))
    n = min(most, len(reference)) if not (floor_paired or any(paired.values())) else min(m, len(reference))
    cut = {name: events[:m] for name, events in candidates.items()}
    return Selection(reference[:n], floor[:m], cut, paired, floor_paired)


def _halved(reference: Events, candidates: Mapping[str, Events], most: int, generator: np.random.Generator) -> Selection:
    order = generator.permutation(len(reference))
    half = min(most, len(reference) // 2, *(len(c) for c in candidates.values()))
    first, second = np.sort(order[:half]), np.sort(order[half : 2 * half])
    cut = {}
    for name, events in candidates.items():
        cut[name] = events[second] if same_conditions(reference, events) else events[:half]
    return Selection(reference[first], reference[second], cut, dict.fromkeys(candidates, False), False)


def check_comparable(reference: Events, other: Events, who: str) -> None:
    """ValueError unless `other` has events with the reference's given conditions and response."""
    for events, name in ((reference, "the reference"), (other, who)):
        if not len(events):
            raise ValueError(f"{name} has no events to compare")
        if not events.response:
            raise ValueError(f"{name} has no response to compare; simulate it first")
    for part in ("given", "response"):
        mine, theirs = ({b.name: b.shape for b in getattr(e.schema, part)} for e in (reference, other))
        if mine != theirs:
            word = "conditions" if part == "given" else "response"
            raise ValueError(
                f"{who} has the {word} {_words(theirs)} where the reference has {_words(mine)}; compare like with like"
            )


def same_conditions(a: Events, b: Events) -> bool:
    """Whether both have the same given conditions in the same order, event by event."""
    if len(a) != len(b):
        return False
    names = [x.name for x in a.schema.given if x.kind != "jagged"]
    return bool(names) and all(np.array_equal(a.conditions[name], b.conditions[name]) for name in names)


def with_weights(reference: Events, other: Events) -> Events:
    """`other` with the weights of the reference, if it is at the very same conditions and has none of its own.

    A stand-in answers conditions and knows no weights. What it gives at the conditions of background-contaminated events has
    the signal's conditions only under the signal weights of these; a response counts as much as the condition that it answers.
    """
    if reference.weights is None or other.weights is not None or not same_conditions(reference, other):
        return other
    return replace(other, weights=reference.weights)


def digest(events: Events) -> str:
    """SHA-256 over names, shapes and bytes of all conditions and responses, weights and mask."""
    found = hashlib.sha256()
    named: dict[str, Any] = {**events.conditions, **events.response, "weights": events.weights, "mask": events.mask}
    for name, values in named.items():
        for array in _arrays(values):
            found.update(f"{name}:{array.dtype.str}:{array.shape};".encode())
            found.update(np.ascontiguousarray(array).tobytes())
    return found.hexdigest()


def judged_digest(events: Events) -> str:
    """SHA-256 over what judges see: given conditions, responses and weights, whatever else a recipe has derived from them."""
    return digest(events.select_conditions([b.name for b in events.schema.given]))


def _arrays(values: Any) -> list[Array]:
    if values is None:
        return []
    if isinstance(values, np.ndarray):
        return [values]
    import awkward

    _, _, buffers = awkward.to_buffers(awkward.to_packed(values))
    return [np.asarray(buffers[key]) for key in sorted(buffers)]


def _words(blocks: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {shape}" if shape else name for name, shape in blocks.items()) or "nothing"
