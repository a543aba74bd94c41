"""How prepared events are divided into training, validation and test events.

    split: {train: 0.7, validation: 0.1, test: 0.2, group: 500, train_events: 2000}
    hold_out: {incident_energy: [8000, 12000]}

Fractions come first, drawn with a seed of their own. Then all events whose conditions lie inside every range of `hold_out` go
to the test events, wherever they were: what is trained has never met that region, and how well it interpolates can be
judged there. Last, `train_events` leaves that many of the training events, drawn group by group: a smaller number is a part
of a larger one, and validation and test events stay the same, so that runs show what more events buy.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from understudy.events import Events
from understudy.recipe import Split
from understudy.schema import Array, Block, Schema

MARK = Block("inside_hold_out")
"""Travels along with the events through their preparation, which may leave out conditions and events."""

ROW = Block("row", kind="categorical")

FEWEST = 100
"""Test events on either side of a held-out region below which nothing can be said there."""

Ranges = Mapping[str, tuple[float, float]]


@dataclass(frozen=True)
class Division:
    """Disjoint events; `held_out` `(len(test),)` tells which test events lie inside the held-out region, None without one."""

    train: Events
    validation: Events
    test: Events
    held_out: Array | None = None


def check_hold_out(ranges: Ranges, schema: Schema) -> None:
    """ValueError unless every range is one of a number among the given conditions of a reference."""
    known = [b.name for b in schema.given if b.kind == "continuous" and b.width == 1]
    if unknown := [name for name in ranges if name not in known]:
        raise ValueError(
            f"'hold_out' names {unknown[0]!r}; the reference gives these numbers as conditions: {', '.join(known) or 'none'}"
        )


def mark(events: Events, ranges: Ranges) -> Events:
    """The reference's `events`, those inside every range marked for `divide`."""
    if not ranges:
        return events
    inside = np.ones(len(events), bool)
    for name, (low, high) in ranges.items():
        values = np.asarray(events.conditions[name]).reshape(len(events))
        inside &= (values >= low) & (values <= high)
    return events.with_aux(MARK, inside)


def divide(events: Events, split: Split, generator: np.random.Generator) -> Division:
    """Divide prepared events.

    Args:
        events: marked by `mark` where a region is held out.
        split: fractions, size of the groups that stay together, and number of training events.
        generator: draws which group goes where, and then which training groups come first.

    Raises:
        ValueError: too few events for the fractions, a held-out region without events or without others beside it, or
            fewer training events than are asked for.
    """
    numbered = Events(Schema((ROW,)), {ROW.name: np.arange(len(events))})
    parts = numbered.split((split.train, split.validation, split.test), generator, split.group)
    train, validation, test = (np.asarray(part[ROW.name]) for part in parts)
    order = generator.permutation(-(-len(events) // split.group))
    inside = np.zeros(len(events), bool)
    if MARK.name in events.aux:
        inside = events.aux[MARK.name] > 0
        train, validation, test = _moved(train, validation, test, inside)
    if split.train_events is not None:
        train = _first(train, order[train // split.group], split.train_events)
    if MARK.name in events.aux and (~inside[test]).sum() < FEWEST:
        raise ValueError(f"the region of 'hold_out' leaves fewer than {FEWEST} test events outside it; give it narrower ranges")
    held_out = inside[test] if MARK.name in events.aux else None
    plain = _unmarked(events)
    return Division(plain[train], plain[validation], plain[test], held_out)


def _moved(train: Array, validation: Array, test: Array, inside: Array) -> tuple[Array, Array, Array]:
    """Rows of the three parts, those inside the held-out region at the end of the test events."""
    if inside.sum() < FEWEST:
        raise ValueError(
            f"{int(inside.sum())} events lie inside the region of 'hold_out', and at least {FEWEST} are needed to judge there;"
            " give it wider ranges, or leave it out"
        )
    parts = (train, validation)
    moved = np.sort(np.concatenate([part[inside[part]] for part in parts]))
    left = [part[~inside[part]] for part in parts]
    if empty := [name for name, part in zip(("training", "validation"), left, strict=True) if not len(part)]:
        raise ValueError(f"the region of 'hold_out' leaves no {empty[0]} events outside it; give it narrower ranges")
    return left[0], left[1], np.concatenate([test, moved])


def _first(train: Array, rank: Array, count: int) -> Array:
    """The `count` training rows of lowest rank, in their order in the file."""
    if count > len(train):
        raise ValueError(
            f"'split' asks for {count} training events, but its fractions leave {len(train)}; ask for fewer, or for a larger"
            " fraction 'train'"
        )
    return np.sort(train[np.argsort(rank, kind="stable")[:count]])


def _unmarked(events: Events) -> Events:
    if MARK.name not in events.aux:
        return events
    schema = replace(events.schema, aux=tuple(b for b in events.schema.aux if b != MARK))
    return replace(events, schema=schema, aux={k: v for k, v in events.aux.items() if k != MARK.name})
