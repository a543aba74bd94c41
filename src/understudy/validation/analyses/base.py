"""What an analysis is: a question that only one kind of detector is asked, with its numbers, figures and floor.

Distances and judges know nothing of triggers or particle identification. An analysis does: it looks at the samples of a
comparison, may ask the simulators behind them for more, and gives findings, each a section of the report with numbers for
`metrics.json`. A recipe names its analyses under `validation: {analyses: [...]}`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from understudy import seeds
from understudy.events import Events
from understudy.geometry import Calorimeter
from understudy.simulator import Simulator
from understudy.validation.curve import Curve
from understudy.validation.curves import compare_curves
from understudy.validation.figures import Picture


@dataclass(frozen=True, eq=False)
class Samples:
    """What an analysis looks at.

    Args:
        reference: test events as they are compared.
        floor: a second, disjoint reference sample.
        candidates: by name, the main one first; weights, mask and aux are in the events.
        paired: whether a candidate is at the reference's conditions, row by row.
        train: what the candidates were trained on, or None.
        geometry: where the response's cells sit, or None.
        simulator: the reference, where it can be asked; None of a file.
        standins: the candidates by name, where they can be asked.
        reference_name: what the report calls the reference.
        replicas: bootstrap replicas behind an error.
        history: rows of the main candidate's training history.
        seed: of everything random.
    """

    reference: Events
    floor: Events
    candidates: Mapping[str, Events]
    paired: Mapping[str, bool] = field(default_factory=dict)
    train: Events | None = None
    geometry: Calorimeter | None = None
    simulator: Simulator | None = None
    standins: Mapping[str, Simulator] = field(default_factory=dict)
    reference_name: str = "reference"
    replicas: int = 100
    history: Sequence[Mapping[str, Any]] = ()
    seed: int = 0

    def generator(self, *purpose: str) -> np.random.Generator:
        """The generator of one purpose; the same words give the same numbers."""
        return seeds.generator(self.seed, "validation", "analysis", *purpose)


@dataclass(frozen=True, eq=False)
class Finding:
    """A section of the report.

    Args:
        title: its heading.
        text: a paragraph that says what is shown and how to read it.
        numbers: by candidate, plain data for `metrics.json` (under `analyses` and the analysis's kind), each with its floor.
        curves: by candidate and name, entries as `agreement` makes them, beside the other curves in `metrics.json`.
        rows: a table, one mapping from heading to text per row; all rows have the first row's headings.
        pictures: figures with their captions in `alt`.
        reasons: by candidate, sentences for which its verdict is `fail`.
    """

    title: str
    text: str = ""
    numbers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    curves: Mapping[str, Mapping[str, Mapping[str, Any]]] = field(default_factory=dict)
    rows: Sequence[Mapping[str, str]] = ()
    pictures: Sequence[Picture] = ()
    reasons: Mapping[str, Sequence[str]] = field(default_factory=dict)


def answered(simulator: Simulator, asked: Events, generator: np.random.Generator) -> Events:
    """What a simulator makes of these events' conditions, once each."""
    made = simulator.simulate({b.name: asked.conditions[b.name] for b in simulator.schema.given}, generator)
    return asked.with_response(made.packed(), mask=made.mask)


class Analysis(ABC):
    """A question to all samples of a comparison; registered in the room `analyses`."""

    @abstractmethod
    def __call__(self, samples: Samples) -> Sequence[Finding]:
        """What was found, in the order of the report.

        Raises:
            ValueError: the samples are not what the analysis is for.
        """


def agreement(reference: Curve, floor: Curve, candidate: Curve) -> dict[str, Any]:
    """How a curve agrees with the reference's: `chi2`, `ndf`, `p_value`, `max_pull`, and the floor's `floor_chi2`."""
    return {**compare_curves(reference, candidate), "floor_chi2": compare_curves(reference, floor)["chi2"]}
